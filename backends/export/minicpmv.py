"""MiniCPM-V 2.6: a Qwen2 text model, a SigLIP tower and a resampler that makes 64 tokens of any view."""

from dataclasses import replace
from functools import partial

from backends.export.checkpoint import Checkpoint
from backends.export.configuration import Section
from backends.export.decoder import read_decoder
from backends.export.encoder_block import BlockSpec
from backends.export.errors import ExportError
from backends.export.minicpmv_vision import HEAD_SIZE, MiniCPMVVisionSpec, build_vision
from backends.export.model import Model, Vision, square_settings
from backends.export.options import ExportOptions

HEAD, GREY = "llm.lm_head.weight", (0.5, 0.5, 0.5)


def read_model(checkpoint: Checkpoint, options: ExportOptions) -> Model:
    """A checkpoint in the format of openbmb/MiniCPM-V-2_6, configuration_minicpm.py, where the defaults are
    from: the text model's configuration with that of the rest beside it."""
    config = checkpoint.config
    config.require("version", 2.6, default=2.6)  # other MiniCPM-V have other language models
    text = Section(config.file, config.path, {**config.values, "model_type": "qwen2"})
    tied = config.flag("tie_word_embeddings", False)
    decoder = read_decoder(text, "llm.model.", tied)
    if not tied:
        decoder = replace(decoder, head=HEAD)
    config.check(decoder.hidden_size % HEAD_SIZE == 0, "hidden_size", f"a multiple of {HEAD_SIZE}")
    tower = _read_tower(config, options, decoder.hidden_size)
    settings = square_settings("MiniCPMV26", tower.image_size, tower.patch_size)
    build = partial(build_vision, tower, checkpoint, options.vision_input)
    return Model("MiniCPMV26", "minicpmv", decoder, Vision(build, settings))


def _read_tower(config: Section, options: ExportOptions, output_size: int) -> MiniCPMVVisionSpec:
    vision = config.section("vision_config")
    vision.require("hidden_act", "gelu_pytorch_tanh", default="gelu_pytorch_tanh")
    hidden_size, num_heads = vision.integer("hidden_size", 1152), vision.integer("num_attention_heads", 16)
    vision.check(hidden_size % num_heads == 0, "num_attention_heads", f"a divisor of {hidden_size}")
    vision.check(hidden_size != output_size, "hidden_size", f"another than the text's, {output_size}")
    patch_size, image_size = vision.integer("patch_size", 14), config.integer("image_size", 448)
    config.check(image_size % patch_size == 0, "image_size", f"a multiple of patch_size ({patch_size})")
    for edge in (options.image_width, options.image_height):
        if edge not in (None, image_size):
            raise ExportError(f"image size {edge}: expected {image_size}, the only one of this model")
    return MiniCPMVVisionSpec(
        depth=vision.integer("num_hidden_layers", 27) - config.flag("drop_vision_last_layer", False),
        block=BlockSpec(hidden_size, vision.integer("intermediate_size", 4304), num_heads, "tanh"),
        norm_epsilon=vision.number("layer_norm_eps", 1e-6),
        patch_size=patch_size,
        num_position_rows=vision.integer("image_size", 980) // patch_size,
        num_queries=config.integer("query_num", 64),
        output_size=output_size,
        image_size=image_size,
        mean=GREY,
        std=GREY,
    )
