"""The models and prompts on which exported graphs are compared with transformers."""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import ml_dtypes
import numpy as np

from backends.base import Array
from backends.export import ExportOptions, export_package
from backends.export.quantize import Weights
from tests.export.checkpoints import (
    FIRST_TEXT_ID,
    IMAGE_PAD,
    VISION_END,
    VISION_START,
    tiny_qwen3_vl,
    tiny_text,
)
from tests.export.qwen2_checkpoints import tiny_qwen2_5_vl, tiny_qwen2_vl
from tests.export.runner import PackageRunner

PATCH, MERGE, FRAMES = 8, 2, 2


BUILDERS = {"qwen3_vl": tiny_qwen3_vl, "qwen2_vl": tiny_qwen2_vl, "qwen2_5_vl": tiny_qwen2_5_vl}


@dataclass(frozen=True)
class Case:
    """A checkpoint, by what its builder is told, and a prompt: pictures of so many rows and columns with text
    around them. Without pictures it is a text-only model, and of no vision family."""

    checkpoint: dict[str, Any] = field(default_factory=dict)
    num_pictures: int = 1
    picture_size: tuple[int, int] = (32, 48)
    seed: int = 0
    family: str = "qwen3_vl"

    def write_checkpoint(self, folder: Path) -> Path:
        build = BUILDERS[self.family] if self.num_pictures else tiny_text
        return build(folder, seed=self.seed, **self.checkpoint)

    def options(self, weights: Weights) -> ExportOptions:
        rows, columns = self.picture_size
        return ExportOptions(95, 16, (16, 32, 48), weights, image_height=rows, image_width=columns)

    def pictures(self) -> Array:
        """(num_pictures, rows, columns, 3) uint8, RGB."""
        rng = np.random.default_rng(self.seed + 1)
        return rng.integers(0, 256, (self.num_pictures, *self.picture_size, 3), dtype=np.uint8)

    def token_ids(self) -> Array:
        """(n,) int64: text before, between and after the pictures."""
        rng = np.random.default_rng(self.seed + 2)
        rows, columns = self.picture_size
        num_pads = rows * columns // (PATCH * MERGE) ** 2
        picture = [VISION_START, *[IMAGE_PAD] * num_pads, VISION_END]
        ids = rng.integers(FIRST_TEXT_ID, 512, 17 if self.num_pictures else 40).tolist()
        for _ in range(self.num_pictures):
            ids += picture + rng.integers(FIRST_TEXT_ID, 512, 9).tolist()
        return np.array(ids)

    def cuts(self) -> list[int]:
        """Where to cut the prompt: into chunks of 15, and a decode step at the end."""
        last = len(self.token_ids()) - 1
        return [*range(15, last, 15), last]


CASES = {
    "text only": Case(num_pictures=0),
    "Qwen2 text": Case({"model_type": "qwen2"}, num_pictures=0),
    "Llama text": Case({"model_type": "llama", "tied": False}, num_pictures=0),
    "grouped heads, two levels": Case(),
    "one k/v head, one level, bf16 weights": Case(
        {"kv_heads": 1, "num_deepstack": 1, "dtype": ml_dtypes.bfloat16}, picture_size=(48, 32)
    ),
    "own k/v heads, three levels, untied, fp16 weights": Case(
        {"heads": 2, "kv_heads": 2, "head_dim": 32, "num_deepstack": 3, "tied": False, "dtype": np.float16}
    ),
    "Qwen2-VL": Case(family="qwen2_vl"),
    "Qwen2-VL, two pictures, own k/v heads, fp16 weights": Case(
        {"kv_heads": 4, "tied": False, "dtype": np.float16},
        picture_size=(48, 32),
        num_pictures=2,
        family="qwen2_vl",
    ),
    "Qwen2.5-VL, windows that fit": Case(picture_size=(32, 64), family="qwen2_5_vl"),
    "Qwen2.5-VL, windows cut off at both margins, untied, bf16 weights": Case(
        {"tied": False, "dtype": ml_dtypes.bfloat16}, picture_size=(48, 80), family="qwen2_5_vl"
    ),
    "Qwen2.5-VL, two pictures, one k/v head": Case(
        {"kv_heads": 1}, picture_size=(32, 48), num_pictures=2, family="qwen2_5_vl"
    ),
    "wide heads, two pictures": Case({"head_dim": 32}, picture_size=(32, 32), num_pictures=2),
}


@cache
def exported(name: str) -> PackageRunner:
    """A case's package, exported once per test run."""
    return export(CASES[name], Path(mkdtemp(prefix="axgate-export-")))


def export(case: Case, folder: Path, weights: Weights = "keep") -> PackageRunner:
    """Checkpoint and package in `folder`."""
    checkpoint = case.write_checkpoint(folder / "checkpoint")
    export_package(checkpoint, folder / "package", case.options(weights), lambda *_: None)
    return PackageRunner(folder / "package")


def patches(picture: Array) -> Array:
    """(rows, columns, 3) -> (1, patches, frames * 8 * 8, 3), patches in merge-block order, frames alike."""
    rows, columns = picture.shape[0] // (PATCH * MERGE), picture.shape[1] // (PATCH * MERGE)
    blocks = picture.reshape(rows, MERGE, PATCH, columns, MERGE, PATCH, 3).transpose(0, 3, 1, 4, 2, 5, 6)
    return np.tile(blocks.reshape(1, -1, PATCH**2, 3), (1, 1, FRAMES, 1))
