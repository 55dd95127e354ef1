"""The shipped checkpoint folder: its configuration is the shape of its weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment
from numpy.typing import NDArray
from safetensors.numpy import load_file
from tokenizers import Tokenizer

CHECKPOINT = Path(__file__).parents[2] / "gateway" / "demo" / "checkpoint"
PICTURE = "<|vision_start|><|image_pad|><|vision_end|>"

Json = dict[str, Any]


def read(name: str) -> Json:
    content: Json = json.loads((CHECKPOINT / name).read_text())
    return content


@pytest.fixture(scope="module")
def weights() -> dict[str, NDArray[np.float16]]:
    tensors: dict[str, NDArray[np.float16]] = load_file(CHECKPOINT / "model.safetensors")
    return tensors


def test_the_weights_are_small_half_precision_and_finite(weights: dict[str, NDArray[np.float16]]) -> None:
    assert (CHECKPOINT / "model.safetensors").stat().st_size <= 9_000_000
    assert {tensor.dtype for tensor in weights.values()} == {np.dtype(np.float16)}
    assert all(np.isfinite(tensor).all() for tensor in weights.values())


def test_the_text_config_fits_the_weights(weights: dict[str, NDArray[np.float16]]) -> None:
    text = read("config.json")["text_config"]
    hidden, head = text["hidden_size"], text["head_dim"]
    assert weights["model.language_model.embed_tokens.weight"].shape == (text["vocab_size"], hidden)
    layers = {name.split(".")[3] for name in weights if name.startswith("model.language_model.layers.")}
    assert len(layers) == text["num_hidden_layers"]
    attention = "model.language_model.layers.0.self_attn"
    assert weights[f"{attention}.q_proj.weight"].shape == (text["num_attention_heads"] * head, hidden)
    assert weights[f"{attention}.k_proj.weight"].shape == (text["num_key_value_heads"] * head, hidden)
    assert weights[f"{attention}.q_norm.weight"].shape == (head,)
    assert weights["model.language_model.layers.0.mlp.up_proj.weight"].shape == (
        text["intermediate_size"],
        hidden,
    )


def test_the_rotary_sections_cover_half_a_head() -> None:
    text = read("config.json")["text_config"]
    rope = text["rope_parameters"]
    assert sum(rope["mrope_section"]) == text["head_dim"] // 2
    assert rope["mrope_interleaved"] is True


def test_the_vision_config_fits_the_weights(weights: dict[str, NDArray[np.float16]]) -> None:
    config = read("config.json")
    vision, text = config["vision_config"], config["text_config"]
    width, patch = vision["hidden_size"], vision["patch_size"]
    assert weights["model.visual.patch_embed.proj.weight"].shape == (width, 3, 2, patch, patch)
    assert weights["model.visual.pos_embed.weight"].shape == (vision["num_position_embeddings"], width)
    assert (96 // patch) ** 2 == vision["num_position_embeddings"]
    blocks = {name.split(".")[3] for name in weights if name.startswith("model.visual.blocks.")}
    assert len(blocks) == vision["depth"]
    mergers = {name.split(".")[3] for name in weights if "deepstack_merger_list" in name}
    deepstack = vision["deepstack_visual_indexes"]
    assert len(mergers) == len(deepstack)
    assert weights["model.visual.merger.linear_fc2.weight"].shape == (
        text["hidden_size"],
        width * vision["spatial_merge_size"] ** 2,
    )
    assert vision["out_hidden_size"] == text["hidden_size"]


def test_both_frames_of_a_picture_weigh_the_same(weights: dict[str, NDArray[np.float16]]) -> None:
    patch = weights["model.visual.patch_embed.proj.weight"]
    assert (patch[:, :, 0] == patch[:, :, 1]).all()


def test_the_special_ids_are_the_tokenizers() -> None:
    tokenizer = Tokenizer.from_file(str(CHECKPOINT / "tokenizer.json"))
    config, generation = read("config.json"), read("generation_config.json")
    assert config["image_token_id"] == tokenizer.token_to_id("<|image_pad|>")
    assert config["video_token_id"] == tokenizer.token_to_id("<|video_pad|>")
    assert config["vision_start_token_id"] == tokenizer.token_to_id("<|vision_start|>")
    assert config["vision_end_token_id"] == tokenizer.token_to_id("<|vision_end|>")
    ends = [tokenizer.token_to_id("<|im_end|>"), tokenizer.token_to_id("<|endoftext|>")]
    assert generation["eos_token_id"] == ends
    assert tokenizer.get_vocab_size() <= config["text_config"]["vocab_size"]


def test_the_preprocessor_cuts_the_patches_the_tower_takes() -> None:
    preprocessor, vision = read("preprocessor_config.json"), read("config.json")["vision_config"]
    assert preprocessor["patch_size"] == vision["patch_size"]
    assert preprocessor["merge_size"] == vision["spatial_merge_size"]
    assert preprocessor["temporal_patch_size"] == vision["temporal_patch_size"]
    assert preprocessor["size"] == {"shortest_edge": 96 * 96, "longest_edge": 96 * 96}


def render(messages: list[Json], add_generation_prompt: bool = True) -> str:
    source = (CHECKPOINT / "chat_template.jinja").read_text()
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(source)
    return template.render(messages=messages, add_generation_prompt=add_generation_prompt)


def test_the_template_writes_chatml() -> None:
    messages: list[Json] = [
        {"role": "system", "content": "Answer briefly."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": [{"type": "text", "text": "Hello!"}]},
        {"role": "user", "content": "Bye"},
    ]
    assert render(messages) == (
        "<|im_start|>system\nAnswer briefly.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\nHello!<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n"
    )
    assert render(messages[1:2], add_generation_prompt=False) == "<|im_start|>user\nHi<|im_end|>\n"


def test_the_template_puts_pictures_before_the_text_of_their_turn() -> None:
    picture, text = {"type": "image"}, {"type": "text", "text": "Which is larger?"}
    expected = f"<|im_start|>user\n{PICTURE}{PICTURE}Which is larger?<|im_end|>\n<|im_start|>assistant\n"
    for content in ([picture, picture, text], [text, picture, picture], [picture, text, picture]):
        assert render([{"role": "user", "content": content}]) == expected
