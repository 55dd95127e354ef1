"""The demo checkpoints: transformers loads them and computes what their twins compute."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import pytest

from tests.training.checkpoints import DIALECTS, FOLDERS, widened
from training.examples import Example, examples
from training.questions import Question
from training.rows import GRID

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("default")]

CLASSES = {
    "qwen3_vl": "Qwen3VLForConditionalGeneration",
    "internvl": "InternVLForConditionalGeneration",
    "smolvlm": "SmolVLMForConditionalGeneration",
}


class Loaded:
    """A family's checkpoint folder as transformers has it."""

    def __init__(self, family: str) -> None:
        import torch
        import transformers

        self.family, self.dialect, self.folder = family, DIALECTS[family], FOLDERS[family]
        model, self.report = getattr(transformers, CLASSES[family]).from_pretrained(
            self.folder, dtype=torch.float32, output_loading_info=True
        )
        self.model = model.eval()
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(self.folder)

    def seen(self, example: Example) -> dict[str, Any]:
        """The pictures as the family's own processor gives them."""
        from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
        from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
        from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

        pictures = list(example.pictures)
        if self.family == "qwen3_vl":
            given = Qwen2VLImageProcessorPil.from_pretrained(self.folder)(pictures, return_tensors="pt")
            return {"pixel_values": given["pixel_values"], "image_grid_thw": given["image_grid_thw"]}
        if self.family == "internvl":
            given = GotOcr2ImageProcessorPil.from_pretrained(self.folder)(pictures, return_tensors="pt")
            return {"pixel_values": given["pixel_values"]}
        given = SmolVLMImageProcessorPil.from_pretrained(self.folder)([pictures], return_tensors="pt")
        return {
            "pixel_values": given["pixel_values"],
            "pixel_attention_mask": given["pixel_attention_mask"],
        }

    def inputs(self, example: Example, question: Question) -> tuple[dict[str, Any], Any]:
        """What transformers takes, and which of the tokens are a picture's."""
        import torch

        content = [{"type": "image"}] * len(example.pictures) + [{"type": "text", "text": question.text}]
        chat = [{"role": "user", "content": content}]
        text = self.tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        ids = self.tokenizer(widened(self.family, text), return_tensors="pt").input_ids
        is_picture = (ids == self.tokenizer.convert_tokens_to_ids(self.dialect.placeholder)).long()
        given = {"input_ids": ids, "attention_mask": torch.ones_like(ids), **self.seen(example)}
        if self.family == "qwen3_vl":
            given["mm_token_type_ids"] = is_picture
        return given, is_picture

    def positions(self, is_picture: list[int]) -> Any:
        """The three rows of positions of a prompt, (3, 1, tokens)."""
        import torch

        if not self.dialect.square_positions:
            return torch.arange(len(is_picture)).expand(3, 1, -1)
        found: list[tuple[int, int, int]] = []
        at, k = 0, 0
        for picture in is_picture:
            found.append((at, at + k // GRID, at + k % GRID) if picture else (at, at, at))
            k = (k + 1) % GRID**2 if picture else 0
            at += (GRID if k == 0 else 0) if picture else 1
        return torch.tensor(found).T[:, None]


@pytest.fixture(scope="module", params=list(FOLDERS))
def loaded(request: pytest.FixtureRequest) -> Loaded:
    return Loaded(request.param)


def test_transformers_finds_every_weight_and_no_other(loaded: Loaded) -> None:
    assert not loaded.report["missing_keys"]
    assert not loaded.report["unexpected_keys"]
    assert not loaded.report["mismatched_keys"]


@pytest.mark.parametrize("kind", ["shape", "text", "pair"])
def test_transformers_and_the_twin_give_the_same_logits(loaded: Loaded, kind: Any) -> None:
    import torch

    from training.checkpoint import load
    from training.vision import patches

    twin = load(loaded.folder)
    for example in islice(examples(77, kind), 3):
        given, is_picture = loaded.inputs(example, example.questions[0])
        length = is_picture.shape[1]
        seen = patches(torch.from_numpy(np.stack([np.array(picture) for picture in example.pictures])))
        pictures = torch.where(is_picture > 0, is_picture.cumsum(1), 0)
        mask = torch.full((1, 1, length, length), -1e9).triu(1)
        with torch.no_grad():
            theirs = loaded.model(**given).logits
            hidden, _ = twin.hidden(
                given["input_ids"], seen, pictures, loaded.positions(is_picture[0].tolist()), mask
            )
            ours = twin.logits(hidden)
        assert float((theirs - ours).abs().max()) < 1e-3


def test_transformers_answers_as_the_examples_say(loaded: Loaded) -> None:
    right = asked = 0
    for example in islice(examples(78, "shape"), 6):
        for question in example.questions[:4]:
            given, _ = loaded.inputs(example, question)
            written = loaded.model.generate(**given, max_new_tokens=60)[0, given["input_ids"].shape[1] :]
            answer = loaded.tokenizer.decode(written, skip_special_tokens=True)
            right += answer == loaded.dialect.lead + question.answer
            asked += 1
    assert right >= asked * 0.9
