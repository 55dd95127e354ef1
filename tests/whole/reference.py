"""What transformers answers to the prompts of tests/export/cases.py: logits, and greedy tokens."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backends.base import Array
from tests.export.cases import Case
from tests.export.checkpoints import IMAGE_PAD
from tests.export.reference import processed, round_like_the_card

GOLDEN = Path(__file__).parent / "golden" / "transformers.npz"
NUM_TOKENS = 64
SMALLEST_LEAD = 0.02  # logits lie between -4 and 4, where neighbouring bf16 numbers are 0.0156 apart


@dataclass(frozen=True)
class Reference:
    """logits: (vocab,) float32 after the prompt, all in fp32
    tokens:  (64,) greedy, with bf16 where the card stores bf16
    lead:    the smallest lead of a chosen token over the next best, in logits; where it is below
    SMALLEST_LEAD the answer ends there, because from then on nobody can say what is right
    """

    logits: Array
    tokens: Array
    lead: float


def golden(name: str) -> tuple[Array, Array]:
    """The kept logits and tokens of a case."""
    with np.load(GOLDEN) as arrays:
        return arrays[f"{name}/logits"], arrays[f"{name}/tokens"]


def reference(case: Case, checkpoint: Path) -> Reference:
    import torch

    with torch.no_grad():
        model, inputs = _loaded(case, checkpoint, rounded=False)
        logits = model(**inputs).logits[0, -1].numpy()
        model, inputs = _loaded(case, checkpoint, rounded=True)
        cache, answer = inputs["past_key_values"], model(**inputs)
        position = int(inputs["position_ids"].max()) + 1
        tokens, leads = [], []
        for step in range(NUM_TOKENS):
            best = answer.logits[0, -1].topk(2)
            tokens.append(int(best.indices[0]))
            leads.append(float(best.values[0] - best.values[1]))
            if leads[-1] < SMALLEST_LEAD:
                break
            positions = torch.full((*inputs["position_ids"].shape[:-1], 1), position + step)
            answer = model(
                input_ids=torch.tensor([tokens[-1:]]), position_ids=positions, past_key_values=cache
            )
    return Reference(logits, np.array(tokens), min(leads))


def _loaded(case: Case, checkpoint: Path, *, rounded: bool) -> tuple[Any, dict[str, Any]]:
    """A model and the inputs for the whole prompt of a case."""
    import torch
    from transformers import DynamicCache, Qwen3ForCausalLM, Qwen3VLForConditionalGeneration

    ids = torch.from_numpy(case.token_ids())[None]
    if not case.num_pictures:
        model = Qwen3ForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()
        decoder = model.model
        inputs = {"input_ids": ids, "position_ids": torch.arange(ids.shape[1])[None]}
    else:
        model = Qwen3VLForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32).eval()
        decoder = model.model.language_model
        pixels, grid = processed(case, checkpoint)
        marks = (ids == IMAGE_PAD).long()
        positions, _ = model.model.get_rope_index(ids, mm_token_type_ids=marks, image_grid_thw=grid)
        inputs = {
            "input_ids": ids,
            "position_ids": positions,
            "pixel_values": pixels,
            "image_grid_thw": grid,
            "mm_token_type_ids": marks,
        }
    cache = round_like_the_card(decoder) if rounded else DynamicCache(config=decoder.config)
    return model, inputs | {"past_key_values": cache}
