"""What a family makes of a checkpoint: all that the package writer needs to know."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from backends.export.decoder import DecoderSpec
from backends.export.graph import GraphBuilder


@dataclass(frozen=True, slots=True)
class Vision:
    """`build` makes the vision graph; `settings` are its fields in the package's config.json; `files` write
    what the host needs beside it, by the name in the package."""

    build: Callable[[], GraphBuilder]
    settings: Mapping[str, str | int]
    files: Mapping[str, Callable[[Path], None]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Model:
    """name: the vendor's word for the family; file_prefix: what its layer files begin with."""

    name: str
    file_prefix: str
    decoder: DecoderSpec
    vision: Vision | None


def square_settings(vlm_type: str, image_size: int, patch_size: int | None = None) -> dict[str, str | int]:
    """Those of a vision graph that takes squares. Not every family's have the size of its patches."""
    settings: dict[str, str | int] = {
        "vlm_type": vlm_type,
        "vision_width": image_size,
        "vision_height": image_size,
    }
    return settings if patch_size is None else settings | {"vision_patch_size": patch_size}
