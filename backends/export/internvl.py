"""InternVL 2.5, 3 and 3.5: InternViT and the Qwen2 or Qwen3 text model, in either format of checkpoint: that
of transformers ("internvl") and that of the original repositories ("internvl_chat")."""

from dataclasses import replace
from functools import partial

from backends.export.checkpoint import Checkpoint
from backends.export.configuration import Section, read_json_if_there
from backends.export.decoder import read_decoder
from backends.export.errors import ExportError
from backends.export.internvl_vision import Blocks, Names, OriginalNames, TowerSpec, build_vision
from backends.export.model import Model, Vision, square_settings
from backends.export.options import ExportOptions

TEXT_MODELS = ("qwen2", "qwen3")
HEAD = "language_model.lm_head.weight"
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def read_model(checkpoint: Checkpoint, options: ExportOptions) -> Model:
    """A checkpoint in the format of transformers 5.23, internvl/configuration_internvl.py."""
    config = checkpoint.config
    config.require("projector_hidden_act", "gelu", default="gelu")
    config.require("vision_feature_layer", -1, default=-1)
    config.require("vision_feature_select_strategy", "default", default="default")
    vision = config.section("vision_config")
    vision.require("use_mean_pooling", True, default=True)
    vision.require("use_absolute_position_embeddings", True, default=True)
    blocks = Blocks(
        qkv_bias=vision.flag("attention_bias", False),
        qk_norm=vision.flag("use_qk_norm", False),
        rms_norm=_has_rms_norm(vision, "layer_norm"),
    )
    tied = config.flag("tie_word_embeddings", True)
    return _read(checkpoint, config.section("text_config"), tied, Names(), blocks, options)


def read_original(checkpoint: Checkpoint, options: ExportOptions) -> Model:
    """A checkpoint in the format of OpenGVLab/InternVL3-1B: configuration_internvl_chat.py,
    configuration_intern_vit.py and modeling_internvl_chat.py there."""
    config = checkpoint.config
    config.require("ps_version", "v2")
    config.require("select_layer", -1, default=-1)
    text, vision = config.section("llm_config"), config.section("vision_config")
    blocks = Blocks(
        qkv_bias=vision.flag("qkv_bias", False),
        qk_norm=vision.flag("qk_normalization", True),
        rms_norm=_has_rms_norm(vision, "rms_norm"),
    )
    tied = text.flag("tie_word_embeddings", False)
    return _read(checkpoint, text, tied, OriginalNames(), blocks, options)


def _read(
    checkpoint: Checkpoint,
    text: Section,
    tied: bool,
    names: Names,
    blocks: Blocks,
    options: ExportOptions,
) -> Model:
    model_type = text.text("model_type")
    text.check(model_type in TEXT_MODELS, "model_type", f"one of {', '.join(TEXT_MODELS)}")
    decoder = read_decoder(_plain_rope(text, options), "language_model.model.", tied)
    # Published checkpoints say that they tie embedding and head, and have a head of their own all the same;
    # transformers takes it where it is there.
    if HEAD in checkpoint or not tied:
        decoder = replace(decoder, head=HEAD)
    tower = _read_tower(checkpoint, names, blocks, options, decoder.hidden_size)
    settings = square_settings("InternVL3", tower.image_size)
    build = partial(build_vision, tower, checkpoint, options.vision_input)
    return Model("InternVL3", model_type, decoder, Vision(build, settings))


def _plain_rope(text: Section, options: ExportOptions) -> Section:
    """Without dynamic rope scaling, which changes nothing as long as no conversation is longer than those of
    the training (transformers 5.23, modeling_rope_utils.py)."""
    values = dict(text.values)
    for key in ("rope_scaling", "rope_parameters"):
        rope = text.section(key).values if key in text else {}
        if "dynamic" in (rope.get("rope_type"), rope.get("type")):
            longest = text.integer("max_position_embeddings")
            if options.kv_cache_len >= longest:
                raise ExportError(
                    f"kv_cache_len: expected less than {text.path}max_position_embeddings ({longest}) for "
                    f"dynamic rope scaling, got {options.kv_cache_len}"
                )
            values[key] = {**rope, "rope_type": "default"}
    return Section(text.file, text.path, values)


def _read_tower(
    checkpoint: Checkpoint, names: Names, blocks: Blocks, options: ExportOptions, output_size: int
) -> TowerSpec:
    config, vision = checkpoint.config, checkpoint.config.section("vision_config")
    vision.require("hidden_act", "gelu", default="gelu")
    vision.require("num_channels", 3, default=3)
    hidden_size, num_heads = vision.integer("hidden_size"), vision.integer("num_attention_heads")
    vision.check(hidden_size % num_heads == 0, "num_attention_heads", f"a divisor of {hidden_size}")
    ratio = config.number("downsample_ratio", 0.5)
    config.check(ratio > 0 and (1 / ratio).is_integer(), "downsample_ratio", "1 over an integer")
    patch_size, merge_size = _edge(vision, "patch_size"), int(1 / ratio)
    own_size = _edge(vision, "image_size")
    vision.check(own_size % patch_size == 0, "image_size", f"a multiple of patch_size ({patch_size})")
    preprocessor = read_json_if_there(checkpoint.folder / "preprocessor_config.json")
    return TowerSpec(
        depth=vision.integer("num_hidden_layers"),
        hidden_size=hidden_size,
        intermediate_size=vision.integer("intermediate_size"),
        num_heads=num_heads,
        blocks=blocks,
        norm_epsilon=vision.number("layer_norm_eps", 1e-6),
        patch_size=patch_size,
        merge_size=merge_size,
        num_position_rows=own_size // patch_size,
        output_size=output_size,
        image_size=_image_size(own_size, options, patch_size * merge_size),
        mean=preprocessor.colour("image_mean", IMAGENET_MEAN),
        std=preprocessor.colour("image_std", IMAGENET_STD),
        names=names,
    )


def _has_rms_norm(vision: Section, default: str) -> bool:
    norm_type = vision.text("norm_type") if "norm_type" in vision else default
    vision.check(norm_type in ("layer_norm", "rms_norm"), "norm_type", '"layer_norm" or "rms_norm"')
    return norm_type == "rms_norm"


def _edge(vision: Section, key: str) -> int:
    """The edge of a square, which is written as one number or, by transformers, as two."""
    if not isinstance(vision.values.get(key), list):
        return vision.integer(key)
    edges = vision.integers(key)
    vision.check(len(edges) == 2 and edges[0] == edges[1] > 0, key, "two equal integers above 0")
    return edges[0]


def _image_size(own_size: int, options: ExportOptions, multiple: int) -> int:
    height = own_size if options.image_height is None else options.image_height
    width = own_size if options.image_width is None else options.image_width
    if height != width or height % multiple:
        raise ExportError(
            f"image size {width}x{height}: expected a square of a multiple of {multiple} pixels"
        )
    return height
