"""What a family makes of a checkpoint: all that the package writer needs to know."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from backends.export.decoder import DecoderSpec
from backends.export.graph import GraphBuilder


@dataclass(frozen=True, slots=True)
class Vision:
    """`build` makes the vision graph; `settings` are its fields in the package's config.json."""

    build: Callable[[], GraphBuilder]
    settings: Mapping[str, str | int]


@dataclass(frozen=True, slots=True)
class Model:
    """name: the vendor's word for the family; file_prefix: what its layer files begin with."""

    name: str
    file_prefix: str
    decoder: DecoderSpec
    vision: Vision | None
