"""Which encoder a compiled vision graph needs: the families, and the entries of vision_models.json."""

import json
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from backends.base import TensorSpec
from gateway.vision.deepseek_ocr import DeepseekOCR
from gateway.vision.encoder import VisionEncoder
from gateway.vision.internvl import InternVL
from gateway.vision.janus import Janus
from gateway.vision.llava import Llava
from gateway.vision.minicpmv import MiniCPMV
from gateway.vision.qwen2_vl import Qwen2VL
from gateway.vision.qwen3_vl import Qwen3VL
from gateway.vision.smolvlm import SmolVLM
from gateway.vision.smolvlm_patches import SmolVLMPatches
from gateway.vision.spec import Checked, Text, VisionSpec

AnyEncoder = VisionEncoder[Any]

FAMILIES: Mapping[str, type[AnyEncoder]] = {
    family.family: family
    for family in (DeepseekOCR, InternVL, Janus, Llava, MiniCPMV, Qwen2VL, Qwen3VL, SmolVLM, SmolVLMPatches)
}

ENTRIES = Path(__file__).with_name("vision_models.json")


class RegistryError(ValueError):
    """A vision_models.json that cannot be used, or a package that has no entry in it. Meant for whoever
    starts the server: the message names the entry, the field, and what was expected."""


class Refusal(Checked):
    """An entry for packages that are known and cannot be served; `refused` is a sentence that says why."""

    family: Text
    prefixes: tuple[Text, ...]
    refused: Text


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry: what is known of a vision graph, and the graph inputs that it can be prepared for."""

    name: str
    spec: VisionSpec

    def fits(self, prefix: str, graph_input: TensorSpec) -> bool:
        """What the input is called does not matter."""
        wanted = (graph_input.dtype, graph_input.shape)
        known = [(each.dtype, each.shape) for each in self.spec.inputs]
        return prefix in self.spec.prefixes and wanted in known

    def encoder(self, graph_input: TensorSpec) -> AnyEncoder:
        return FAMILIES[self.spec.family](self.name, self.spec, graph_input)

    def __str__(self) -> str:
        taken = " or ".join(_shape(each) for each in self.spec.inputs)
        return f"'{self.name}' takes {taken}"


@dataclass(frozen=True, slots=True)
class Registry:
    """The entries in the order in which they are tried, and those of what cannot be served."""

    entries: tuple[Entry, ...]
    refusals: tuple[Refusal, ...] = ()

    @classmethod
    def load(cls, path: Path | None = None, prefer: Sequence[str] = ()) -> "Registry":
        """Read and check a file of entries, the one that comes with this package unless told otherwise. Where
        several entries fit a graph, those named in `prefer` come first, then the file's order decides. Raises
        RegistryError."""
        path = path or ENTRIES
        entries: dict[str, Entry] = {}
        refusals = []
        for name, entry in _entries(path).items():
            found = _read(path, name, entry)
            if isinstance(found, Refusal):
                refusals.append(found)
            else:
                entries[name] = found
        for name in prefer:
            if name not in entries:
                raise RegistryError(f"{path}: there is no entry '{name}'; there are {', '.join(entries)}")
        order = [*prefer, *(name for name in entries if name not in prefer)]
        return cls(tuple(entries[name] for name in order), tuple(refusals))

    def check(self, prefix: str, *, has_vision: bool) -> None:
        """Raises RegistryError for a package that is known not to work, before anything of it is loaded: its
        family cannot be served, or it lacks the vision graph that all of its family have."""
        for refusal in self.refusals:
            if prefix in refusal.prefixes:
                raise RegistryError(f"'{prefix}' packages cannot be served: {refusal.refused}")
        needy = any(
            FAMILIES[each.spec.family].has_own_prefix and prefix in each.spec.prefixes
            for each in self.entries
        )
        if needy and not has_vision:
            raise RegistryError(f"the package lacks its vision graph, which a '{prefix}' model needs")

    def find(
        self, prefix: str, graph_input: TensorSpec, added_tokens: Callable[[], Set[str]] = frozenset
    ) -> AnyEncoder:
        """The encoder for the vision graph of a package: same layer prefix, same input dtype and shape. Of
        several that fit it is the first whose placeholder is among the tokenizer's added tokens, which are
        asked for then only. Raises RegistryError with what the package has and which entries there are."""
        fitting = [entry for entry in self.entries if entry.fits(prefix, graph_input)]
        if not fitting:
            raise RegistryError(
                f"no entry fits the vision graph of this '{prefix}' package: its input is "
                f"{_shape(graph_input)}. {self._told(prefix)}"
            )
        tokens = added_tokens() if len(fitting) > 1 else frozenset()
        known = [entry for entry in fitting if entry.spec.placeholder in tokens]
        return (known or fitting)[0].encoder(graph_input)

    def _told(self, prefix: str) -> str:
        """What there is for packages with this layer prefix."""
        ours = [entry for entry in self.entries if prefix in entry.spec.prefixes]
        if ours:
            return f"Entries for '{prefix}': {'; '.join(map(str, ours))}"
        known = sorted({each for entry in self.entries for each in entry.spec.prefixes})
        return f"There are entries for {', '.join(known)}"


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
    if not isinstance(entries, dict) or not entries:
        raise RegistryError(f"{path}: expected a JSON object of entries by name")
    return entries


def _read(path: Path, name: str, entry: object) -> Entry | Refusal:
    try:
        if not isinstance(entry, dict):
            raise ValueError(f"expected a JSON object, got {json.dumps(entry)}")
        if "refused" in entry:
            return Refusal.model_validate_json(json.dumps(entry))
        named = entry.get("family")
        if named not in list(FAMILIES):  # a list, for it may be anything that JSON can say
            found = json.dumps(named)
            raise ValueError(f"field 'family': expected one of {sorted(FAMILIES)}, got {found}")
        spec = FAMILIES[named].spec_type.model_validate_json(json.dumps(entry))
        _ = spec.inputs  # whether its numbers go together
        return Entry(name, spec)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        found = "" if first["type"] == "missing" else f", got {json.dumps(first['input'])}"
        raise RegistryError(f"{path}: entry '{name}', field '{field}': {first['msg']}{found}") from None
    except ValueError as error:
        raise RegistryError(f"{path}: entry '{name}', {error}") from error
