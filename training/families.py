"""Families: the architectures the demo models have, each with its sizes, tower, prompts and weight names."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from training.config import Config
from training.dialects import INTERNVL, QWEN3_VL, SMOLVLM, Dialect
from training.model import DemoModel
from training.towers import InternTower, SmolTower
from training.vision import Visual

_INTERNVL_NAMES = (
    ("visual.class_embed", "vision_tower.embeddings.cls_token"),
    ("visual.pos_embed", "vision_tower.embeddings.position_embeddings"),
    ("visual.patch_embed.proj.", "vision_tower.embeddings.patch_embeddings.projection."),
    ("visual.norm.", "multi_modal_projector.layer_norm."),
    ("visual.linear_fc1.", "multi_modal_projector.linear_1."),
    ("visual.linear_fc2.", "multi_modal_projector.linear_2."),
    ("visual.blocks.", "vision_tower.encoder.layer."),
    (".attn.proj.", ".attention.projection_layer."),
    (".attn.", ".attention."),
    (".norm1.", ".layernorm_before."),
    (".norm2.", ".layernorm_after."),
    (".mlp.linear_fc", ".mlp.fc"),
    ("language_model.", "language_model.model."),
)
_SMOLVLM_NAMES = (
    ("visual.pos_embed.", "model.vision_model.embeddings.position_embedding."),
    ("visual.patch_embed.proj.", "model.vision_model.embeddings.patch_embedding."),
    ("visual.norm.", "model.vision_model.post_layernorm."),
    ("visual.connector.", "model.connector.modality_projection.proj."),
    ("visual.blocks.", "model.vision_model.encoder.layers."),
    (".attn.proj.", ".self_attn.out_proj."),
    (".attn.", ".self_attn."),
    (".norm1.", ".layer_norm1."),
    (".norm2.", ".layer_norm2."),
    (".mlp.linear_fc", ".mlp.fc"),
    ("language_model.", "model.text_model."),
)


@dataclass(frozen=True)
class Family:
    """One architecture; `model_type` is transformers' name for it.

    `names` are pieces of the twin's parameter names and what transformers writes for them in a checkpoint
    file, replaced in that order; `fused_qkv` is whether it keeps the tower's queries, keys and values in one
    matrix, as the twins do.
    """

    model_type: str
    config: Config
    dialect: Dialect
    tower: Callable[[Config], nn.Module]
    names: tuple[tuple[str, str], ...]
    fused_qkv: bool = False

    def model(self) -> DemoModel:
        """A twin with random weights."""
        return DemoModel(self.config, self.tower(self.config))

    def name(self, parameter: str) -> str:
        """What a checkpoint file calls the twin's parameter."""
        for ours, theirs in self.names:
            parameter = parameter.replace(ours, theirs)
        return parameter


FAMILIES = {
    family.model_type: family
    for family in (
        Family(
            "qwen3_vl",
            Config(),
            QWEN3_VL,
            Visual,
            (("visual.", "model.visual."), ("language_model.", "model.language_model.")),
            fused_qkv=True,
        ),
        Family(
            "internvl",
            Config(deepstack=(), image_mean=(0.485, 0.456, 0.406), image_std=(0.229, 0.224, 0.225)),
            INTERNVL,
            InternTower,
            _INTERNVL_NAMES,
        ),
        Family("smolvlm", Config(deepstack=(), eps=1e-5, qk_norm=False), SMOLVLM, SmolTower, _SMOLVLM_NAMES),
    )
}


def family_of(folder: Path) -> Family:
    """The family of a checkpoint folder, which its `config.json` tells."""
    return FAMILIES[json.loads((folder / "config.json").read_text())["model_type"]]
