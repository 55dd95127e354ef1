"""InternVL with tiny weights: both kinds of text model, both kinds of graph input, one tile and many."""

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

EDGE, PATCH, MERGE = 32, 8, 2
NUM_TOKENS = (EDGE // PATCH // MERGE) ** 2
NAMED = {
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<IMG_CONTEXT>",
    "video_token": "<video>",
}

TEMPLATE = (Path(__file__).parents[2] / "gateway" / "chat" / "templates" / "internvl.jinja").read_text(
    "utf-8"
)

U8, F32 = ExportOptions(), ExportOptions(vision_input="f32-nchw")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class TinyInternVL:
    """A checkpoint folder as transformers saves it.

    own_edge: of the tiles that the learned positions are for
    big:      like the tower of 6B: RMS norms, on queries and keys as well, and no bias there
    """

    text: str
    max_tiles: int = 1
    tied: bool = False
    own_edge: int = EDGE
    big: bool = False

    def __call__(self, folder: Path, seed: int) -> None:
        text = text_config(VOCAB, 4, 64, 4, 2, 16, self.text)
        config = {
            "architectures": ["InternVLForConditionalGeneration"],
            "model_type": "internvl",
            "tie_word_embeddings": self.tied,
            "image_seq_length": NUM_TOKENS,
            "downsample_ratio": 1 / MERGE,
            "text_config": text,
            "vision_config": self.vision_config(),
        }
        shapes = text_shapes(text, "language_model.model.", tied=True) | self.vision_shapes(64)
        if not self.tied:
            shapes["language_model.lm_head.weight"] = (VOCAB, 64)
        tokenizer = tiny_tokenizer([*NAMED.values()])
        config |= {"image_token_id": tokenizer.token_to_id("<IMG_CONTEXT>")}
        write(folder, config, shapes, seed, np.float32)
        write_tokenizer(folder, tokenizer, TEMPLATE, NAMED)
        preprocessor = {
            "image_processor_type": "GotOcr2ImageProcessor",
            "size": {"height": EDGE, "width": EDGE},
            "image_mean": MEAN,
            "image_std": STD,
            "crop_to_patches": self.max_tiles > 1,
            "min_patches": 1,
            "max_patches": self.max_tiles,
        }
        write_json(folder / "preprocessor_config.json", preprocessor)

    def vision_config(self) -> Config:
        return {
            "model_type": "internvl_vision",
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "attention_bias": not self.big,
            "use_qk_norm": self.big,
            "norm_type": "rms_norm" if self.big else "layer_norm",
            "hidden_act": "gelu",
            "layer_norm_eps": 0.001,  # large enough to be missed
            "image_size": [self.own_edge, self.own_edge],
            "patch_size": [PATCH, PATCH],
        }

    def vision_shapes(self, output: int) -> Shapes:
        size, inner = 32, 48
        merged = size * MERGE**2
        shapes: Shapes = {
            "vision_tower.embeddings.cls_token": (1, 1, size),
            "vision_tower.embeddings.position_embeddings": (1, 1 + (self.own_edge // PATCH) ** 2, size),
        }
        biased: Shapes = {
            "vision_tower.embeddings.patch_embeddings.projection": (size, 3, PATCH, PATCH),
            "multi_modal_projector.layer_norm": (merged,),
            "multi_modal_projector.linear_1": (output, merged),
            "multi_modal_projector.linear_2": (output, output),
        }
        plain: Shapes = {}
        for index in range(3):
            block = f"vision_tower.encoder.layer.{index}."
            (plain if self.big else biased).update(
                {f"{block}attention.{part}_proj": (size, size) for part in "qkv"}
                | {f"{block}layernorm_{place}": (size,) for place in ("before", "after")}
            )
            if self.big:
                plain |= {f"{block}attention.{part}_norm": (size,) for part in "qk"}
            biased[f"{block}attention.projection_layer"] = (size, size)
            biased |= {f"{block}mlp.fc1": (inner, size), f"{block}mlp.fc2": (size, inner)}
            shapes |= {f"{block}lambda_{number}": (size,) for number in (1, 2)}
        for name, shape in (biased | plain).items():
            shapes[f"{name}.weight"] = shape
        return shapes | {f"{name}.bias": shape[:1] for name, shape in biased.items()}


class InternVLReference(Reference):
    def runs(self, folder: Path, picture: Image.Image, graph_input: TensorSpec) -> Sequence[Array]:
        kind: dict[str, Any] = {}
        if graph_input.dtype == "uint8":
            kind = {"do_rescale": False, "do_normalize": False}
        tiles = self._image_processor(folder)(picture, return_tensors="np", **kind)["pixel_values"]
        if graph_input.dtype == "uint8":
            tiles = tiles.transpose(0, 2, 3, 1)
        return [tile[np.newaxis] for tile in tiles]

    def inputs(self, folder: Path, text: str, pictures: Sequence[Image.Image]) -> Inputs:
        from transformers import InternVLProcessor

        images = self._image_processor(folder)
        crop = images.crop_to_patches

        class Processor(InternVLProcessor):  # type: ignore[misc]  # transformers is not typed
            """Without the part for videos, which is there with torchvision only."""

            def __init__(self, image_processor: Any, tokenizer: Any) -> None:
                super().__init__(image_processor, tokenizer, image_seq_length=NUM_TOKENS)

        processor = Processor(images, self.tokenizer(folder))
        found = processor(images=list(pictures) or None, text=text, return_tensors="pt", crop_to_patches=crop)
        return {key: found[key] for key in ("input_ids", "pixel_values") if key in found}

    def features(self, model: Any, inputs: Inputs) -> Any:
        return model.get_image_features(inputs["pixel_values"]).pooler_output.flatten(0, 1)

    @staticmethod
    def _image_processor(folder: Path) -> Any:
        from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

        return GotOcr2ImageProcessorPil.from_pretrained(folder)


def entry(max_tiles: int) -> dict[str, Any]:
    return {
        "family": "internvl",
        "prefixes": ("qwen2", "qwen3"),
        "marker": "<IMG_CONTEXT>",
        "placeholder": "<IMG_CONTEXT>",
        "image_size": EDGE,
        "patch_size": PATCH,
        "merge_size": MERGE,
        "min_tiles": 1,
        "max_tiles": max_tiles,
        "use_thumbnail": True,
        "mean": MEAN,
        "std": STD,
        "resample": "bicubic",
        "start": "<img>",
        "end": "</img>",
    }


def case(checkpoint: TinyInternVL, options: ExportOptions = U8, **changes: Any) -> FamilyCase:
    return FamilyCase(entry(checkpoint.max_tiles), checkpoint, InternVLReference(), options, **changes)


CASES = {
    "internvl-qwen2-u8": case(TinyInternVL("qwen2", tied=True)),
    "internvl-qwen3-f32": case(TinyInternVL("qwen3"), F32, seed=28),
    "internvl-qwen3-two": case(TinyInternVL("qwen3"), pictures=((50, 40), (31, 57)), seed=49),
    "internvl-qwen2-tiled": case(TinyInternVL("qwen2", 6), pictures=((90, 60),), seed=15),
    "internvl-qwen3-tiled-f32-two": case(
        TinyInternVL("qwen3", 4), F32, pictures=((70, 60), (20, 90)), seed=39
    ),
    "internvl-qwen2-big": case(TinyInternVL("qwen2", big=True), seed=15),
    "internvl-qwen2-resampled": case(
        TinyInternVL("qwen2", own_edge=48), ExportOptions(image_width=EDGE, image_height=EDGE), seed=22
    ),
}
