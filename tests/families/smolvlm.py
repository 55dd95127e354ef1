"""SmolVLM with tiny weights: one tile, a fixed grid, as many as a picture takes, and many in one run."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from backends.base import Array, TensorSpec
from backends.export import ExportOptions
from tests.export.checkpoints import IMAGE_MEAN, IMAGE_STD
from tests.export.smolvlm_checkpoint import tiny_smolvlm
from tests.families.case import FamilyCase, Inputs, Reference
from tests.families.tokenizer import VOCAB, tiny_tokenizer, write_tokenizer

EDGE, PATCH, MERGE = 32, 8, 2
PLACES = [f"<row_{row}_col_{column}>" for row in range(1, 4) for column in range(1, 4)]
SPECIAL = ["<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>", *PLACES]

# What the published SmolVLM2 checkpoints write.
TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{message['role'] | capitalize}}"
    "{% if message['content'][0]['type'] == 'image' %}{{':'}}{% else %}{{': '}}{% endif %}"
    "{% for line in message['content'] %}{% if line['type'] == 'text' %}{{line['text']}}"
    "{% elif line['type'] == 'image' %}{{ '<image>' }}"
    "{% elif line['type'] == 'video' %}{{ '<video>' }}{% endif %}{% endfor %}<end_of_utterance>\n"
    "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)


@dataclass(frozen=True)
class TinySmolVLM:
    """A checkpoint folder with tokenizer, template and processor."""

    model_type: str = "smolvlm"
    tiles: int = 1
    tile_size: int = EDGE
    patch_size: int = PATCH
    merge_size: int = MERGE
    tied: bool = False

    def __call__(self, folder: Path, seed: int) -> None:
        tokenizer = tiny_tokenizer(SPECIAL)
        image = tokenizer.token_to_id("<image>")
        assert image is not None
        tiny_smolvlm(
            folder,
            self.model_type,
            seed=seed,
            vocab_size=VOCAB,
            image_token_id=image,
            tile_size=self.tile_size,
            tiles=self.tiles,
            patch_size=self.patch_size,
            merge_size=self.merge_size,
            tied=self.tied,
        )
        write_tokenizer(folder, tokenizer, TEMPLATE, {})


class SmolVLMReference(Reference):
    """`canvas` is the edge of the square that pictures are stretched to before the processor sees them."""

    def __init__(self, num_tokens: int, canvas: int | None = None) -> None:
        self._num_tokens = num_tokens
        self._canvas = canvas

    def runs(self, folder: Path, picture: Image.Image, graph_input: TensorSpec) -> Sequence[Array]:
        kind: dict[str, Any] = {}
        if graph_input.dtype == "uint8":
            kind = {"do_rescale": False, "do_normalize": False}
        images = self._image_processor(folder)
        tiles = images(self._stretched(picture), return_tensors="np", **kind)["pixel_values"][0]
        if graph_input.dtype == "uint8":
            tiles = tiles.astype(np.uint8)
        if graph_input.shape[-1] == 3:
            tiles = tiles.transpose(0, 2, 3, 1)
        return [tile[np.newaxis] for tile in tiles]

    def inputs(self, folder: Path, text: str, pictures: Sequence[Image.Image]) -> Inputs:
        from transformers import SmolVLMProcessor

        num_tokens = self._num_tokens

        class Processor(SmolVLMProcessor):  # type: ignore[misc]  # transformers is not typed
            """Without the part for videos, which is there with torchvision only."""

            def __init__(self, image_processor: Any, tokenizer: Any) -> None:
                super().__init__(image_processor, tokenizer, None, image_seq_len=num_tokens)

        processor = Processor(self._image_processor(folder), self.tokenizer(folder))
        images = [self._stretched(picture) for picture in pictures] or None
        found = processor(images=images, text=text, return_tensors="pt")
        wanted = ("input_ids", "pixel_values", "pixel_attention_mask")
        return {key: found[key] for key in wanted if key in found}

    def features(self, model: Any, inputs: Inputs) -> Any:
        import torch

        found = model.model.get_image_features(inputs["pixel_values"], inputs["pixel_attention_mask"])
        return torch.cat(list(found.pooler_output))

    def decoder(self, model: Any) -> Any:
        return model.model.text_model

    def _stretched(self, picture: Image.Image) -> Image.Image:
        if self._canvas is None:
            return picture
        return picture.resize((self._canvas, self._canvas), Image.Resampling.LANCZOS)

    @staticmethod
    def _image_processor(folder: Path) -> Any:
        from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

        return SmolVLMImageProcessorPil.from_pretrained(folder)


class PatchesReference(SmolVLMReference):
    """One run for all tiles, whose pixels are kept as uint8 until the host embeds them."""

    def runs(self, folder: Path, picture: Image.Image, graph_input: TensorSpec) -> Sequence[Array]:
        pixels = TensorSpec("pixel_values", "uint8", (1, EDGE, EDGE, 3))
        return [np.concatenate(super().runs(folder, picture, pixels))]


def case(checkpoint: TinySmolVLM, grid: tuple[int, int] | None, **changes: Any) -> FamilyCase:
    """Pictures become `grid` tiles, or as many as their shape takes."""
    size, fixed = checkpoint.tile_size, grid is not None and grid != (1, 1)
    entry = {
        "family": "smolvlm",
        "prefixes": ("llama",),
        "marker": "<image>",
        "placeholder": "<image>",
        "video": {"marker": "<video>", "placeholder": "<image>", "fps": 1.0, "max_frames": 8},
        "channels": "rgb",
        "question": "<image>?",
        "tile_size": size,
        "patch_size": checkpoint.patch_size,
        "merge_size": checkpoint.merge_size,
        "longest_edge": None if fixed else size * checkpoint.tiles,
        "grid": grid,
        "resample": "lanczos",
        "mean": IMAGE_MEAN,
        "std": IMAGE_STD,
        "edge_token": "<fake_token_around_image>",
        "tile_token": "<row_{row}_col_{column}>",
        "global_token": "<global-img>",
    }
    num_tokens = (size // checkpoint.patch_size // checkpoint.merge_size) ** 2
    reference = SmolVLMReference(num_tokens, size * checkpoint.tiles if fixed else None)
    return replace(FamilyCase(entry, checkpoint, reference, ExportOptions()), **changes)


def patches(checkpoint: TinySmolVLM, num_tiles: int, **changes: Any) -> FamilyCase:
    found = case(checkpoint, None)
    entry = {**found.entry, "family": "smolvlm_patches", "num_tiles": num_tiles, "vision_size": 32}
    options = ExportOptions(vision_input="f32-patches")
    return replace(found, entry=entry, options=options, reference=PatchesReference(4), **changes)


F32 = ExportOptions(vision_input="f32-nchw")
PATCHES_LEFT_OVER = TinySmolVLM("idefics3", tile_size=38, patch_size=6, merge_size=3, tied=True)

CASES = {
    "smolvlm-u8": case(TinySmolVLM(), (1, 1), seed=8),
    "smolvlm-f32-two": case(TinySmolVLM(tied=True), (1, 1), options=F32, pictures=((50, 40), (31, 57))),
    "smolvlm-idefics3-u8": case(PATCHES_LEFT_OVER, (1, 1)),
    "smolvlm-2x2": case(TinySmolVLM(tiles=2), (2, 2), seed=13),
    "smolvlm-tiled-two": case(TinySmolVLM(tiles=3), None, pictures=((90, 50), (20, 90)), seed=10),
    "smolvlm-patches": patches(TinySmolVLM(tiles=2), 5, pictures=((90, 30), (40, 40)), seed=3),
}
