"""Tiny checkpoints of models that transformers has no class for, or whose language model alone is exported,
and what transformers' parts of them compute.

The language models are transformers' Llama, Qwen2 and DeepSeek, asked with the tensors by their own names.
MobileVLM's tower is transformers' CLIP; its projector is stated here once more with torch's functions, after
Meituan-AutoML/MobileVLM, mobilevlm/model/vision_projector.py.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from backends.base import Array
from backends.export import ExportOptions
from tests.export.checkpoints import FIRST_TEXT_ID, IMAGE_PAD, Config, Shapes, text_config, text_shapes, write
from tests.export.expected import Expected
from tests.export.reference import round_like_the_card

OPTIONS = ExportOptions(255, 64, (64, 128, 192), vision_input="f32-nchw")
HIDDEN, SIZE, INNER, DEPTH, EDGE, PATCH = 64, 32, 48, 3, 48, 2
TOWER, PROJECTOR = "model.vision_tower.vision_tower.vision_model.", "model.mm_projector."


@dataclass(frozen=True)
class Backbone:
    """`language` is the type of the language model, `tensors` what its tensors' names begin with, before
    "model." and "lm_head."; it is configured in `section`, or in config.json itself."""

    model_type: str
    language: str
    tensors: str = ""
    inner: str = "model."
    section: str | None = None
    tied: bool = False
    num_tokens: int = 0
    vocab_size: int = 512
    seed: int = 0

    def write_checkpoint(self, folder: Path) -> Path:
        text = text_config(self.vocab_size, 3, HIDDEN, 4, 2, 16, self.language)
        shapes = text_shapes(text, self.tensors + self.inner, self.tied)
        if not self.tied:
            shapes[f"{self.tensors}lm_head.weight"] = shapes.pop("lm_head.weight")
        config = {"text_config": text} if self.section else text
        config = config | {"model_type": self.model_type, "tie_word_embeddings": self.tied}
        if self.language == "deepseek":
            config |= {"architectures": ["DeepseekOCRForCausalLM"], "language_config": text | EXPERTS}
            shapes = with_experts(shapes)
        if self.num_tokens:
            config |= {
                "mm_projector_type": "ldpnetv2",
                "mm_hidden_size": SIZE,
                "mm_vision_select_layer": -2,
                "mm_vision_tower": "openai/clip-vit-large-patch14-336",
                "vision_config": clip_config(),
            }
            shapes |= mobilevlm_shapes()
        write(folder, config, shapes, self.seed, np.float32)
        return folder

    def picture(self) -> Array:
        """(1, 3, rows, columns) float32."""
        return np.random.default_rng(self.seed + 1).standard_normal((1, 3, EDGE, EDGE), dtype=np.float32)

    def token_ids(self) -> Array:
        """(n,) int64: a picture, where there is one, between text."""
        ids = np.random.default_rng(self.seed + 2).integers(FIRST_TEXT_ID, 512, 40)
        return np.concatenate([ids[:9], np.full(self.num_tokens, IMAGE_PAD), ids[9:]])


CASES = {
    "FastVLM, as published": Backbone("llava_qwen2", "qwen2"),
    "FastVLM, of transformers": Backbone(
        "fast_vlm", "qwen2", inner="model.language_model.", section="text_config", tied=True
    ),
    "MobileVLM V2": Backbone("mobilevlm", "llama", num_tokens=144),
    "DeepSeek-OCR": Backbone("deepseek_vl_v2", "deepseek"),
}

EXPERTS = {
    "use_mla": False,
    "n_routed_experts": 8,
    "num_experts_per_tok": 3,
    "n_shared_experts": 2,
    "moe_intermediate_size": 24,
    "first_k_dense_replace": 1,
    "routed_scaling_factor": 1.5,
    "topk_method": "greedy",
    "n_group": 1,
    "topk_group": 1,
}


def with_experts(shapes: Shapes) -> Shapes:
    """With a mixture of experts in all layers but the first."""
    inner = 24
    sizes = {
        **{f"experts.{index}": inner for index in range(8)},
        "shared_experts": 2 * inner,
    }
    mixture: Shapes = {"gate": (8, HIDDEN)}
    for part, size in sizes.items():
        mixture |= {f"{part}.gate_proj": (size, HIDDEN), f"{part}.up_proj": (size, HIDDEN)}
        mixture[f"{part}.down_proj"] = (HIDDEN, size)
    others = {
        name: shape
        for name, shape in shapes.items()
        if ".mlp." not in name or name.startswith("model.layers.0.")
    }
    for layer in (1, 2):
        others |= {f"model.layers.{layer}.mlp.{name}.weight": shape for name, shape in mixture.items()}
    return others


def clip_config() -> Config:
    return {
        "hidden_size": SIZE,
        "intermediate_size": INNER,
        "num_hidden_layers": DEPTH,
        "num_attention_heads": 2,
        "image_size": EDGE,
        "patch_size": PATCH,
        "hidden_act": "quick_gelu",
        "layer_norm_eps": 0.001,  # large enough to be missed
    }


def mobilevlm_shapes() -> Shapes:
    names: Shapes = {
        f"{TOWER}pre_layrnorm": (SIZE,),
        f"{TOWER}post_layernorm": (SIZE,),
        f"{PROJECTOR}mlp.mlp.0": (HIDDEN, SIZE),
        f"{PROJECTOR}mlp.mlp.2": (HIDDEN, HIDDEN),
        f"{PROJECTOR}peg.peg.0": (HIDDEN, 1, 3, 3),
    }
    for index in range(DEPTH):
        block = f"{TOWER}encoder.layers.{index}."
        names |= {f"{block}self_attn.{part}_proj": (SIZE, SIZE) for part in ("q", "k", "v", "out")}
        names |= {f"{block}layer_norm{number}": (SIZE,) for number in (1, 2)}
        names |= {f"{block}mlp.fc1": (INNER, SIZE), f"{block}mlp.fc2": (SIZE, INNER)}
    shapes = {f"{name}.weight": shape for name, shape in names.items()}
    shapes |= {f"{name}.bias": shape[:1] for name, shape in names.items()}
    return shapes | {
        f"{TOWER}embeddings.class_embedding": (SIZE,),
        f"{TOWER}embeddings.patch_embedding.weight": (SIZE, 3, PATCH, PATCH),
        f"{TOWER}embeddings.position_embedding.weight": (1 + (EDGE // PATCH) ** 2, SIZE),
    }


def expected(case: Backbone, folder: Path) -> Expected:
    """What transformers says; `folder` is that of the case's checkpoint."""
    import torch

    with torch.no_grad():
        model = language_model(case, folder)
        cache = round_like_the_card(model.model)
        ids = torch.from_numpy(case.token_ids())[None]
        features = torch.zeros(0, HIDDEN)
        embeds = model.model.embed_tokens(ids)
        if case.num_tokens:
            features = _features(case, folder)
            embeds[ids == IMAGE_PAD] = features
        logits = model(inputs_embeds=embeds, past_key_values=cache).logits[0]
    positions = np.tile(np.arange(ids.shape[1]), (3, 1))
    return Expected(positions, features.numpy()[np.newaxis], logits.numpy())


def _deepseek(folder: Path) -> Any:
    """DeepSeek-OCR 2 has the same language model, which stands in transformers without its head."""
    import torch
    from transformers.models.deepseek_ocr2.configuration_deepseek_ocr2 import DeepseekOcr2TextConfig
    from transformers.models.deepseek_ocr2.modeling_deepseek_ocr2 import DeepseekOcr2TextModel

    tensors = {
        name: torch.from_numpy(tensor) for name, tensor in load_file(folder / "model.safetensors").items()
    }
    told = json.loads((folder / "config.json").read_text())["language_config"]
    told = {key: value for key, value in told.items() if key not in ("model_type", "use_mla")}
    kinds = ["dense", "sparse", "sparse"]

    class Model(torch.nn.Module):  # type: ignore[misc]  # torch is not typed
        def __init__(self) -> None:
            super().__init__()
            self.model = DeepseekOcr2TextModel(DeepseekOcr2TextConfig(**told, mlp_layer_types=kinds)).eval()

        def forward(self, **inputs: Any) -> Any:
            hidden = self.model(**inputs).last_hidden_state
            return SimpleNamespace(logits=torch.nn.functional.linear(hidden, tensors["lm_head.weight"]))

    found = Model()
    state = {
        name.removeprefix("model."): tensor for name, tensor in tensors.items() if "mlp.experts" not in name
    }
    del state["lm_head.weight"]
    for layer in (1, 2):
        gates, ups, downs = (
            torch.stack(
                [tensors[f"model.layers.{layer}.mlp.experts.{n}.{part}_proj.weight"] for n in range(8)]
            )
            for part in ("gate", "up", "down")
        )
        state[f"layers.{layer}.mlp.experts.gate_up_proj"] = torch.cat([gates, ups], dim=1)
        state[f"layers.{layer}.mlp.experts.down_proj"] = downs
    found.model.load_state_dict(state, strict=True)
    return found


def language_model(case: Backbone, folder: Path) -> Any:
    """transformers' own, with the checkpoint's weights; it has a `model` and gives `logits`."""
    if case.language == "deepseek":
        return _deepseek(folder)
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

    told = json.loads((folder / "config.json").read_text())
    text = (told[case.section] if case.section else told) | {"tie_word_embeddings": case.tied}
    kinds: dict[str, Any] = {
        "llama": (LlamaConfig, LlamaForCausalLM),
        "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    }
    configuration, model_class = kinds[case.language]
    model = model_class(configuration(**text | {"model_type": case.language})).eval()
    state = {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        own = name.removeprefix(case.tensors)
        if own == "lm_head.weight" or own.startswith(case.inner):
            state[own.replace(case.inner, "model.", 1)] = torch.from_numpy(tensor)
    state = {name: tensor for name, tensor in state.items() if name in model.state_dict()}
    if case.tied:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    model.load_state_dict(state, strict=True)
    return model


def _features(case: Backbone, folder: Path) -> Any:
    """(144, hidden) of the case's picture."""
    import torch
    from torch.nn import functional
    from transformers import CLIPVisionConfig, CLIPVisionModel

    tensors = {
        name: torch.from_numpy(tensor)
        for name, tensor in load_file(folder / "model.safetensors").items()
        if name.startswith((TOWER, PROJECTOR))
    }
    tower = CLIPVisionModel(CLIPVisionConfig(**clip_config())).eval()
    own = {name.removeprefix(TOWER): tensors[name] for name in tensors if name.startswith(TOWER)}
    prefix = "vision_model." if any(name.startswith("vision_model.") for name in tower.state_dict()) else ""
    tower.load_state_dict({prefix + name: tensor for name, tensor in own.items()}, strict=True)
    seen = tower(torch.from_numpy(case.picture()), output_hidden_states=True).hidden_states[-2][:, 1:]

    def part(name: str) -> tuple[Any, Any]:
        return tensors[f"{PROJECTOR}{name}.weight"], tensors[f"{PROJECTOR}{name}.bias"]

    hidden = functional.linear(
        functional.gelu(functional.linear(seen, *part("mlp.mlp.0"))), *part("mlp.mlp.2")
    )
    side = EDGE // PATCH
    planes = hidden.permute(0, 2, 1).reshape(1, HIDDEN, side, side)
    tokens = functional.adaptive_avg_pool2d(planes, (12, 12))
    tokens = functional.conv2d(tokens, *part("peg.peg.0"), padding=1, groups=HIDDEN) + tokens
    return tokens.flatten(2).transpose(1, 2)[0]
