"""Janus-Pro with tiny weights: both kinds of graph input, head tied and not."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from backends.base import Array, TensorSpec
from backends.export import ExportOptions
from tests.export.checkpoints import Config, Shapes, text_config, text_shapes, write, write_json
from tests.families.case import FamilyCase, Inputs, Reference
from tests.families.tokenizer import VOCAB, tiny_tokenizer, write_tokenizer

EDGE, PATCH, MIN_EDGE = 32, 8, 6
GRID = EDGE // PATCH
NAMED = {"image_token": "<image_placeholder>", "boi_token": "<begin_of_image>", "eoi_token": "<end_of_image>"}
MEAN, STD = (0.48, 0.5, 0.41), (0.27, 0.5, 0.28)
HIDDEN, SIZE, INNER, DEPTH = 64, 32, 48, 3
TEMPLATE = Path(__file__).parents[2] / "gateway" / "chat" / "templates" / "janus-pro.jinja"
SYSTEM = (
    "You are a helpful language and vision assistant. You are able to understand the visual content that the "
    "user provides, and assist the user with a variety of tasks using natural language."
)


@dataclass(frozen=True)
class TinyJanus:
    """A checkpoint folder as transformers saves it; the part that draws pictures is as small as can be. Its
    configuration does not say whether it is tied: transformers goes by the tensors then."""

    tied: bool
    attention_bias: bool = True
    aligner_depth: int = 2

    def __call__(self, folder: Path, seed: int) -> None:
        text = text_config(VOCAB, 4, HIDDEN, 4, 2, 16, "llama")
        vision = {
            "model_type": "janus_vision_model",
            "hidden_size": SIZE,
            "num_hidden_layers": DEPTH,
            "num_attention_heads": 2,
            "mlp_ratio": INNER / SIZE,
            "attention_bias": self.attention_bias,
            "image_size": EDGE,
            "patch_size": PATCH,
            "hidden_act": "gelu",
            "layer_norm_eps": 0.001,  # large enough to be missed
            "projection_dim": HIDDEN,
            "depth": self.aligner_depth,
            "num_image_tokens": GRID**2,
        }
        drawing = {
            "model_type": "janus_vqgan",
            "embed_dim": 2,
            "num_embeddings": 4,
            "latent_channels": 2,
            "base_channels": 32,
            "channel_multiplier": [1],
            "num_res_blocks": 1,
            "projection_dim": 4,
            "image_token_embed_dim": HIDDEN,
        }
        config: Config = {
            "architectures": ["JanusForConditionalGeneration"],
            "model_type": "janus",
            "text_config": text,
            "vision_config": vision,
            "vq_config": drawing,
        }
        tokenizer = tiny_tokenizer([*NAMED.values()])
        config["image_token_id"] = tokenizer.token_to_id("<image_placeholder>")
        shapes = text_shapes(text, "model.language_model.", self.tied) | self.vision_shapes()
        write(folder, config, shapes, seed, np.float32)
        write_tokenizer(folder, tokenizer, short_template(), NAMED)
        preprocessor = {
            "image_processor_type": "JanusImageProcessor",
            "size": {"height": EDGE, "width": EDGE},
            "min_size": MIN_EDGE,
            "image_mean": MEAN,
            "image_std": STD,
        }
        write_json(folder / "preprocessor_config.json", preprocessor)

    def vision_shapes(self) -> Shapes:
        tower = "model.vision_model."
        biased: Shapes = {
            f"{tower}embeddings.patch_embedding": (SIZE, 3, PATCH, PATCH),
            f"{tower}post_layernorm": (SIZE,),
            "model.aligner.fc1": (HIDDEN, SIZE),
        }
        for index in range(self.aligner_depth - 1):
            biased[f"model.aligner.hidden_layers.{index}"] = (HIDDEN, HIDDEN)
        plain: Shapes = {f"{tower}embeddings.position_embedding": (GRID**2, SIZE)}
        for index in range(DEPTH):
            block = f"{tower}encoder.layers.{index}."
            biased |= {f"{block}layer_norm{number}": (SIZE,) for number in (1, 2)}
            biased[f"{block}self_attn.projection_layer"] = (SIZE, SIZE)
            biased |= {f"{block}mlp.fc1": (INNER, SIZE), f"{block}mlp.fc2": (SIZE, INNER)}
            (biased if self.attention_bias else plain).update(
                {f"{block}self_attn.{part}_proj": (SIZE, SIZE) for part in "qkv"}
            )
        shapes = {f"{name}.weight": shape for name, shape in (biased | plain).items()}
        return shapes | {f"{name}.bias": shape[:1] for name, shape in biased.items()}


def short_template() -> str:
    """The one that users are given, with fewer words for the system: these models have little room."""
    source = TEMPLATE.read_text("utf-8")
    assert SYSTEM in source
    return source.replace(SYSTEM, "You see.")


class JanusReference(Reference):
    def runs(self, folder: Path, picture: Image.Image, graph_input: TensorSpec) -> Sequence[Array]:
        kind: dict[str, Any] = {}
        if graph_input.dtype == "uint8":
            kind = {"do_rescale": False, "do_normalize": False}
        (pixels,) = self._image_processor(folder)(picture, return_tensors="np", **kind)["pixel_values"]
        return [(pixels.transpose(1, 2, 0) if graph_input.dtype == "uint8" else pixels)[np.newaxis]]

    def inputs(self, folder: Path, text: str, pictures: Sequence[Image.Image]) -> Inputs:
        from transformers import JanusProcessor

        processor = JanusProcessor(
            self._image_processor(folder), self.tokenizer(folder), num_image_tokens=GRID**2
        )
        found = processor(images=list(pictures) or None, text=text, return_tensors="pt")
        return {key: found[key] for key in ("input_ids", "pixel_values") if key in found}

    def features(self, model: Any, inputs: Inputs) -> Any:
        return model.model.get_image_features(inputs["pixel_values"]).pooler_output.flatten(0, 1)

    @staticmethod
    def _image_processor(folder: Path) -> Any:
        from transformers.models.janus.image_processing_pil_janus import JanusImageProcessorPil

        return JanusImageProcessorPil.from_pretrained(folder)


ENTRY = {
    "family": "janus",
    "prefixes": ("llama",),
    "marker": "<image_placeholder>",
    "placeholder": "<image_placeholder>",
    "image_size": EDGE,
    "grid_size": GRID,
    "min_edge": MIN_EDGE,
    "mean": MEAN,
    "std": STD,
    "resample": "bicubic",
    "start": "<begin_of_image>",
    "end": "<end_of_image>",
}

CASES = {
    "janus-f32": FamilyCase(
        ENTRY, TinyJanus(tied=False), JanusReference(), ExportOptions(vision_input="f32-nchw"), seed=2
    ),
    "janus-u8-two": FamilyCase(
        ENTRY,
        TinyJanus(tied=True, attention_bias=False, aligner_depth=3),
        JanusReference(),
        ExportOptions(),
        pictures=((50, 40), (31, 57)),
    ),
}
