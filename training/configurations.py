"""The configuration files of a checkpoint folder, as transformers reads them."""

from __future__ import annotations

from tokenizers import Tokenizer

from training.config import Config
from training.families import Family

Json = dict[str, object]

_CONTEXT = 1024
"""Tokens of context promised; training rows are shorter."""
_BICUBIC, _LANCZOS = 3, 1
_ARCHITECTURES = {
    "qwen3_vl": "Qwen3VLForConditionalGeneration",
    "internvl": "InternVLForConditionalGeneration",
    "smolvlm": "SmolVLMForConditionalGeneration",
}
_TEXT_TYPES = {"qwen3_vl": "qwen3_vl_text", "internvl": "qwen3", "smolvlm": "llama"}


def text_config(family: Family) -> Json:
    """The `text_config` of the model."""
    config = family.config
    rope: Json = {"rope_type": "default", "rope_theta": config.rope_theta}
    if family.model_type == "qwen3_vl":
        rope |= {"mrope_section": list(config.mrope_section), "mrope_interleaved": True}
    return {
        "model_type": _TEXT_TYPES[family.model_type],
        "vocab_size": config.vocab,
        "hidden_size": config.hidden,
        "intermediate_size": config.intermediate,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "rms_norm_eps": config.eps,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "max_position_embeddings": _CONTEXT,
        "tie_word_embeddings": True,
        "rope_parameters": rope,
    }


def vision_config(family: Family) -> Json:
    """The `vision_config` of the model."""
    config = family.config
    if family.model_type == "qwen3_vl":
        return {
            "model_type": "qwen3_vl_vision",
            "depth": config.vision_depth,
            "hidden_size": config.vision_hidden,
            "intermediate_size": config.vision_intermediate,
            "num_heads": config.vision_heads,
            "hidden_act": "gelu_pytorch_tanh",
            "in_channels": 3,
            "patch_size": config.patch,
            "spatial_merge_size": config.merge,
            "temporal_patch_size": 2,
            "out_hidden_size": config.hidden,
            "num_position_embeddings": config.grid**2,
            "deepstack_visual_indexes": list(config.deepstack),
        }
    tower: Json = {
        "model_type": f"{family.model_type}_vision",
        "hidden_size": config.vision_hidden,
        "intermediate_size": config.vision_intermediate,
        "num_hidden_layers": config.vision_depth,
        "num_attention_heads": config.vision_heads,
        "num_channels": 3,
        "layer_norm_eps": 1e-6,
        "attention_dropout": 0.0,
    }
    if family.model_type == "smolvlm":
        return tower | {
            "image_size": config.image,
            "patch_size": config.patch,
            "hidden_act": "gelu_pytorch_tanh",
        }
    return tower | {
        "image_size": [config.image, config.image],
        "patch_size": [config.patch, config.patch],
        "hidden_act": "gelu",
        "attention_bias": True,
        "norm_type": "layer_norm",
        "use_absolute_position_embeddings": True,
        "use_mask_token": False,
        "use_mean_pooling": True,
        "use_qk_norm": False,
    }


def model_config(family: Family, tokenizer: Tokenizer) -> Json:
    """`config.json`."""
    shared: Json = {
        "architectures": [_ARCHITECTURES[family.model_type]],
        "model_type": family.model_type,
        "dtype": "float16",
        "tie_word_embeddings": True,
        "image_token_id": tokenizer.token_to_id(family.dialect.placeholder),
    }
    of_family: dict[str, Json] = {
        "qwen3_vl": {
            "video_token_id": tokenizer.token_to_id("<|video_pad|>"),
            "vision_start_token_id": tokenizer.token_to_id("<|vision_start|>"),
            "vision_end_token_id": tokenizer.token_to_id("<|vision_end|>"),
        },
        "internvl": {
            "image_seq_length": num_picture_tokens(family.config),
            "downsample_ratio": 1 / family.config.merge,
            "projector_hidden_act": "gelu",
            "vision_feature_layer": -1,
            "vision_feature_select_strategy": "default",
        },
        "smolvlm": {"scale_factor": family.config.merge},
    }
    configs: Json = {"text_config": text_config(family), "vision_config": vision_config(family)}
    return shared | of_family[family.model_type] | configs


def num_picture_tokens(config: Config) -> int:
    """Tokens of one picture."""
    return (config.grid // config.merge) ** 2


def preprocessor_config(family: Family) -> Json:
    """`preprocessor_config.json`: every picture becomes one square."""
    config = family.config
    colors: Json = {"image_mean": list(config.image_mean), "image_std": list(config.image_std)}
    if family.model_type == "qwen3_vl":
        area = config.image**2
        return {
            "image_processor_type": "Qwen2VLImageProcessor",
            "processor_class": "Qwen3VLProcessor",
            "patch_size": config.patch,
            "merge_size": config.merge,
            "temporal_patch_size": 2,
            **colors,
            "size": {"shortest_edge": area, "longest_edge": area},
        }
    shared: Json = {
        "do_convert_rgb": True,
        "do_resize": True,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        **colors,
    }
    if family.model_type == "internvl":
        return {
            "image_processor_type": "GotOcr2ImageProcessor",
            "processor_class": "InternVLProcessor",
            **shared,
            "crop_to_patches": False,
            "min_patches": 1,
            "max_patches": 1,
            "resample": _BICUBIC,
            "size": {"height": config.image, "width": config.image},
        }
    return {
        "image_processor_type": "SmolVLMImageProcessor",
        "processor_class": "SmolVLMProcessor",
        **shared,
        "do_image_splitting": False,
        "do_pad": True,
        "max_image_size": {"longest_edge": config.image},
        "resample": _LANCZOS,
        "size": {"longest_edge": config.image},
    }


def tokenizer_config(family: Family) -> Json:
    """`tokenizer_config.json`; transformers' processor asks InternVL's tokenizer for four tokens by name."""
    shared: Json = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": _CONTEXT,
        "eos_token": family.dialect.end,
        "pad_token": "<|endoftext|>",
        "clean_up_tokenization_spaces": False,
    }
    named = {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    }
    return shared | ({"extra_special_tokens": named} if family.model_type == "internvl" else {})


def configurations(family: Family, tokenizer: Tokenizer) -> dict[str, Json]:
    """The configuration files of the folder, by name."""
    end, padding = tokenizer.token_to_id(family.dialect.end), tokenizer.token_to_id("<|endoftext|>")
    files = {
        "config.json": model_config(family, tokenizer),
        "generation_config.json": {
            "do_sample": False,
            "eos_token_id": [end, padding],
            "pad_token_id": padding,
        },
        "preprocessor_config.json": preprocessor_config(family),
        "tokenizer_config.json": tokenizer_config(family),
    }
    processors: dict[str, Json] = {
        "internvl": {
            "processor_class": "InternVLProcessor",
            "image_seq_length": num_picture_tokens(family.config),
        },
        "smolvlm": {
            "processor_class": "SmolVLMProcessor",
            "image_seq_len": num_picture_tokens(family.config),
        },
    }
    if family.model_type in processors:
        files["processor_config.json"] = processors[family.model_type]
    return files
