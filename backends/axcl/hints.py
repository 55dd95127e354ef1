"""What the vendor wrote about a package: config.json, and the flags in its launch scripts.

Half the published config.json files are empty, and both were seen to be wrong. So they are asked only which
of several files is meant, how many layers there should be, which no file can tell of those that lack, and
whether the layers are of a kind that cannot be driven here, which their shapes do not always show.
Keys and flags have the same names (AXERA-TECH/ax-llm, docs/configuration.md; the run_*.sh of published
packages).
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from backends.base import PackageError

LAYERS = "template_filename_axmodel"
NUM_LAYERS = "axmodel_num"
POST = "filename_post_axmodel"
TABLE = "filename_tokens_embed"
VISION = ("filename_image_encoder_axmodel", "filename_image_encoder_axmodedl")  # the second is theirs as well
TOKENIZER = "url_tokenizer_model"

_FLAG = re.compile(r"""--(\w+)[ =]+("[^"\n]*"|'[^'\n]*'|[^\s\\]+)""")


@dataclass(frozen=True, slots=True)
class Hint:
    """What was said, and by which file."""

    value: str
    source: str


def read_config(folder: Path) -> Mapping[str, Any]:
    """`config.json` where it says something; empty, broken or absent, it says nothing."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return config if isinstance(config, dict) else {}


def read_hints(config: Mapping[str, Any], folder: Path) -> Mapping[str, Hint]:
    """By key. Where launch scripts contradict one another, none of them is believed."""
    flags: dict[str, dict[str, str]] = {}
    for script in sorted(file for file in folder.glob("*.sh") if file.is_file()):
        try:
            text = script.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        for key, value in _FLAG.findall(text):
            flags.setdefault(key, {}).setdefault(value.strip("\"'"), script.name)
    told = {key: Hint(*values.popitem()) for key, values in flags.items() if len(values) == 1}
    return told | {
        key: Hint(str(value), "config.json") for key, value in config.items() if isinstance(value, str | int)
    }


def check_layers(config: Mapping[str, Any]) -> None:
    """Raises PackageError where config.json says that layers keep something else than rows of K and V of
    their own."""
    kinds = config.get("layer_types")
    linear = isinstance(kinds, list) and "linear_attention" in kinds
    if linear or _number(config, "full_attention_interval") > 1:
        raise PackageError(
            "config.json tells of linear-attention layers, which keep a recurrent state, and this gateway "
            "keeps rows of K and V"
        )
    if _number(config, "num_kv_shared_layers") or _number(config, "hidden_size_per_layer_input"):
        raise PackageError(
            "config.json tells of layers that share K and V or take an input of their own for each token, as "
            "in Gemma 3n and Gemma 4, and this gateway gives a layer hidden states and a cache of its own"
        )


def check_window(config: Mapping[str, Any], context_length: int) -> None:
    """Raises PackageError where config.json says that layers do not see all that came before."""
    window = _number(config, "sliding_window")
    if 0 < window < context_length and config.get("use_sliding_window") is not False:
        raise PackageError(
            f"config.json tells of a sliding window of {window} positions, and this gateway lets layers see "
            f"all {context_length}"
        )


def _number(config: Mapping[str, Any], key: str) -> int:
    value = config.get(key)
    return value if isinstance(value, int) else 0


def meant(files: list[Path], hints: Mapping[str, Hint], *keys: str) -> list[Path]:
    """Of several files those that a hint names, if it names one of them; `%d` stands for a number."""
    for key in keys:
        if len(files) > 1 and key in hints:
            name = re.escape(PurePosixPath(hints[key].value).name).replace("%d", r"\d+")
            files = [file for file in files if re.fullmatch(name, file.name)] or files
    return files
