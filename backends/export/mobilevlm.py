"""MobileVLM V2: a Llama text model, a CLIP tower and a projector that makes 144 tokens of any picture."""

from functools import partial

from backends.export.checkpoint import Checkpoint
from backends.export.configuration import Section
from backends.export.decoder import read_decoder
from backends.export.encoder_block import BlockSpec, BlockTowerSpec
from backends.export.errors import ExportError
from backends.export.mobilevlm_vision import GRID, build_vision
from backends.export.model import Model, Vision, square_settings
from backends.export.options import ExportOptions

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def read_model(checkpoint: Checkpoint, options: ExportOptions) -> Model:
    """A checkpoint in the format of Meituan-AutoML/MobileVLM, mobilevlm/model/mobilellama.py and
    mobilevlm.py: the text model's configuration with that of the rest in fields that begin with mm_."""
    config = checkpoint.config
    projector = config.text("mm_projector_type")
    config.check(projector.startswith("ldpnetv2"), "mm_projector_type", '"ldpnetv2"')
    config.require("mm_vision_select_feature", "patch", default="patch")
    text = Section(config.file, config.path, {**config.values, "model_type": "llama"})
    decoder = read_decoder(text, "model.", config.flag("tie_word_embeddings", False))
    tower = _read_tower(config, options, decoder.hidden_size)
    settings = square_settings("MobileVLM", tower.image_size, tower.patch_size)
    build = partial(build_vision, tower, checkpoint, options.vision_input)
    return Model("MobileVLM", "llama", decoder, Vision(build, settings))


def _read_tower(config: Section, options: ExportOptions, output_size: int) -> BlockTowerSpec:
    """Published checkpoints name their tower, openai/clip-vit-large-patch14-336, and leave out its numbers,
    which are the defaults here."""
    vision = config.section("vision_config") if "vision_config" in config else Section(config.file, "", {})
    vision.require("hidden_act", "quick_gelu", default="quick_gelu")
    layer = config.values.get("mm_vision_select_layer", -2)
    config.check(type(layer) is int and layer < 0, "mm_vision_select_layer", "an integer below 0")
    depth = vision.integer("num_hidden_layers", 24) + layer + 1
    image_size, patch_size = vision.integer("image_size", 336), vision.integer("patch_size", 14)
    side = image_size // patch_size
    vision.check(side % GRID == 0, "image_size", f"a multiple of {GRID} patches of {patch_size} pixels")
    for edge in (options.image_width, options.image_height):
        if edge not in (None, image_size):
            raise ExportError(f"image size {edge}: expected {image_size}, the only one of this model")
    hidden_size, num_heads = vision.integer("hidden_size", 1024), vision.integer("num_attention_heads", 16)
    vision.check(hidden_size % num_heads == 0, "num_attention_heads", f"a divisor of {hidden_size}")
    config.check(
        config.integer("mm_hidden_size", hidden_size) == hidden_size,
        "mm_hidden_size",
        f"the tower's hidden size {hidden_size}",
    )
    return BlockTowerSpec(
        depth=depth,
        block=BlockSpec(hidden_size, vision.integer("intermediate_size", 4096), num_heads, "quick"),
        patch_size=patch_size,
        norm_epsilon=vision.number("layer_norm_eps", 1e-5),
        output_size=output_size,
        image_size=image_size,
        mean=CLIP_MEAN,
        std=CLIP_STD,
    )
