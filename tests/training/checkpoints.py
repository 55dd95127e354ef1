"""The shipped checkpoint folders and how each family writes a conversation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jinja2.sandbox import ImmutableSandboxedEnvironment

from training.dialects import INTERNVL, QWEN3_VL, SMOLVLM, Dialect
from training.rows import GRID

Json = dict[str, Any]

DEMO = Path(__file__).parents[2] / "gateway" / "demo"
FOLDERS = {"qwen3_vl": DEMO / "checkpoint", "internvl": DEMO / "internvl", "smolvlm": DEMO / "smolvlm"}
DIALECTS: dict[str, Dialect] = {"qwen3_vl": QWEN3_VL, "internvl": INTERNVL, "smolvlm": SMOLVLM}
_AROUND = {"qwen3_vl": ("", ""), "internvl": ("<img>", "</img>")}


def read(family: str, name: str) -> Json:
    """A configuration file of the family's folder."""
    content: Json = json.loads((FOLDERS[family] / name).read_text())
    return content


def render(family: str, messages: list[Json], add_generation_prompt: bool = True) -> str:
    """What the family's chat template writes."""
    source = (FOLDERS[family] / "chat_template.jinja").read_text()
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(source)
    return template.render(messages=messages, add_generation_prompt=add_generation_prompt)


def widened(family: str, text: str) -> str:
    """The rendered text with every picture's one marker widened to its tokens, as processors do it."""
    dialect = DIALECTS[family]
    before, after = _AROUND.get(family, (dialect.before_picture, dialect.after_picture))
    return text.replace(dialect.placeholder, before + dialect.placeholder * GRID * GRID + after)
