"""Qwen3-VL: the Qwen3 text model with mrope, and a vision tower with deepstack."""

import math
from functools import partial

from backends.export.checkpoint import Checkpoint
from backends.export.configuration import Section
from backends.export.decoder import read_decoder
from backends.export.model import Model, Vision
from backends.export.options import ExportOptions
from backends.export.qwen3_vl_vision import VisionSpec, build_vision
from backends.export.qwen_vl import TowerSpec, read_picture, read_tower

DEFAULT_SIDE = 384  # of the picture in the published packages


def read_model(checkpoint: Checkpoint, options: ExportOptions) -> Model:
    config = checkpoint.config
    tied = config.flag("tie_word_embeddings", False)
    decoder = read_decoder(config.section("text_config"), "model.language_model.", tied)
    vision = config.section("vision_config")
    vision.require("hidden_act", "gelu_pytorch_tanh", default="gelu_pytorch_tanh")
    picture = read_picture(checkpoint, options, DEFAULT_SIDE, mean=0.5, std=0.5)
    inner = vision.integer("intermediate_size")
    tower = read_tower(vision, picture, decoder, "hidden_size", inner, "out_hidden_size")
    build = partial(build_vision, _read_vision(vision, tower), checkpoint)
    return Model("Qwen3VL", "qwen3_vl_text", decoder, Vision(build, picture.settings("Qwen3VL")))


def _read_vision(vision: Section, tower: TowerSpec) -> VisionSpec:
    deepstack = vision.integers("deepstack_visual_indexes")
    vision.check(
        max(deepstack, default=0) < tower.depth, "deepstack_visual_indexes", f"blocks below {tower.depth}"
    )
    num_positions = vision.integer("num_position_embeddings")
    side = math.isqrt(num_positions)
    vision.check(side * side == num_positions, "num_position_embeddings", "a square number")
    return VisionSpec(tower, side, deepstack)
