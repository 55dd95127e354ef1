"""SmolVLM, SmolVLM2 and Idefics3: a Llama text model, a SigLIP tower and a connector."""

from functools import partial

from backends import patch_embedding
from backends.export.checkpoint import Checkpoint
from backends.export.configuration import Section, read_json_if_there
from backends.export.decoder import read_decoder
from backends.export.errors import ExportError
from backends.export.model import Model, Vision, square_settings
from backends.export.options import ExportOptions
from backends.export.smolvlm_vision import SmolVLMVisionSpec, build_behind_patches, build_vision, read_patches

MODEL_TYPES = ("smolvlm", "idefics3")


def read_model(checkpoint: Checkpoint, options: ExportOptions) -> Model:
    config = checkpoint.config
    tied = config.flag("tie_word_embeddings", False)
    decoder = read_decoder(config.section("text_config"), "model.text_model.", tied)
    preprocessor = read_json_if_there(checkpoint.folder / "preprocessor_config.json")
    tower = read_tower(config, preprocessor, options, decoder.hidden_size)
    settings = square_settings("SmolVLM2", tower.image_size, tower.patch_size)
    if options.vision_input == "f32-patches":
        build = partial(build_behind_patches, tower, checkpoint, _num_tiles(preprocessor))
        files = {str(patch_embedding.FILE): lambda file: read_patches(tower, checkpoint).save(file)}
        vision = Vision(build, settings, files)
    else:
        vision = Vision(partial(build_vision, tower, checkpoint, options.vision_input), settings)
    return Model("SmolVLM", "llama", decoder, vision)


def read_tower(
    config: Section, preprocessor: Section, options: ExportOptions, output_size: int
) -> SmolVLMVisionSpec:
    """Defaults: transformers 5.23, smolvlm/configuration_smolvlm.py, on which published files rely."""
    vision = config.section("vision_config")
    vision.require("hidden_act", "gelu_pytorch_tanh", default="gelu_pytorch_tanh")
    vision.require("num_channels", 3, default=3)
    hidden_size, num_heads = vision.integer("hidden_size", 1152), vision.integer("num_attention_heads", 16)
    vision.check(hidden_size % num_heads == 0, "num_attention_heads", f"a divisor of {hidden_size}")
    own_size, patch_size = vision.integer("image_size", 224), vision.integer("patch_size", 32)
    merge_size = config.integer("scale_factor", 2)
    return SmolVLMVisionSpec(
        depth=vision.integer("num_hidden_layers", 12),
        hidden_size=hidden_size,
        intermediate_size=vision.integer("intermediate_size", 3072),
        num_heads=num_heads,
        patch_size=patch_size,
        merge_size=merge_size,
        num_position_rows=own_size // patch_size,
        image_size=_image_size(own_size, options, patch_size, merge_size),
        output_size=output_size,
        norm_epsilon=vision.number("layer_norm_eps", 1e-6),
        mean=preprocessor.colour("image_mean", 0.5),
        std=preprocessor.colour("image_std", 0.5),
    )


def _image_size(own_size: int, options: ExportOptions, patch_size: int, merge_size: int) -> int:
    height = own_size if options.image_height is None else options.image_height
    width = own_size if options.image_width is None else options.image_width
    if height != width or height < patch_size or height // patch_size % merge_size:
        raise ExportError(
            f"image size {width}x{height}: expected a square with a multiple of {merge_size} patches of "
            f"{patch_size} pixels along its edge"
        )
    return height


def _num_tiles(preprocessor: Section) -> int:
    """Those of a square picture, which is cut into the most, and itself."""
    longest = preprocessor.section("size").integer("longest_edge")
    tile = preprocessor.section("max_image_size").integer("longest_edge")
    preprocessor.check(longest % tile == 0, "size", f"a longest_edge that is a multiple of {tile}")
    return 1 if longest == tile else (longest // tile) ** 2 + 1
