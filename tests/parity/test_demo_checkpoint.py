"""The demo checkpoint is a Qwen3-VL checkpoint: transformers loads it and computes what its twin computes."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training.examples import Example, examples
from training.questions import Question
from training.rows import GRID

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("default")]

CHECKPOINT = Path(__file__).parents[2] / "gateway" / "demo" / "checkpoint"


@pytest.fixture(scope="module")
def loaded() -> tuple[Any, dict[str, Any]]:
    import torch
    import transformers

    model, report = transformers.Qwen3VLForConditionalGeneration.from_pretrained(
        CHECKPOINT, dtype=torch.float32, output_loading_info=True
    )
    return model.eval(), report


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    import transformers

    return transformers.AutoTokenizer.from_pretrained(CHECKPOINT)


def inputs(tokenizer: Any, example: Example, question: Question) -> dict[str, Any]:
    """What transformers takes: the template's text with every marker widened, and the processor's patches."""
    import torch
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    content = [{"type": "image"}] * len(example.pictures) + [{"type": "text", "text": question.text}]
    chat = [{"role": "user", "content": content}]
    text = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    ids = tokenizer(text.replace("<|image_pad|>", "<|image_pad|>" * GRID**2), return_tensors="pt").input_ids
    processor = Qwen2VLImageProcessorPil.from_pretrained(CHECKPOINT)
    given = processor(images=list(example.pictures), return_tensors="pt")
    is_picture = (ids == tokenizer.convert_tokens_to_ids("<|image_pad|>")).long()
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "mm_token_type_ids": is_picture,
        "pixel_values": given["pixel_values"],
        "image_grid_thw": given["image_grid_thw"],
    }


def positions(is_picture: list[int]) -> Any:
    """The three rows of positions of a prompt, (3, 1, tokens)."""
    import torch

    found: list[tuple[int, int, int]] = []
    at, k = 0, 0
    for picture in is_picture:
        found.append((at, at + k // GRID, at + k % GRID) if picture else (at, at, at))
        k = (k + 1) % GRID**2 if picture else 0
        at += (GRID if k == 0 else 0) if picture else 1
    return torch.tensor(found).T[:, None]


def test_transformers_finds_every_weight_and_no_other(loaded: tuple[Any, dict[str, Any]]) -> None:
    _, report = loaded
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert not report["mismatched_keys"]


@pytest.mark.parametrize("kind", ["shape", "text", "pair"])
def test_transformers_and_the_twin_give_the_same_logits(
    loaded: tuple[Any, dict[str, Any]], tokenizer: Any, kind: Any
) -> None:
    import torch

    from training.checkpoint import load
    from training.vision import patches

    twin = load(CHECKPOINT)
    for example in islice(examples(77, kind), 3):
        given = inputs(tokenizer, example, example.questions[0])
        is_picture = given["mm_token_type_ids"]
        length = is_picture.shape[1]
        seen = patches(torch.from_numpy(np.stack([np.array(picture) for picture in example.pictures])))
        pictures = torch.where(is_picture > 0, is_picture.cumsum(1), 0)
        mask = torch.full((1, 1, length, length), -1e9).triu(1)
        with torch.no_grad():
            theirs = loaded[0](**given).logits
            hidden, _ = twin.hidden(
                given["input_ids"], seen, pictures, positions(is_picture[0].tolist()), mask
            )
            ours = twin.logits(hidden)
        assert float((theirs - ours).abs().max()) < 1e-3


def test_transformers_answers_as_the_examples_say(loaded: tuple[Any, dict[str, Any]], tokenizer: Any) -> None:
    right = asked = 0
    for example in islice(examples(78, "shape"), 6):
        for question in example.questions[:4]:
            given = inputs(tokenizer, example, question)
            written = loaded[0].generate(**given, max_new_tokens=60)[0, given["input_ids"].shape[1] :]
            right += tokenizer.decode(written, skip_special_tokens=True) == question.answer
            asked += 1
    assert right >= asked * 0.9
