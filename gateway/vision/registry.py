"""Which encoder a compiled vision graph needs: the families, and the entries of vision_models.json."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match

from backends.base import TensorSpec
from gateway.vision.encoder import VisionEncoder
from gateway.vision.qwen3_vl import Qwen3VL
from gateway.vision.spec import VisionSpec

FAMILIES: Mapping[str, type[VisionEncoder]] = {family.family: family for family in (Qwen3VL,)}

ENTRIES = Path(__file__).with_name("vision_models.json")
SCHEMA = Path(__file__).with_name("vision_models.schema.json")


class RegistryError(ValueError):
    """A vision_models.json that cannot be used, or a package that has no entry in it. Meant for whoever
    starts the server: the message names the entry, the field, and what was expected."""


@dataclass(frozen=True, slots=True)
class Registry:
    """The entries, in file order; no two of them take the same graph."""

    encoders: tuple[VisionEncoder, ...]

    @classmethod
    def load(cls, path: Path | None = None) -> "Registry":
        """Read and check a file of entries, the one that comes with this package unless told otherwise.
        Raises RegistryError."""
        path = path or ENTRIES
        encoders = tuple(_encoder(path, name, entry) for name, entry in _entries(path).items())
        taken: dict[tuple[object, ...], str] = {}
        for encoder in encoders:
            spec, graph = encoder.spec, encoder.input_spec()
            other = taken.setdefault((spec.prefix, graph.dtype, graph.shape), spec.name)
            if other != spec.name:
                raise RegistryError(
                    f"{path}: entries '{other}' and '{spec.name}' take the same input {_shape(graph)} "
                    f"of the same prefix '{spec.prefix}', so no package can tell which is meant"
                )
        return cls(encoders)

    def sees(self, prefix: str) -> bool:
        """Whether a package with this layer prefix needs a vision graph."""
        return any(encoder.spec.prefix == prefix for encoder in self.encoders)

    def find(self, prefix: str, graph_input: TensorSpec) -> VisionEncoder:
        """The encoder for the vision graph of a package: same layer prefix, same input dtype and shape.
        Raises RegistryError with what the package has and which entries there are."""
        wanted = (prefix, graph_input.dtype, graph_input.shape)
        for encoder in self.encoders:
            known = encoder.input_spec()
            if (encoder.spec.prefix, known.dtype, known.shape) == wanted:
                return encoder
        entries = "; ".join(
            f"'{each.spec.name}' for '{each.spec.prefix}' takes {_shape(each.input_spec())}"
            for each in self.encoders
        )
        raise RegistryError(
            f"no entry fits the vision graph of this '{prefix}' package: its input is {_shape(graph_input)}. "
            f"Entries: {entries}"
        )


def _shape(tensor: TensorSpec) -> str:
    return f"{tensor.dtype} {list(tensor.shape)}"


def _entries(path: Path) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        for name in names:
            if names.count(name) > 1:
                raise RegistryError(f"{path}: '{name}' is there twice, expected once")
        return dict(pairs)

    try:
        entries = json.loads(path.read_text("utf-8"), object_pairs_hook=once)
    except OSError as error:
        raise RegistryError(f"{path}: cannot be read: {error.strerror}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RegistryError(f"{path}: expected JSON: {error}") from error
    schema = json.loads(SCHEMA.read_text("utf-8"))
    if (fault := best_match(Draft202012Validator(schema).iter_errors(entries))) is not None:
        raise RegistryError(f"{path}: {_place(fault)}{fault.message}")
    checked: dict[str, Any] = entries
    return checked


def _place(fault: ValidationError) -> str:
    words = [f"{word} '{key}'" for word, key in zip(("entry", "field"), fault.absolute_path, strict=False)]
    return f"{', '.join(words)}: " if words else ""


def _encoder(path: Path, name: str, entry: Mapping[str, Any]) -> VisionEncoder:
    family = FAMILIES.get(entry["family"])
    if family is None:
        raise RegistryError(
            f"{path}: entry '{name}', field 'family': expected one of {sorted(FAMILIES)}, "
            f"got '{entry['family']}'"
        )
    try:
        return family(VisionSpec(name=name, **entry))
    except ValueError as error:
        raise RegistryError(f"{path}: entry '{name}', {error}") from error
