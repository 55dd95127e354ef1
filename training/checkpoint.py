"""A demo model as a Hugging Face checkpoint folder.

`python -m training.checkpoint training.pt FOLDER` writes the averaged weights of a training stage and the
configuration files; `tokenizer.json`, `chat_template.jinja` and `MODEL_CARD.md` belong to the folder and are
left alone.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor

from training.configurations import configurations
from training.families import FAMILIES, Family, family_of
from training.model import DemoModel

_PATCH = "visual.patch_embed.proj.weight"
_PARTS = ("q_proj", "k_proj", "v_proj")


def to_hugging_face(weights: dict[str, Tensor], family: Family) -> dict[str, Tensor]:
    """The twin's weights as transformers names and shapes them, in float16.

    Qwen3-VL sees a picture as two equal frames, so each frame's half of the convolution is half of the
    twin's weight.
    """
    named: dict[str, Tensor] = {}
    patch = family.config.patch
    for ours, value in weights.items():
        theirs = family.name(ours)
        if ours == _PATCH and family.model_type == "qwen3_vl":
            frame = value.reshape(-1, 3, 1, patch, patch) / 2
            named[theirs] = frame.expand(-1, -1, 2, -1, -1)
        elif ours == _PATCH:
            named[theirs] = value.reshape(-1, 3, patch, patch)
        elif ".qkv." in ours and not family.fused_qkv:
            for part, split in zip(_PARTS, value.chunk(3), strict=True):
                named[theirs.replace("qkv", part)] = split
        else:
            named[theirs] = value
    return {name: value.to(torch.float16).contiguous() for name, value in named.items()}


def from_hugging_face(named: dict[str, Tensor], family: Family) -> dict[str, Tensor]:
    """The inverse, in float32."""
    weights: dict[str, Tensor] = {}
    for ours in family.model().state_dict():
        theirs = family.name(ours)
        if ours == _PATCH:
            patch = named[theirs].float()
            weights[ours] = (patch.sum(2) if patch.ndim == 5 else patch).flatten(1)
        elif ".qkv." in ours and not family.fused_qkv:
            weights[ours] = torch.cat([named[theirs.replace("qkv", part)].float() for part in _PARTS])
        else:
            weights[ours] = named[theirs].float()
    return weights


def load(folder: Path) -> DemoModel:
    """The twin with the weights of a checkpoint folder."""
    family = family_of(folder)
    model = family.model()
    model.load_state_dict(from_hugging_face(load_file(folder / "model.safetensors"), family))
    return model


def save(model: DemoModel, family: Family, folder: Path) -> None:
    """Write the weights and the configuration files into a folder that has its `tokenizer.json`."""
    named = to_hugging_face(model.state_dict(), family)
    save_file(named, folder / "model.safetensors", metadata={"format": "pt"})
    for name, content in configurations(family, Tokenizer.from_file(str(folder / "tokenizer.json"))).items():
        (folder / name).write_text(json.dumps(content, indent=2) + "\n")


def main() -> None:
    """Write a training stage's weights as a checkpoint folder."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("training", type=Path, help="training.pt")
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--weights", choices=("average", "model"), default="average")
    given = arguments.parse_args()
    state = torch.load(given.training, weights_only=True)
    family = FAMILIES[state["family"]]
    model = family.model()
    model.load_state_dict(state[given.weights])
    save(model, family, given.folder)


if __name__ == "__main__":
    main()
