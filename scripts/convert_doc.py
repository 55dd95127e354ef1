"""Write the families' part of docs/convert.md: how to make a package for a real card.

    python -m scripts.convert_doc

All shapes and commands come from the registry and from backends/export/recipe.py; a test compares.
"""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from backends.base import TensorSpec
from backends.export import ExportOptions
from backends.export.recipe import PACKAGE, VISION, language_command, vision_command
from gateway.vision.registry import Entry, Registry

DOC = Path(__file__).parents[1] / "docs" / "convert.md"

MARK = "<!-- Below this line scripts/convert_doc.py writes. -->\n"


@dataclass(frozen=True)
class Family:
    """`checkpoint` is a published one, as an example; `family` and `prefix` are those of its entries."""

    title: str
    checkpoint: str
    family: str
    prefix: str


# By model_type, as in a checkpoint's config.json.
FAMILIES = {
    "qwen3_vl": Family("Qwen3-VL", "Qwen/Qwen3-VL-2B-Instruct", "qwen3_vl", "qwen3_vl_text"),
    "qwen2_5_vl": Family("Qwen2.5-VL", "Qwen/Qwen2.5-VL-3B-Instruct", "qwen2_vl", "qwen2_5_vl"),
    "qwen2_vl": Family("Qwen2-VL", "Qwen/Qwen2-VL-2B-Instruct", "qwen2_vl", "qwen2_vl"),
    "internvl": Family(
        "InternVL, as transformers has it", "OpenGVLab/InternVL3_5-1B-HF", "internvl", "qwen3"
    ),
    "internvl_chat": Family(
        "InternVL, as its makers published it", "OpenGVLab/InternVL3-1B", "internvl", "qwen2"
    ),
    "smolvlm": Family("SmolVLM2", "HuggingFaceTB/SmolVLM2-500M-Video-Instruct", "smolvlm", "llama"),
    "idefics3": Family("SmolVLM", "HuggingFaceTB/SmolVLM-256M-Instruct", "smolvlm", "llama"),
    "janus": Family("Janus-Pro", "deepseek-community/Janus-Pro-1B", "janus", "llama"),
    "minicpmv": Family("MiniCPM-V 2.6", "openbmb/MiniCPM-V-2_6", "minicpmv", "minicpmv"),
    "mobilevlm": Family("MobileVLM V2", "mtgv/MobileVLM_V2-1.7B", "llava", "llama"),
}


def families() -> str:
    """A section for each kind of checkpoint."""
    entries = Registry.load().entries
    return "\n".join(
        line
        for model_type, family in FAMILIES.items()
        for line in _section(model_type, family, [entry for entry in entries if _fits(entry, family)])
    )


def pixels(entry: Entry) -> TensorSpec | None:
    """What the compiled graph takes: raw pixels, (1, rows, columns, 3)."""
    for graph_input in entry.spec.inputs:
        if graph_input.dtype == "uint8":
            return graph_input
    return None


def _fits(entry: Entry, family: Family) -> bool:
    ours = entry.spec.family == family.family and family.prefix in entry.spec.prefixes
    return ours and pixels(entry) is not None and "demo" not in entry.name


def _section(model_type: str, family: Family, entries: list[Entry]) -> Iterator[str]:
    name = family.checkpoint.partition("/")[2]
    options = ExportOptions()
    yield f"## {family.title}\n"
    yield f"Checkpoints with `model_type` `{model_type}`, such as {family.checkpoint};"
    yield f"layer files begin with `{family.prefix}`.\n"
    yield "| entry | at run time | ONNX input | tokens a picture |"
    yield "|---|---|---|---|"
    for entry in entries:
        graph_input = pixels(entry)
        assert graph_input is not None
        _, rows, columns, colours = graph_input.shape
        encoder = entry.encoder(graph_input)
        least, most = encoder.smallest.num_tokens, encoder.largest.num_tokens
        tokens = f"{least}" if least == most else f"{least} to {most}"
        shapes = f"uint8 {list(graph_input.shape)} | float32 {[1, colours, rows, columns]}"
        yield f"| `{entry.name}` | {shapes} | {tokens} |"
    yield "\n```"
    yield f"axgate recipe {name} {name}-recipe --pictures my-pictures"
    yield f"sh {name}-recipe/build.sh"
    yield f"axgate serve --model {name}-recipe/{PACKAGE}"
    yield "```\n"
    yield f"`build.sh` runs, with `{VISION}` and the files beside it:\n"
    yield "```"
    yield shlex.join(language_command(name, options))
    yield shlex.join(vision_command(f"{name}-recipe_vision.axmodel"))
    yield "```\n"


if __name__ == "__main__":
    written, _, _ = DOC.read_text().partition(MARK)
    DOC.write_text(f"{written}{MARK}\n{families()}")
