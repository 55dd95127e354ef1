"""What transformers answers to the prompts of tests/export/cases.py: logits, and greedy tokens."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backends.base import Array
from tests.export.cases import FRAMES, PATCH, Case
from tests.export.checkpoints import IMAGE_PAD, VIDEO_PAD
from tests.export.reference import processed, round_like_the_card
from tests.whole.cases import VideoCase

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
    return answered(*_loaded(case, checkpoint))


def answered(model: Any, decoder: Any, inputs: dict[str, Any]) -> Reference:
    """What a model, whose language model is `decoder`, says to a whole prompt. `inputs` have position ids;
    the model is left rounded."""
    import torch
    from transformers import DynamicCache

    with torch.no_grad():
        cache = DynamicCache(config=decoder.config)
        logits = model(**inputs, past_key_values=cache).logits[0, -1].numpy()
        cache = round_like_the_card(decoder)
        answer = model(**inputs, past_key_values=cache)
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


def _loaded(case: Case, checkpoint: Path) -> tuple[Any, Any, dict[str, Any]]:
    """A model, its language model, and the inputs for the whole prompt of a case."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    ids = torch.from_numpy(case.token_ids())[None]
    if not case.num_pictures:
        model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()
        inputs = {"input_ids": ids, "position_ids": torch.arange(ids.shape[1])[None]}
        return model, model.model, inputs
    model = AutoModelForImageTextToText.from_pretrained(checkpoint, dtype=torch.float32).eval()
    inputs = _seen_video(case, checkpoint) if isinstance(case, VideoCase) else _seen(case, checkpoint)
    grids = {name: grid for name, grid in inputs.items() if not name.startswith("pixel")}
    marks = (ids == IMAGE_PAD).long() + 2 * (ids == VIDEO_PAD)
    positions, _ = model.model.get_rope_index(ids, mm_token_type_ids=marks, **grids)
    inputs |= {"input_ids": ids, "position_ids": positions, "mm_token_type_ids": marks}
    return model, model.model.language_model, inputs


def _seen(case: Case, checkpoint: Path) -> dict[str, Any]:
    pixels, grid = processed(case.pictures(), checkpoint)
    return {"pixel_values": pixels, "image_grid_thw": grid}


def _seen_video(case: VideoCase, checkpoint: Path) -> dict[str, Any]:
    """What Qwen2VLVideoProcessor makes of frames, which needs torchvision to be there: the patches of frames
    that follow each other side by side, where a picture has its own patch twice."""
    import torch

    frames = case.frames()
    frames = np.concatenate([frames, frames[-1:].repeat(-len(frames) % FRAMES, axis=0)])
    pixels, grid = processed(frames, checkpoint)
    single = pixels.reshape(case.num_groups, FRAMES, -1, 3, FRAMES, PATCH**2)[..., 0, :]
    joined = single.permute(0, 2, 3, 1, 4).reshape(-1, 3 * FRAMES * PATCH**2)
    found = {
        "pixel_values_videos": joined,
        "video_grid_thw": torch.tensor([[case.num_groups, *grid[0, 1:].tolist()]]),
    }
    if case.family == "qwen2_5_vl":
        found["second_per_grid_ts"] = torch.tensor([FRAMES / (case.num_frames / case.duration_s)])
    return found
