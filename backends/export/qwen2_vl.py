"""Qwen2-VL and Qwen2.5-VL: the Qwen2 text model with mrope, and a vision tower without learned positions."""

from functools import partial

from backends.export.checkpoint import Checkpoint
from backends.export.configuration import Section
from backends.export.decoder import DecoderSpec, embedding_name, read_decoder
from backends.export.model import Model, Vision
from backends.export.options import ExportOptions
from backends.export.qwen2_vl_vision import Windows, build_qwen2_5_vl, build_qwen2_vl
from backends.export.qwen_vl import TowerSpec, read_picture, read_tower

DEFAULT_SIDE = 448  # of the picture in the published packages
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)

# The vendor's runtime reads both with this tokenizer, and knows one kind of vision for them.
TOKENIZER_TYPE, VLM_TYPE = "Qwen3VL", "Qwen2_5VL"


def read_qwen2_vl(checkpoint: Checkpoint, options: ExportOptions) -> Model:
    decoder, tensors = _read_text(checkpoint)
    vision = checkpoint.config.section("vision_config")
    vision.require("hidden_act", "quick_gelu", default="quick_gelu")
    picture = read_picture(checkpoint, options, DEFAULT_SIDE, CLIP_MEAN, CLIP_STD)
    inner = vision.integer("embed_dim") * vision.integer("mlp_ratio", 4)
    tower = read_tower(vision, picture, decoder, "embed_dim", inner, "hidden_size")
    build = partial(build_qwen2_vl, tower, checkpoint, tensors)
    return Model(TOKENIZER_TYPE, "qwen2_vl", decoder, Vision(build, picture.settings(VLM_TYPE)))


def read_qwen2_5_vl(checkpoint: Checkpoint, options: ExportOptions) -> Model:
    decoder, tensors = _read_text(checkpoint)
    vision = checkpoint.config.section("vision_config")
    vision.require("hidden_act", "silu", default="silu")
    picture = read_picture(checkpoint, options, DEFAULT_SIDE, CLIP_MEAN, CLIP_STD)
    inner = vision.integer("intermediate_size")
    tower = read_tower(vision, picture, decoder, "hidden_size", inner, "out_hidden_size")
    build = partial(build_qwen2_5_vl, tower, _read_windows(vision, tower), checkpoint, tensors)
    settings = picture.settings(VLM_TYPE)
    settings["vision_tokens_per_second"] = vision.integer("tokens_per_second")
    return Model(TOKENIZER_TYPE, "qwen2_5_vl", decoder, Vision(build, settings))


def _read_text(checkpoint: Checkpoint) -> tuple[DecoderSpec, str]:
    """The language model, and what the names of the vision tensors begin with.

    Published files have visual.… beside model.…, and a configuration whose text fields stand at its top;
    others follow the modules of transformers 5, and have a text_config.
    """
    config = checkpoint.config
    text = config.section("text_config") if "text_config" in config else config
    tied = config.flag("tie_word_embeddings", False) or text.flag("tie_word_embeddings", False)
    tensors, visual = "model.", "visual."
    if embedding_name("model.language_model.") in checkpoint:
        tensors, visual = "model.language_model.", "model.visual."
    return read_decoder(text, tensors, tied), visual


def _read_windows(vision: Section, tower: TowerSpec) -> Windows:
    edge = tower.picture.patch_size * tower.picture.merge_size
    size = vision.integer("window_size")
    vision.check(size >= edge, "window_size", f"at least the pixels of a token, {edge}")
    return Windows(size // edge, vision.integers("fullatt_block_indexes"))
