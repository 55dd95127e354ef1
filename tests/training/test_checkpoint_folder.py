"""The shipped checkpoint folders: their configuration is the shape of their weights."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from tests.training.checkpoints import DIALECTS, FOLDERS, Json, read, render

Weights = dict[str, NDArray[np.float16]]

TEXT = {
    "qwen3_vl": "model.language_model.",
    "internvl": "language_model.model.",
    "smolvlm": "model.text_model.",
}
BLOCKS = {
    "qwen3_vl": "model.visual.blocks.",
    "internvl": "vision_tower.encoder.layer.",
    "smolvlm": "model.vision_model.encoder.layers.",
}
POSITIONS = {
    "qwen3_vl": ("model.visual.pos_embed.weight", (144, 128)),
    "internvl": ("vision_tower.embeddings.position_embeddings", (1, 145, 128)),
    "smolvlm": ("model.vision_model.embeddings.position_embedding.weight", (144, 128)),
}
PATCHES = {
    "qwen3_vl": ("model.visual.patch_embed.proj.weight", (128, 3, 2, 8, 8)),
    "internvl": ("vision_tower.embeddings.patch_embeddings.projection.weight", (128, 3, 8, 8)),
    "smolvlm": ("model.vision_model.embeddings.patch_embedding.weight", (128, 3, 8, 8)),
}
MARKERS = {
    "qwen3_vl": "<|vision_start|><|image_pad|><|vision_end|>",
    "internvl": "<IMG_CONTEXT>\n",
    "smolvlm": "<image>",
}

families = pytest.mark.parametrize("family", FOLDERS)


@cache
def weights(family: str) -> Weights:
    tensors: Weights = load_file(FOLDERS[family] / "model.safetensors")
    return tensors


@cache
def tokenizer(family: str) -> Tokenizer:
    return Tokenizer.from_file(str(FOLDERS[family] / "tokenizer.json"))


def numbered(family: str, prefix: str) -> int:
    """How many blocks or layers the weights below the prefix belong to."""
    return len(
        {name.removeprefix(prefix).split(".")[0] for name in weights(family) if name.startswith(prefix)}
    )


@pytest.mark.parametrize(
    ("family", "limit"), [("qwen3_vl", 9_000_000), ("internvl", 7_900_000), ("smolvlm", 7_900_000)]
)
def test_the_folder_is_small_and_its_weights_half_precision_and_finite(family: str, limit: int) -> None:
    assert sum(file.stat().st_size for file in FOLDERS[family].iterdir()) <= limit
    assert {tensor.dtype for tensor in weights(family).values()} == {np.dtype(np.float16)}
    assert all(np.isfinite(tensor).all() for tensor in weights(family).values())


@families
def test_the_text_config_fits_the_weights(family: str) -> None:
    text, found, prefix = read(family, "config.json")["text_config"], weights(family), TEXT[family]
    hidden, head = text["hidden_size"], text["head_dim"]
    assert found[f"{prefix}embed_tokens.weight"].shape == (text["vocab_size"], hidden)
    assert numbered(family, f"{prefix}layers.") == text["num_hidden_layers"]
    layer = f"{prefix}layers.0"
    assert found[f"{layer}.self_attn.q_proj.weight"].shape == (text["num_attention_heads"] * head, hidden)
    assert found[f"{layer}.self_attn.k_proj.weight"].shape == (text["num_key_value_heads"] * head, hidden)
    assert found[f"{layer}.mlp.up_proj.weight"].shape == (text["intermediate_size"], hidden)
    assert (f"{layer}.self_attn.q_norm.weight" in found) == (text["model_type"] != "llama")


def test_the_rotary_sections_cover_half_a_head() -> None:
    text = read("qwen3_vl", "config.json")["text_config"]
    rope = text["rope_parameters"]
    assert sum(rope["mrope_section"]) == text["head_dim"] // 2
    assert rope["mrope_interleaved"] is True


@families
def test_the_vision_config_fits_the_weights(family: str) -> None:
    vision, found = read(family, "config.json")["vision_config"], weights(family)
    assert numbered(family, BLOCKS[family]) == vision.get("depth", vision.get("num_hidden_layers"))
    for name, shape in (POSITIONS[family], PATCHES[family]):
        assert found[name].shape == shape
    assert vision["hidden_size"] == 128
    assert np.atleast_1d(vision["patch_size"]).tolist() in ([8], [8, 8])
    assert np.atleast_1d(vision.get("image_size", 96)).tolist() in ([96], [96, 96])


def test_the_merged_patches_become_tokens_of_the_text_model() -> None:
    vision = read("qwen3_vl", "config.json")["vision_config"]
    merger = weights("qwen3_vl")["model.visual.merger.linear_fc2.weight"]
    assert merger.shape == (192, 128 * vision["spatial_merge_size"] ** 2)
    mergers = numbered("qwen3_vl", "model.visual.deepstack_merger_list.")
    assert mergers == len(vision["deepstack_visual_indexes"])
    assert weights("internvl")["multi_modal_projector.linear_1.weight"].shape == (192, 4 * 128)
    assert read("internvl", "config.json")["downsample_ratio"] == 0.5
    connector = weights("smolvlm")["model.connector.modality_projection.proj.weight"]
    assert connector.shape == (192, 128 * read("smolvlm", "config.json")["scale_factor"] ** 2)


def test_both_frames_of_a_picture_weigh_the_same() -> None:
    patch = weights("qwen3_vl")[PATCHES["qwen3_vl"][0]]
    assert (patch[:, :, 0] == patch[:, :, 1]).all()


@families
def test_the_special_ids_are_the_tokenizers(family: str) -> None:
    config, dialect = read(family, "config.json"), DIALECTS[family]
    assert config["image_token_id"] == tokenizer(family).token_to_id(dialect.placeholder)
    ends = [tokenizer(family).token_to_id(dialect.end), tokenizer(family).token_to_id("<|endoftext|>")]
    assert read(family, "generation_config.json")["eos_token_id"] == ends
    assert read(family, "tokenizer_config.json")["eos_token"] == dialect.end
    assert tokenizer(family).get_vocab_size() <= config["text_config"]["vocab_size"]


def test_the_special_ids_of_qwen_are_the_tokenizers() -> None:
    config = read("qwen3_vl", "config.json")
    for key in ("video", "vision_start", "vision_end"):
        token = {"video": "<|video_pad|>"}.get(key, f"<|{key}|>")
        assert config[f"{key}_token_id"] == tokenizer("qwen3_vl").token_to_id(token)


@pytest.mark.parametrize("family", ["internvl", "smolvlm"])
def test_the_tokenizer_is_the_first_one_with_more_special_tokens(family: str) -> None:
    first, second = tokenizer("qwen3_vl").get_vocab(), tokenizer(family).get_vocab()
    assert {token: second[token] for token in first} == first
    added = sorted(set(second) - set(first), key=lambda token: second[token])
    assert [second[token] for token in added] == list(range(len(first), len(second)))
    assert len(tokenizer(family).encode("".join(added)).ids) == len(added)


def test_qwens_preprocessor_cuts_the_patches_the_tower_takes() -> None:
    preprocessor, vision = (
        read("qwen3_vl", "preprocessor_config.json"),
        read("qwen3_vl", "config.json")["vision_config"],
    )
    assert preprocessor["patch_size"] == vision["patch_size"]
    assert preprocessor["merge_size"] == vision["spatial_merge_size"]
    assert preprocessor["temporal_patch_size"] == vision["temporal_patch_size"]
    assert preprocessor["size"] == {"shortest_edge": 96 * 96, "longest_edge": 96 * 96}


def test_the_other_preprocessors_make_one_square_of_a_picture() -> None:
    intern, smol = (read(family, "preprocessor_config.json") for family in ("internvl", "smolvlm"))
    assert (intern["size"], intern["crop_to_patches"]) == ({"height": 96, "width": 96}, False)
    assert intern["image_mean"] == [0.485, 0.456, 0.406]
    assert (smol["size"], smol["max_image_size"]) == ({"longest_edge": 96}, {"longest_edge": 96})
    assert smol["do_image_splitting"] is False
    assert smol["image_mean"] == smol["image_std"] == [0.5, 0.5, 0.5]


CONVERSATION: list[Json] = [
    {"role": "system", "content": "Answer briefly."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": [{"type": "text", "text": "Hello!"}]},
    {"role": "user", "content": "Bye"},
]


@pytest.mark.parametrize("family", ["qwen3_vl", "internvl"])
def test_the_template_writes_chatml(family: str) -> None:
    assert render(family, CONVERSATION) == (
        "<|im_start|>system\nAnswer briefly.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\nHello!<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n"
    )
    assert render(family, CONVERSATION[1:2], False) == "<|im_start|>user\nHi<|im_end|>\n"


def test_smolvlms_template_writes_a_line_for_each_message() -> None:
    assert render("smolvlm", CONVERSATION) == (
        "<|im_start|>System: Answer briefly.<end_of_utterance>\nUser: Hi<end_of_utterance>\n"
        "Assistant: Hello!<end_of_utterance>\nUser: Bye<end_of_utterance>\nAssistant:"
    )
    assert render("smolvlm", CONVERSATION[1:2], False) == "<|im_start|>User: Hi<end_of_utterance>\n"


def test_qwens_template_puts_pictures_before_the_text_of_their_turn() -> None:
    picture, text = {"type": "image"}, {"type": "text", "text": "Which is larger?"}
    shown = MARKERS["qwen3_vl"] * 2
    expected = f"<|im_start|>user\n{shown}Which is larger?<|im_end|>\n<|im_start|>assistant\n"
    for content in ([picture, picture, text], [text, picture, picture], [picture, text, picture]):
        assert render("qwen3_vl", [{"role": "user", "content": content}]) == expected


@pytest.mark.parametrize("kind", ["image", "video"])
def test_the_other_templates_leave_the_parts_of_a_message_where_they_are(kind: str) -> None:
    part, text = {"type": kind}, {"type": "text", "text": "What?"}
    intern, smol = MARKERS["internvl"], MARKERS["smolvlm"]
    if kind == "video":
        intern, smol = "<video>\n", "<video>"
    before, after = ([{"role": "user", "content": content}] for content in ([part, text], [text, part]))
    assert render("internvl", before, False) == f"<|im_start|>user\n{intern}What?<|im_end|>\n"
    assert render("internvl", after, False) == f"<|im_start|>user\nWhat?{intern}<|im_end|>\n"
    blank = " " * (kind == "video")  # only a picture follows the colon at once
    assert render("smolvlm", before, False) == f"<|im_start|>User:{blank}{smol}What?<end_of_utterance>\n"
    assert render("smolvlm", after, False) == f"<|im_start|>User: What?{smol}<end_of_utterance>\n"
