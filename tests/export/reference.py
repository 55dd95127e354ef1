"""What transformers computes for a case, for the golden files and for tests that compare with it directly.

It runs in fp32 and rounds to bf16 wherever the card stores bf16: between layers, and K and V. With these
roundings alike, what remains is the arithmetic in between, and that can be compared closely.
"""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from backends.base import Array
from tests.export.cases import Case
from tests.export.checkpoints import IMAGE_PAD
from tests.export.expected import Expected


def expected(case: Case, checkpoint: Path) -> Expected:
    import torch

    with torch.no_grad():
        return _expected_text(case, checkpoint) if not case.num_pictures else _expected(case, checkpoint)


def _expected_text(case: Case, checkpoint: Path) -> Expected:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()
    cache = round_like_the_card(model.model)
    ids = torch.from_numpy(case.token_ids())[None]
    answer = model(input_ids=ids, past_key_values=cache)
    positions = np.tile(np.arange(ids.shape[1]), (3, 1))
    return Expected(
        positions, np.zeros((1, 0, model.config.hidden_size), np.float32), answer.logits[0].numpy()
    )


def _expected(case: Case, checkpoint: Path) -> Expected:
    import torch
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(checkpoint, dtype=torch.float32).eval()
    cache = round_like_the_card(model.model.language_model)
    pixels, grid = processed(case.pictures(), checkpoint)
    ids = torch.from_numpy(case.token_ids())[None]
    is_picture = (ids == IMAGE_PAD).long()
    seen = model.model.visual(pixels, grid_thw=grid)
    positions, _ = model.model.get_rope_index(ids, mm_token_type_ids=is_picture, image_grid_thw=grid)
    answer = model(
        input_ids=ids,
        pixel_values=pixels,
        image_grid_thw=grid,
        mm_token_type_ids=is_picture,
        past_key_values=cache,
    )
    features = torch.stack([seen.pooler_output, *getattr(seen, "deepstack_features", [])])
    return Expected(positions[:, 0].numpy(), features.numpy(), answer.logits[0].numpy())


def round_like_the_card(decoder: Any) -> Any:
    """Make every layer of a text model take and give bf16; returns a cache that holds bf16."""
    from transformers import DynamicCache

    class RoundedCache(DynamicCache):  # type: ignore[misc]  # transformers is not typed
        def update(self, key_states: Any, value_states: Any, *args: Any, **kwargs: Any) -> Any:
            return super().update(_rounded(key_states), _rounded(value_states), *args, **kwargs)

    for layer in decoder.layers:
        layer.register_forward_pre_hook(lambda _, inputs: (_rounded(inputs[0]), *inputs[1:]))
        layer.register_forward_hook(lambda *call: _rounded(call[-1]))
    return RoundedCache(config=decoder.config)


def processed(pictures: Array, checkpoint: Path) -> tuple[Any, Any]:
    """Pixel values and grids of pictures that have the right size."""
    import torch
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    processor = Qwen2VLImageProcessorPil.from_pretrained(checkpoint, do_resize=False)
    given = processor(images=[Image.fromarray(picture) for picture in pictures], return_tensors="np")
    return torch.from_numpy(given["pixel_values"]), torch.from_numpy(given["image_grid_thw"])


def _rounded(tensor: Any) -> Any:
    import torch

    return tensor.to(torch.bfloat16).to(torch.float32)
