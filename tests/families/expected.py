"""What a case should give, the files in which it is kept, and transformers' answers for them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from backends.base import Array, TensorSpec
from gateway.chat.content import Message
from gateway.vision.registry import FAMILIES
from gateway.vision.spec import VisionSpec
from tests.families.case import FamilyCase, Inputs
from tests.families.conversations import CONVERSATIONS, SIZES, about, num_pictures
from tests.vision.pictures import pattern
from tests.whole.reference import Reference, answered

GOLDEN = Path(__file__).parent / "golden"

PIXEL_SIZES = [(1, 1), (33, 57), (64, 64), (96, 96), (4000, 10), (7, 300), (540, 960), (961, 541)]
"""Widths and heights of pictures as users send them."""


@dataclass(frozen=True)
class Expected:
    """pixels:   digests of what the graph takes, by kind of input and size of picture
    prompts:  token ids by conversation
    features: (tokens, hidden) float32 of the case's pictures
    logits:   (vocab,) float32 after the question about them; tokens: (64,) greedy
    """

    pixels: dict[str, str]
    prompts: dict[str, list[int]]
    features: Array
    logits: Array
    tokens: list[int]


def golden(name: str) -> Expected:
    with np.load(GOLDEN / f"{name}.npz") as arrays:
        pixels, prompts = (
            {key.removeprefix(kind): arrays[key] for key in arrays if key.startswith(kind)}
            for kind in ("pixels/", "prompts/")
        )
        return Expected(
            {key: str(array) for key, array in pixels.items()},
            {key: array.tolist() for key, array in prompts.items()},
            arrays["features"],
            arrays["logits"],
            arrays["tokens"].tolist(),
        )


def keep(name: str, answer: Expected) -> None:
    arrays: dict[str, Array] = {f"pixels/{key}": np.array(digest) for key, digest in answer.pixels.items()}
    arrays |= {f"prompts/{key}": np.array(ids, np.int32) for key, ids in answer.prompts.items()}
    arrays |= {"features": answer.features, "logits": answer.logits, "tokens": np.array(answer.tokens)}
    GOLDEN.mkdir(exist_ok=True)
    np.savez_compressed(GOLDEN / f"{name}.npz", allow_pickle=False, **arrays)


def expected(case: FamilyCase, folder: Path) -> Expected:
    """What transformers says today; `folder` is that of the case's checkpoint."""
    reference = case.reference
    features, answer = seen_and_said(case, folder)
    prompts = {
        name: _inputs(case, folder, messages, SIZES[: num_pictures(messages)])["input_ids"][0].tolist()
        for name, messages in CONVERSATIONS.items()
    }
    pixels = {
        key: digest(reference.runs(folder, pattern(*size), graph_input))
        for key, size, graph_input in pixel_cases(case)
    }
    return Expected(pixels, prompts, features, answer.logits, answer.tokens.tolist())


def seen_and_said(case: FamilyCase, folder: Path) -> tuple[Array, Reference]:
    """The features of the case's pictures, and the answer to the question about them."""
    import torch

    reference = case.reference
    model, inputs = reference.model(folder), _inputs(case, folder, about(len(case.pictures)), case.pictures)
    with torch.no_grad():
        features = reference.features(model, inputs).numpy()
    inputs = {"position_ids": torch.arange(inputs["input_ids"].shape[1])[None]} | inputs
    return features, answered(model, reference.decoder(model), inputs)


def pixel_cases(case: FamilyCase) -> list[tuple[str, tuple[int, int], TensorSpec]]:
    """A name, a size and a graph input each."""
    inputs = spec(case).inputs
    dtypes = [graph_input.dtype for graph_input in inputs]
    # A second input of the same dtype has its channels elsewhere.
    kinds = [dtype + "'" * dtypes[:place].count(dtype) for place, dtype in enumerate(dtypes)]
    return [
        (f"{kind} {width}x{height}", (width, height), graph_input)
        for kind, graph_input in zip(kinds, inputs, strict=True)
        for width, height in PIXEL_SIZES
    ]


def spec(case: FamilyCase) -> VisionSpec:
    return FAMILIES[case.entry["family"]].spec_type.model_validate(case.entry, strict=False)


def digest(runs: Sequence[Array]) -> str:
    """Of the dtypes, the shapes and all values."""
    found = hashlib.sha256()
    for run in runs:
        found.update(f"{run.dtype} {run.shape}".encode())
        found.update(np.ascontiguousarray(run).data)
    return found.hexdigest()


def _inputs(
    case: FamilyCase, folder: Path, messages: Sequence[Message], sizes: Sequence[tuple[int, int]]
) -> Inputs:
    text = case.reference.text(folder, messages)
    return case.reference.inputs(folder, text, [pattern(*size) for size in sizes])
