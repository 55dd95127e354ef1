"""Encoders of entries, as a package of the entry's would get them."""

from typing import Any

from gateway.vision.encoder import VisionEncoder
from gateway.vision.registry import Registry


def encoder(name: str, which_input: int = 0) -> VisionEncoder[Any]:
    """That of a built-in entry, for one of the graph inputs it can prepare."""
    (entry,) = [each for each in Registry.load().entries if each.name == name]
    return entry.encoder(entry.spec.inputs[which_input])
