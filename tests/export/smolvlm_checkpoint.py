"""Tiny random SmolVLM and Idefics3 checkpoints."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.export.checkpoints import (
    IMAGE_MEAN,
    IMAGE_PAD,
    IMAGE_STD,
    Config,
    Shapes,
    text_config,
    text_shapes,
    write,
    write_json,
)

CLASSES = {"smolvlm": "SmolVLMForConditionalGeneration", "idefics3": "Idefics3ForConditionalGeneration"}


def tiny_smolvlm(
    path: Path,
    model_type: str = "smolvlm",
    *,
    seed: int = 0,
    vocab_size: int = 512,
    image_token_id: int = IMAGE_PAD,
    tile_size: int = 32,
    tiles: int = 2,
    patch_size: int = 8,
    merge_size: int = 2,
    tied: bool = False,
    dtype: npt.DTypeLike = np.float32,
) -> Path:
    """A checkpoint folder at `path`, which is made; returns `path`. The processor makes a picture's longest
    edge so many `tiles` long."""
    text = text_config(vocab_size, 3, 64, 4, 2, 16, "llama")
    vision = {
        "model_type": f"{model_type}_vision",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "num_channels": 3,
        "image_size": tile_size,
        "patch_size": patch_size,
        "hidden_act": "gelu_pytorch_tanh",
        "layer_norm_eps": 0.02,  # large enough to be missed
    }
    config = {
        "architectures": [CLASSES[model_type]],
        "model_type": model_type,
        "image_token_id": image_token_id,
        "scale_factor": merge_size,
        "tie_word_embeddings": tied,
        "text_config": text | {"tie_word_embeddings": tied},
        "vision_config": vision,
    }
    shapes = text_shapes(text, "model.text_model.", tied) | _vision_shapes(vision)
    shapes["model.connector.modality_projection.proj.weight"] = (64, 32 * merge_size**2)
    write(path, config, shapes, seed, dtype)
    write_json(path / "preprocessor_config.json", preprocessor(tile_size, tiles))
    return path


def preprocessor(tile_size: int, tiles: int) -> Config:
    """What the image processor is made of."""
    return {
        "image_processor_type": "SmolVLMImageProcessor",
        "image_mean": IMAGE_MEAN,
        "image_std": IMAGE_STD,
        "size": {"longest_edge": tile_size * tiles},
        "max_image_size": {"longest_edge": tile_size},
        "do_image_splitting": tiles > 1,
    }


def _vision_shapes(vision: Config) -> Shapes:
    size, inner, patch = vision["hidden_size"], vision["intermediate_size"], vision["patch_size"]
    layers: dict[str, Any] = {
        "embeddings.patch_embedding": (size, 3, patch, patch),
        "post_layernorm": (size,),
    }
    for index in range(vision["num_hidden_layers"]):
        block = f"encoder.layers.{index}."
        layers |= {f"{block}layer_norm{number}": (size,) for number in (1, 2)}
        layers |= {f"{block}self_attn.{part}_proj": (size, size) for part in ("q", "k", "v", "out")}
        layers |= {f"{block}mlp.fc1": (inner, size), f"{block}mlp.fc2": (size, inner)}
    rows = vision["image_size"] // patch
    shapes: Shapes = {"model.vision_model.embeddings.position_embedding.weight": (rows * rows, size)}
    for name, shape in layers.items():
        shapes[f"model.vision_model.{name}.weight"] = shape
        shapes[f"model.vision_model.{name}.bias"] = shape[:1]
    return shapes
