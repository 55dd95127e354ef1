"""Batches as the tensors the model takes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from training.batches import Batch
from training.vision import patches

_HIDDEN = -1e4
"""Added to the score of what must not be seen; finite, so that a row that sees nothing stays a number."""


@dataclass(frozen=True)
class Tensors:
    """A batch: what `DemoModel.hidden` takes, the flat places that predict the labels, and the hints."""

    inputs: tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
    rows: Tensor
    labels: Tensor
    hints: Tensor


def visible(segments: Tensor, examples: Tensor, joined: Tensor) -> Tensor:
    """(B, T, T) bool: which token sees which.

    Within its example a token sees the past of segment 0 and of its own segment, and in joined rows all of
    the past.
    """
    b, t = segments.shape
    past = torch.ones(t, t, dtype=torch.bool).tril()
    column = segments[:, None, :]
    same = examples[:, :, None] == examples[:, None, :]
    related = (segments[:, :, None] == column) | (column == 0) | joined[:, None, None]
    return (past & same & related & (column >= 0)) | torch.eye(t, dtype=torch.bool).expand(b, t, t)


def tensors(batch: Batch) -> Tensors:
    """The batch as tensors; a token is predicted at the place before it."""
    ids = torch.from_numpy(batch.ids)
    segments, examples = torch.from_numpy(batch.segments), torch.from_numpy(batch.examples)
    seen = visible(segments, examples, torch.from_numpy(batch.joined))[:, None]
    mask = torch.zeros(seen.shape, dtype=torch.bfloat16).masked_fill(~seen, _HIDDEN)
    learnt = torch.from_numpy(batch.learnt).reshape(-1).nonzero()[:, 0]
    inputs = (
        ids,
        patches(torch.from_numpy(batch.pixels)),
        torch.from_numpy(batch.pictures),
        torch.from_numpy(batch.positions),
        mask,
    )
    return Tensors(inputs, learnt - 1, ids.reshape(-1)[learnt], torch.from_numpy(batch.hints))
