"""Tiny random Qwen2-VL and Qwen2.5-VL checkpoints, as they are published and as transformers 5 has them."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.export.checkpoints import (
    IMAGE_MEAN,
    IMAGE_PAD,
    IMAGE_STD,
    VIDEO_PAD,
    VISION_END,
    VISION_START,
    Config,
    Shapes,
    text_config,
    text_shapes,
    write,
    write_json,
)

CLASSES = {
    "qwen2_vl": "Qwen2VLForConditionalGeneration",
    "qwen2_5_vl": "Qwen2_5_VLForConditionalGeneration",
}


def tiny_qwen2_vl(path: Path, *, mlp_ratio: int = 2, **shape: Any) -> Path:
    """A Qwen2-VL checkpoint folder at `path`; `shape` as for `_tiny`."""
    vision = {"embed_dim": 32, "hidden_size": shape.get("hidden", 64), "mlp_ratio": mlp_ratio}
    return _tiny(path, "qwen2_vl", vision, **shape)


def tiny_qwen2_5_vl(
    path: Path, *, window_size: int = 32, full_blocks: tuple[int, ...] = (1, 3), **shape: Any
) -> Path:
    """A Qwen2.5-VL checkpoint folder at `path`, with windows of 2 by 2 tokens; `shape` as for `_tiny`."""
    vision = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "out_hidden_size": shape.get("hidden", 64),
        "window_size": window_size,
        "fullatt_block_indexes": list(full_blocks),
        "tokens_per_second": 2,
    }
    return _tiny(path, "qwen2_5_vl", vision, **shape)


def _tiny(
    path: Path,
    model_type: str,
    vision: Config,
    *,
    seed: int = 0,
    vocab_size: int = 512,
    layers: int = 4,
    hidden: int = 64,
    heads: int = 4,
    kv_heads: int = 2,
    tied: bool = True,
    vision_depth: int = 4,
    patch_size: int = 8,
    image_side: int = 32,
    nested: bool = False,
    dtype: npt.DTypeLike = np.float32,
) -> Path:
    """Patches are merged 2 by 2. Unless `nested`, configuration and tensor names are those of the
    published files: text fields at the top, model.… beside visual.…; the tensors are the same both ways."""
    head_dim = hidden // heads
    text = text_config(vocab_size, layers, hidden, heads, kv_heads, head_dim, f"{model_type}_text")
    shapes = text_shapes(text, "model.language_model." if nested else "model.", tied)
    vision = {
        "depth": vision_depth,
        "num_heads": 2,
        "in_channels": 3,
        "patch_size": patch_size,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    } | vision
    tower = _vision_2_5 if model_type == "qwen2_5_vl" else _vision_2
    for name, shape in tower(vision).items():
        shapes[f"{'model.' if nested else ''}visual.{name}"] = shape
    config = {
        "architectures": [CLASSES[model_type]],
        "model_type": model_type,
        "tie_word_embeddings": tied,
        "vision_start_token_id": VISION_START,
        "vision_end_token_id": VISION_END,
        "image_token_id": IMAGE_PAD,
        "video_token_id": VIDEO_PAD,
        "vision_config": vision,
    }
    write(path, _with_text(config, text, nested), shapes, seed, dtype)
    preprocessor = {
        "image_processor_type": "Qwen2VLImageProcessor",
        "patch_size": patch_size,
        "merge_size": 2,
        "temporal_patch_size": 2,
        "image_mean": IMAGE_MEAN,
        "image_std": IMAGE_STD,
        "min_pixels": image_side**2,
        "max_pixels": image_side**2,
    }
    write_json(path / "preprocessor_config.json", preprocessor)
    return path


def _with_text(config: Config, text: Config, nested: bool) -> Config:
    unit = text.pop("head_dim") // 16  # these models have no field for it
    sections = [2 * unit, 3 * unit, 3 * unit]
    if nested:
        text["rope_parameters"] |= {"mrope_section": sections}
        return config | {"text_config": text}
    rope = text.pop("rope_parameters")
    text |= {
        "rope_theta": rope["rope_theta"],
        "rope_scaling": {"type": "mrope", "mrope_section": sections},
    }
    return text | config


def _vision_2(vision: Config) -> Shapes:
    size, inner = vision["embed_dim"], vision["embed_dim"] * vision["mlp_ratio"]
    layers: dict[str, tuple[int, ...]] = {"merger.ln_q": (size,)}
    for index in range(vision["depth"]):
        block = f"blocks.{index}."
        layers |= {f"{block}norm1": (size,), f"{block}norm2": (size,)}
        layers |= {f"{block}mlp.fc1": (inner, size), f"{block}mlp.fc2": (size, inner)}
    return _with_biases(layers) | _common(vision, size, vision["hidden_size"])


def _vision_2_5(vision: Config) -> Shapes:
    size, inner = vision["hidden_size"], vision["intermediate_size"]
    norms: Shapes = {"merger.ln_q.weight": (size,)}
    layers: dict[str, tuple[int, ...]] = {}
    for index in range(vision["depth"]):
        block = f"blocks.{index}."
        norms |= {f"{block}norm1.weight": (size,), f"{block}norm2.weight": (size,)}
        layers |= {f"{block}mlp.{name}_proj": (inner, size) for name in ("gate", "up")}
        layers[f"{block}mlp.down_proj"] = (size, inner)
    return norms | _with_biases(layers) | _common(vision, size, vision["out_hidden_size"])


def _common(vision: Config, size: int, output: int) -> Shapes:
    merged = size * vision["spatial_merge_size"] ** 2
    frames, side = vision["temporal_patch_size"], vision["patch_size"]
    layers: Shapes = {"merger.mlp.0": (merged, merged), "merger.mlp.2": (output, merged)}
    for index in range(vision["depth"]):
        layers |= {f"blocks.{index}.attn.qkv": (3 * size, size), f"blocks.{index}.attn.proj": (size, size)}
    return {"patch_embed.proj.weight": (size, 3, frames, side, side)} | _with_biases(layers)


def _with_biases(layers: Shapes) -> Shapes:
    shapes: Shapes = {}
    for name, shape in layers.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return shapes
