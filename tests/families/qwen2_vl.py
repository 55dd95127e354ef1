"""Qwen2-VL and Qwen2.5-VL with tiny weights, and the chat template that all of them are published with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from backends.base import Array, TensorSpec
from backends.export import ExportOptions
from tests.export.qwen2_checkpoints import tiny_qwen2_5_vl, tiny_qwen2_vl
from tests.families.case import FamilyCase, Inputs, Reference
from tests.families.tokenizer import VOCAB, tiny_tokenizer, write_tokenizer

PATCH, MERGE, FRAMES = 8, 2, 2
ROWS, COLUMNS = 48, 80

TEMPLATE = (
    "{% set image_count = namespace(value=0) %}{% set video_count = namespace(value=0) %}"
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n{% else %}"
    "{% for content in message['content'] %}"
    "{% if content['type'] == 'image' or 'image' in content or 'image_url' in content %}"
    "{% set image_count.value = image_count.value + 1 %}"
    "{% if add_vision_id %}Picture {{ image_count.value }}: {% endif %}"
    "<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif content['type'] == 'video' or 'video' in content %}"
    "{% set video_count.value = video_count.value + 1 %}"
    "{% if add_vision_id %}Video {{ video_count.value }}: {% endif %}"
    "<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True)
class TinyQwen2VL:
    """A checkpoint folder as it is published."""

    build: Callable[..., Path]

    def __call__(self, folder: Path, seed: int) -> None:
        self.build(folder, seed=seed, vocab_size=VOCAB, tied=False)
        write_tokenizer(folder, tiny_tokenizer([]), TEMPLATE, {})


class Qwen2VLReference(Reference):
    def runs(self, folder: Path, picture: Image.Image, graph_input: TensorSpec) -> Sequence[Array]:
        raw = self._processed(folder, [picture], do_rescale=False, do_normalize=False)["pixel_values"]
        channels_first = np.asarray(raw).astype(np.uint8).reshape(len(raw), 3, -1)
        return [channels_first.transpose(0, 2, 1)[np.newaxis]]

    def inputs(self, folder: Path, text: str, pictures: Sequence[Image.Image]) -> Inputs:
        from transformers import Qwen2VLProcessor

        class Processor(Qwen2VLProcessor):  # type: ignore[misc]  # transformers is not typed
            """Without the part for videos, which is there with torchvision only."""

            def __init__(self, image_processor: Any, tokenizer: Any) -> None:
                super().__init__(image_processor, tokenizer)

        processor = Processor(self._image_processor(folder), self.tokenizer(folder))
        images = [self._stretched(picture) for picture in pictures] or None
        found = processor(images=images, text=text, return_tensors="pt", do_resize=False)
        positions, _ = self.model(folder).model.get_rope_index(
            found["input_ids"], found["mm_token_type_ids"], image_grid_thw=found.get("image_grid_thw")
        )
        return {**found, "position_ids": positions}

    def features(self, model: Any, inputs: Inputs) -> Any:
        return model.model.visual(inputs["pixel_values"], grid_thw=inputs["image_grid_thw"]).pooler_output

    @staticmethod
    def _stretched(picture: Image.Image) -> Image.Image:
        """As the packages have it, instead of keeping its aspect."""
        return picture.resize((COLUMNS, ROWS), Image.Resampling.BICUBIC)

    @staticmethod
    def _image_processor(folder: Path) -> Any:
        from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

        return Qwen2VLImageProcessorPil.from_pretrained(folder)

    def _processed(self, folder: Path, pictures: Sequence[Image.Image], **kind: Any) -> Any:
        stretched = [self._stretched(picture) for picture in pictures]
        return self._image_processor(folder)(stretched, do_resize=False, return_tensors="np", **kind)


def case(build: Callable[..., Path], **changes: Any) -> FamilyCase:
    entry = {
        "family": "qwen2_vl",
        "prefixes": ("qwen2_vl", "qwen2_5_vl"),
        "marker": "<|image_pad|>",
        "placeholder": "<|image_pad|>",
        "width": COLUMNS,
        "height": ROWS,
        "patch_size": PATCH,
        "temporal_patch_size": FRAMES,
        "merge_size": MERGE,
        "resample": "bicubic",
    }
    options = ExportOptions(image_width=COLUMNS, image_height=ROWS)
    return replace(FamilyCase(entry, TinyQwen2VL(build), Qwen2VLReference(), options), **changes)


CASES = {
    "qwen2-vl": case(tiny_qwen2_vl, seed=26),
    "qwen2.5-vl": case(tiny_qwen2_5_vl, seed=33),
    "qwen2.5-vl-two": case(tiny_qwen2_5_vl, pictures=((50, 40), (31, 57)), seed=29),
}
