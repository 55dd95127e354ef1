"""Janus-Pro, the part of it that reads pictures: a Llama text model, a SigLIP tower and an aligner."""

from dataclasses import replace
from functools import partial

from backends.export.checkpoint import Checkpoint
from backends.export.configuration import Section, read_json_if_there
from backends.export.decoder import read_decoder
from backends.export.encoder_block import BlockSpec
from backends.export.errors import ExportError
from backends.export.janus_vision import JanusVisionSpec, build_vision
from backends.export.model import Model, Vision, square_settings
from backends.export.options import ExportOptions

HEAD = "lm_head.weight"
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def read_model(checkpoint: Checkpoint, options: ExportOptions) -> Model:
    """A checkpoint in the format of transformers 5.23, janus/configuration_janus.py."""
    config = checkpoint.config
    tied = config.flag("tie_word_embeddings", True)
    decoder = read_decoder(config.section("text_config"), "model.language_model.", tied)
    # transformers ties where the configuration is silent, but not where a head of its own is in the files.
    if HEAD in checkpoint:
        decoder = replace(decoder, head=HEAD)
    preprocessor = read_json_if_there(checkpoint.folder / "preprocessor_config.json")
    tower = _read_tower(config.section("vision_config"), preprocessor, options, decoder.hidden_size)
    settings = square_settings("JanusPro", tower.image_size, tower.patch_size)
    build = partial(build_vision, tower, checkpoint, options.vision_input)
    return Model("JanusPro", "llama", decoder, Vision(build, settings))


def _read_tower(
    vision: Section, preprocessor: Section, options: ExportOptions, output_size: int
) -> JanusVisionSpec:
    vision.require("hidden_act", "gelu", default="gelu")
    vision.require("num_channels", 3, default=3)
    vision.require("use_qk_norm", False, default=False)
    hidden_size, num_heads = vision.integer("hidden_size", 1024), vision.integer("num_attention_heads", 16)
    vision.check(hidden_size % num_heads == 0, "num_attention_heads", f"a divisor of {hidden_size}")
    vision.check(
        vision.integer("projection_dim", 2048) == output_size,
        "projection_dim",
        f"the text's hidden size {output_size}",
    )
    image_size, patch_size = vision.integer("image_size", 384), vision.integer("patch_size", 16)
    vision.check(image_size % patch_size == 0, "image_size", f"a multiple of patch_size ({patch_size})")
    for edge in (options.image_width, options.image_height):
        if edge not in (None, image_size):
            raise ExportError(f"image size {edge}: expected {image_size}, the only one of this model")
    return JanusVisionSpec(
        depth=vision.integer("num_hidden_layers", 24),
        block=BlockSpec(
            hidden_size,
            int(hidden_size * vision.number("mlp_ratio", 4.0)),
            num_heads,
            "gelu",
            attention_bias=vision.flag("attention_bias", True),
            projection="projection_layer",
        ),
        patch_size=patch_size,
        aligner_depth=vision.integer("depth", 2),
        output_size=output_size,
        norm_epsilon=vision.number("layer_norm_eps", 1e-6),
        image_size=image_size,
        mean=preprocessor.colour("image_mean", CLIP_MEAN),
        std=preprocessor.colour("image_std", CLIP_STD),
    )
