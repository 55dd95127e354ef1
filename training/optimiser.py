"""The optimiser of all training: Muon for matrices that multiply activations, AdamW for the rest."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from training.muon import Muon


class Optimiser:
    """Steps every parameter it is given; learning rates are scaled step by step."""

    def __init__(self, named: Iterable[tuple[str, nn.Parameter]], muon_lr: float, adam_lr: float) -> None:
        parameters = list(named)
        matrices = [(n, p) for n, p in parameters if p.ndim == 2 and "embed" not in n and "head." not in n]
        taken = {n for n, _ in matrices}
        self._others = [p for n, p in parameters if n not in taken]
        self._all = [p for _, p in parameters]
        self._adam_lr = adam_lr
        self._muon = Muon(matrices, muon_lr)
        groups = [
            {"params": [p for p in self._others if p.ndim >= 2], "weight_decay": 0.01},
            {"params": [p for p in self._others if p.ndim < 2], "weight_decay": 0.0},
        ]
        self._adam = torch.optim.AdamW(groups, lr=adam_lr, betas=(0.9, 0.98), fused=True)

    def step(self, scale: float) -> None:
        """One step at `scale` times the learning rates, after which no parameter has a gradient."""
        torch.nn.utils.clip_grad_norm_(self._others, 1.0)
        self._muon.step(scale)
        for group in self._adam.param_groups:
            group["lr"] = self._adam_lr * scale
        self._adam.step()
        for parameter in self._all:
            parameter.grad = None

    def state(self) -> dict[str, object]:
        """What `load` takes."""
        return {"muon": self._muon.state(), "adam": self._adam.state_dict()}

    def load(self, state: dict[str, dict[str, torch.Tensor]]) -> None:
        """Put back what `state` gave."""
        self._muon.load(state["muon"])
        self._adam.load_state_dict(state["adam"])
