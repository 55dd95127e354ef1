"""Qwen3-VL: the Qwen3 text model with mrope, and a vision tower with deepstack."""

import math
from functools import partial

from backends.export.checkpoint import Checkpoint
from backends.export.configuration import Section, read_json_if_there
from backends.export.decoder import read_decoder
from backends.export.errors import ExportError
from backends.export.model import Model, Vision
from backends.export.options import ExportOptions
from backends.export.qwen3_vl_vision import VisionSpec, build_vision

DEFAULT_SIDE = 384  # of the picture in the published packages


def read_model(checkpoint: Checkpoint, options: ExportOptions) -> Model:
    config = checkpoint.config
    tied = config.flag("tie_word_embeddings", False)
    decoder = read_decoder(config.section("text_config"), "model.language_model.", tied)
    preprocessor = read_json_if_there(checkpoint.folder / "preprocessor_config.json")
    vision = config.section("vision_config")
    tower = _read_tower(vision, preprocessor, options)
    vision.check(
        tower.output_size == decoder.hidden_size,
        "out_hidden_size",
        f"the text's hidden size {decoder.hidden_size}",
    )
    settings: dict[str, str | int] = {
        "vlm_type": "Qwen3VL",
        "vision_width": tower.image_size[1],
        "vision_height": tower.image_size[0],
        "vision_patch_size": tower.patch_size,
        "vision_temporal_patch_size": tower.temporal_patch_size,
        "vision_spatial_merge_size": tower.merge_size,
    }
    return Model(
        "Qwen3VL", "qwen3_vl_text", decoder, Vision(partial(build_vision, tower, checkpoint), settings)
    )


def _read_tower(vision: Section, preprocessor: Section, options: ExportOptions) -> VisionSpec:
    vision.require("hidden_act", "gelu_pytorch_tanh", default="gelu_pytorch_tanh")
    vision.require("in_channels", 3, default=3)
    hidden_size, num_heads = vision.integer("hidden_size"), vision.integer("num_heads")
    # A head has two halves for rope, and each half has one quarter for rows and one for columns.
    vision.check(hidden_size % (4 * num_heads) == 0, "num_heads", f"heads of {hidden_size} divisible by 4")
    depth = vision.integer("depth")
    deepstack = vision.integers("deepstack_visual_indexes")
    vision.check(max(deepstack, default=0) < depth, "deepstack_visual_indexes", f"blocks below {depth}")
    num_positions = vision.integer("num_position_embeddings")
    side = math.isqrt(num_positions)
    vision.check(side * side == num_positions, "num_position_embeddings", "a square number")
    rope = vision.section("rope_parameters") if "rope_parameters" in vision else vision
    patch_size = vision.integer("patch_size")
    merge_size = vision.integer("spatial_merge_size")
    return VisionSpec(
        depth=depth,
        hidden_size=hidden_size,
        intermediate_size=vision.integer("intermediate_size"),
        num_heads=num_heads,
        patch_size=patch_size,
        temporal_patch_size=vision.integer("temporal_patch_size"),
        merge_size=merge_size,
        num_position_rows=side,
        output_size=vision.integer("out_hidden_size"),
        deepstack=deepstack,
        image_size=_image_size(preprocessor, options, patch_size * merge_size),
        mean=preprocessor.colour("image_mean", 0.5),
        std=preprocessor.colour("image_std", 0.5),
        rope_theta=rope.number("rope_theta", 10000.0),
    )


def _image_size(preprocessor: Section, options: ExportOptions, multiple: int) -> tuple[int, int]:
    """Rows and columns of pixels. `size` counts the least and most pixels: equal means one square size."""
    side = DEFAULT_SIDE
    if "size" in preprocessor:
        size = preprocessor.section("size")
        if size.integer("shortest_edge") == size.integer("longest_edge"):
            side = math.isqrt(size.integer("longest_edge"))
    height = side if options.image_height is None else options.image_height
    width = side if options.image_width is None else options.image_width
    if height % multiple or width % multiple:
        raise ExportError(f"image size {width}x{height}: expected multiples of {multiple} pixels")
    return height, width
