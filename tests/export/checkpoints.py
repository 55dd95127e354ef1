"""Tiny random checkpoints in the Hugging Face layout, written without torch.

Matrices are normal(0, fan_in ** -0.5); norms, biases and learned positions are perturbed. With the usual
small initialisation a network is nearly linear, and most mistakes stay invisible. The first vision norm has
small inputs and the text norms have a large epsilon, so that a wrong epsilon shows as well.
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

Config = dict[str, Any]
Shapes = dict[str, tuple[int, ...]]

# The ids of the demo model's tokenizer, so that its tokenizer files fit a checkpoint with vocab_size=768.
VISION_START, VISION_END, IMAGE_PAD, VIDEO_PAD = 3, 4, 5, 6
FIRST_TEXT_ID = 7

TEXT_CLASSES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}

IMAGE_MEAN, IMAGE_STD = [0.48, 0.46, 0.41], [0.27, 0.26, 0.28]


def tiny_qwen3_vl(
    path: Path,
    *,
    seed: int = 0,
    vocab_size: int = 512,
    layers: int = 4,
    hidden: int = 64,
    heads: int = 4,
    kv_heads: int = 2,
    head_dim: int = 16,
    tied: bool = True,
    vision_depth: int = 4,
    num_deepstack: int = 2,
    image_side: int = 32,
    dtype: npt.DTypeLike = np.float32,
) -> Path:
    """A Qwen3-VL checkpoint folder at `path`, which is made; returns `path`.

    Patches are 8 pixels, merged 2 by 2; learned positions are a table of 5 by 5. The preprocessor fixes
    square pictures of `image_side` pixels; other sizes are a matter of the export's options. Deepstack takes
    the first blocks.
    """
    text = text_config(vocab_size, layers, hidden, heads, kv_heads, head_dim, "qwen3_vl_text")
    third = head_dim // 6
    text["rope_parameters"] |= {
        "mrope_section": [head_dim // 2 - 2 * third, third, third],
        "mrope_interleaved": True,
    }
    vision = {
        "model_type": "qwen3_vl_vision",
        "depth": vision_depth,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 2,
        "hidden_act": "gelu_pytorch_tanh",
        "in_channels": 3,
        "patch_size": 8,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "out_hidden_size": hidden,
        "num_position_embeddings": 25,
        "deepstack_visual_indexes": list(range(num_deepstack)),
    }
    config = {
        "architectures": ["Qwen3VLForConditionalGeneration"],
        "model_type": "qwen3_vl",
        "tie_word_embeddings": tied,
        "vision_start_token_id": VISION_START,
        "vision_end_token_id": VISION_END,
        "image_token_id": IMAGE_PAD,
        "video_token_id": VIDEO_PAD,
        "text_config": text,
        "vision_config": vision,
    }
    shapes = text_shapes(text, "model.language_model.", tied) | _vision_shapes(vision)
    write(path, config, shapes, seed, dtype)
    preprocessor = {
        "image_processor_type": "Qwen2VLImageProcessor",
        "patch_size": 8,
        "merge_size": 2,
        "temporal_patch_size": 2,
        "image_mean": IMAGE_MEAN,
        "image_std": IMAGE_STD,
        "size": {"shortest_edge": image_side**2, "longest_edge": image_side**2},
    }
    write_json(path / "preprocessor_config.json", preprocessor)
    return path


def tiny_text(
    path: Path,
    model_type: str = "qwen3",
    *,
    seed: int = 0,
    vocab_size: int = 512,
    layers: int = 3,
    hidden: int = 64,
    heads: int = 4,
    kv_heads: int = 2,
    head_dim: int = 16,
    tied: bool = True,
    dtype: npt.DTypeLike = np.float32,
) -> Path:
    """A checkpoint folder of a language model alone at `path`, which is made; returns `path`."""
    config = text_config(vocab_size, layers, hidden, heads, kv_heads, head_dim, model_type)
    config |= {"architectures": [TEXT_CLASSES[model_type]], "tie_word_embeddings": tied}
    write(path, config, text_shapes(config, "model.", tied), seed, dtype)
    return path


def text_config(
    vocab_size: int, layers: int, hidden: int, heads: int, kv_heads: int, head_dim: int, model_type: str
) -> Config:
    """The part of config.json about the language model."""
    return {
        "model_type": model_type,
        "vocab_size": vocab_size,
        "hidden_size": hidden,
        "intermediate_size": 96,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "hidden_act": "silu",
        "rms_norm_eps": 0.02,  # large enough to be missed
        "attention_bias": False,
        "max_position_embeddings": 4096,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1000.0},
    }


def text_shapes(text: Config, prefix: str, tied: bool) -> Shapes:
    """The tensors of a language model whose names begin with `prefix`, and its head."""
    hidden, inner, head_dim = text["hidden_size"], text["intermediate_size"], text["head_dim"]
    q_dim, kv_dim = text["num_attention_heads"] * head_dim, text["num_key_value_heads"] * head_dim
    layer: Shapes = {
        "input_layernorm": (hidden,),
        "self_attn.q_proj": (q_dim, hidden),
        "self_attn.k_proj": (kv_dim, hidden),
        "self_attn.v_proj": (kv_dim, hidden),
        "self_attn.o_proj": (hidden, q_dim),
        **({f"self_attn.{name}_norm": (head_dim,) for name in "qk"} if "qwen3" in text["model_type"] else {}),
        "post_attention_layernorm": (hidden,),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }
    shapes: Shapes = {
        f"{prefix}embed_tokens.weight": (text["vocab_size"], hidden),
        f"{prefix}norm.weight": (hidden,),
    }
    for index in range(text["num_hidden_layers"]):
        shapes |= {f"{prefix}layers.{index}.{name}.weight": shape for name, shape in layer.items()}
        if "qwen2" in text["model_type"]:
            sizes = {"q": q_dim, "k": kv_dim, "v": kv_dim}
            shapes |= {f"{prefix}layers.{index}.self_attn.{x}_proj.bias": (n,) for x, n in sizes.items()}
    if not tied:
        shapes["lm_head.weight"] = (text["vocab_size"], hidden)
    return shapes


def _vision_shapes(vision: Config) -> Shapes:
    size, inner, output = vision["hidden_size"], vision["intermediate_size"], vision["out_hidden_size"]
    merged = size * vision["spatial_merge_size"] ** 2
    frames, side = vision["temporal_patch_size"], vision["patch_size"]
    layers: Shapes = {
        "patch_embed.proj": (size, 3, frames, side, side),
        "merger.norm": (size,),
        "merger.linear_fc1": (merged, merged),
        "merger.linear_fc2": (output, merged),
    }
    for index in range(vision["depth"]):
        block = f"blocks.{index}."
        layers |= {f"{block}{name}": (size,) for name in ("norm1", "norm2")}
        layers[f"{block}attn.qkv"] = (3 * size, size)
        layers[f"{block}attn.proj"] = (size, size)
        layers[f"{block}mlp.linear_fc1"] = (inner, size)
        layers[f"{block}mlp.linear_fc2"] = (size, inner)
    for level in range(len(vision["deepstack_visual_indexes"])):
        merger = f"deepstack_merger_list.{level}."
        layers[f"{merger}norm"] = (merged,)
        layers[f"{merger}linear_fc1"] = (merged, merged)
        layers[f"{merger}linear_fc2"] = (output, merged)
    shapes: Shapes = {"model.visual.pos_embed.weight": (vision["num_position_embeddings"], size)}
    for name, shape in layers.items():
        shapes[f"model.visual.{name}.weight"] = shape
        shapes[f"model.visual.{name}.bias"] = shape[:1]
    return shapes


def write(path: Path, config: Config, shapes: Shapes, seed: int, dtype: npt.DTypeLike) -> None:
    """The folder with config.json and random weights."""
    path.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    tensors = {name: _random(rng, name, shape).astype(dtype) for name, shape in shapes.items()}
    save_file(tensors, path / "model.safetensors")
    write_json(path / "config.json", config | {"dtype": np.dtype(dtype).name})


def _random(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    noise = rng.standard_normal(shape)
    if "patch_embed" in name or "pos_embed" in name:
        noise *= 0.05
    if ("norm" in name or "ln_q" in name) and name.endswith(".weight"):
        return 1 + noise / 5
    if len(shape) == 1:
        return noise / 5
    if "embed" in name and len(shape) == 2:
        return noise
    return noise / math.sqrt(math.prod(shape[1:]))


def write_json(file: Path, values: Config) -> None:
    file.write_text(json.dumps(values, indent=2), encoding="utf-8")
