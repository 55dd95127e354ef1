"""The demo model as a Hugging Face checkpoint folder.

`python -m training.checkpoint training.pt gateway/demo/checkpoint` writes the averaged weights of a
training stage and the configuration files; `tokenizer.json`, `chat_template.jinja` and `MODEL_CARD.md`
belong to the folder and are left alone.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor

from training.config import Config
from training.model import DemoModel

Json = dict[str, object]

_PATCH = "model.visual.patch_embed.proj.weight"
_CONTEXT = 1024
"""Tokens of context promised; training rows are shorter."""


def to_hugging_face(weights: dict[str, Tensor], config: Config) -> dict[str, Tensor]:
    """The twin's weights as transformers names and shapes them, in float16.

    transformers sees a picture as two equal frames, so each frame's half of the convolution is half of the
    twin's weight.
    """
    named = {f"model.{name}": value.to(torch.float16).contiguous() for name, value in weights.items()}
    linear = weights[_PATCH.removeprefix("model.")]
    frame = linear.reshape(-1, 3, 1, config.patch, config.patch) / 2
    named[_PATCH] = frame.expand(-1, -1, 2, -1, -1).to(torch.float16).contiguous()
    return named


def from_hugging_face(named: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inverse, in float32."""
    weights = {name.removeprefix("model."): value.float() for name, value in named.items()}
    patch = _PATCH.removeprefix("model.")
    weights[patch] = weights[patch].sum(2).flatten(1)
    return weights


def load(folder: Path) -> DemoModel:
    """The twin with the weights of a checkpoint folder."""
    model = DemoModel(Config())
    model.load_state_dict(from_hugging_face(load_file(folder / "model.safetensors")))
    return model


def text_config(config: Config) -> Json:
    """The `text_config` of the model."""
    return {
        "model_type": "qwen3_vl_text",
        "vocab_size": config.vocab,
        "hidden_size": config.hidden,
        "intermediate_size": config.intermediate,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "rms_norm_eps": config.eps,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "max_position_embeddings": _CONTEXT,
        "tie_word_embeddings": True,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": config.rope_theta,
            "mrope_section": list(config.mrope_section),
            "mrope_interleaved": True,
        },
    }


def vision_config(config: Config) -> Json:
    """The `vision_config` of the model."""
    return {
        "model_type": "qwen3_vl_vision",
        "depth": config.vision_depth,
        "hidden_size": config.vision_hidden,
        "intermediate_size": config.vision_intermediate,
        "num_heads": config.vision_heads,
        "hidden_act": "gelu_pytorch_tanh",
        "in_channels": 3,
        "patch_size": config.patch,
        "spatial_merge_size": config.merge,
        "temporal_patch_size": 2,
        "out_hidden_size": config.hidden,
        "num_position_embeddings": config.grid**2,
        "deepstack_visual_indexes": list(config.deepstack),
    }


def configurations(config: Config, tokenizer: Tokenizer) -> dict[str, Json]:
    """The configuration files of the folder, by name."""
    ids = {token: tokenizer.token_to_id(token) for token in ("<|im_end|>", "<|endoftext|>", "<|image_pad|>")}
    area = config.image**2
    return {
        "config.json": {
            "architectures": ["Qwen3VLForConditionalGeneration"],
            "model_type": "qwen3_vl",
            "dtype": "float16",
            "tie_word_embeddings": True,
            "image_token_id": ids["<|image_pad|>"],
            "video_token_id": tokenizer.token_to_id("<|video_pad|>"),
            "vision_start_token_id": tokenizer.token_to_id("<|vision_start|>"),
            "vision_end_token_id": tokenizer.token_to_id("<|vision_end|>"),
            "text_config": text_config(config),
            "vision_config": vision_config(config),
        },
        "generation_config.json": {
            "do_sample": False,
            "eos_token_id": [ids["<|im_end|>"], ids["<|endoftext|>"]],
            "pad_token_id": ids["<|endoftext|>"],
        },
        "preprocessor_config.json": {
            "image_processor_type": "Qwen2VLImageProcessor",
            "processor_class": "Qwen3VLProcessor",
            "patch_size": config.patch,
            "merge_size": config.merge,
            "temporal_patch_size": 2,
            "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5],
            "size": {"shortest_edge": area, "longest_edge": area},
        },
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": _CONTEXT,
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
            "clean_up_tokenization_spaces": False,
        },
    }


def save(model: DemoModel, folder: Path) -> None:
    """Write the weights and the configuration files into a folder that has its `tokenizer.json`."""
    config = Config()
    save_file(
        to_hugging_face(model.state_dict(), config), folder / "model.safetensors", metadata={"format": "pt"}
    )
    for name, content in configurations(config, Tokenizer.from_file(str(folder / "tokenizer.json"))).items():
        (folder / name).write_text(json.dumps(content, indent=2) + "\n")


def main() -> None:
    """Write a training stage's weights as a checkpoint folder."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("training", type=Path, help="training.pt")
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--weights", choices=("average", "model"), default="average")
    given = arguments.parse_args()
    model = DemoModel(Config())
    model.load_state_dict(torch.load(given.training, weights_only=True)[given.weights])
    save(model, given.folder)


if __name__ == "__main__":
    main()
