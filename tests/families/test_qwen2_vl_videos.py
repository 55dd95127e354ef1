"""Conversations with pictures and videos, as Qwen2-VL and Qwen2.5-VL are told them."""

from typing import Any

import pytest

from gateway.chat.content import ImagePart, Link, Message, TextPart, VideoPart
from gateway.chat.template import ChatTemplate
from gateway.chat.tokenizer import Tokenizer
from gateway.chat.writer import PromptWriter
from gateway.engine.prompt import Prompt
from gateway.vision.encoder import VisionEncoder
from gateway.vision.qwen2_vl import Qwen2VL, Qwen2VLSpec
from gateway.vision.video import Frame, Pace, Video
from tests.families.cases import CASES
from tests.families.path import ROOM, checkpoint
from tests.families.qwen2_vl import COLUMNS, MERGE, PATCH, ROWS
from tests.vision.pictures import pattern

PICTURE = ImagePart("", "")
VIDEO = VideoPart(Link("", ""), "", Pace())
CONVERSATION = (
    Message("user", (VIDEO, TextPart("what happens?"), PICTURE)),
    Message("assistant", (TextPart("it is red"),)),
    Message("user", (PICTURE, TextPart("and here?"), VIDEO)),
)
# Frames and seconds: the first is longer than it is wide, the second shorter than a step of time.
VIDEOS = [(5, 40.0), (4, 0.5)]
TOKENS_PER_SECOND = {"qwen2-vl": None, "qwen2.5-vl": 2}


def encoder(name: str) -> Qwen2VL:
    video = {"marker": "<|video_pad|>", "placeholder": "<|video_pad|>", "fps": 2.0, "max_frames": 8}
    entry = {**CASES[name].entry, "video": video, "tokens_per_second": TOKENS_PER_SECOND[name]}
    spec = Qwen2VLSpec.model_validate(entry)
    return Qwen2VL("tiny", spec, spec.inputs[0])


def prompt(name: str) -> Prompt:
    folder, one = checkpoint(name), encoder(name)
    words = Tokenizer.load(folder)
    erased: VisionEncoder[Any] = one
    template = ChatTemplate.load(folder, words.special_tokens)
    writer = PromptWriter("tiny", words, template, erased, ROOM, ROOM)
    videos = [
        Video(tuple(Frame(pattern(50 + place, 40), 0.0) for place in range(number)), duration_s)
        for number, duration_s in VIDEOS
    ]
    first, last = map(one.prepare_video, videos)
    visuals = [first, one.prepare(pattern(9, 9)), one.prepare(pattern(8, 8)), last]
    return writer.finish(writer.draft(CONVERSATION), visuals)


@pytest.mark.parametrize("name", TOKENS_PER_SECOND)
def test_a_video_is_one_block_between_start_and_end(name: str) -> None:
    rows, columns = encoder(name).spec.grid
    image, pair = ("<|" + word + "_pad|>" for word in ("image", "video"))
    image, pair = image * (rows * columns), pair * (rows * columns)
    text = (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        f"<|im_start|>user\n<|vision_start|>{pair * 3}<|vision_end|>what happens?"
        f"<|vision_start|>{image}<|vision_end|><|im_end|>\n"
        "<|im_start|>assistant\nit is red<|im_end|>\n"
        f"<|im_start|>user\n<|vision_start|>{image}<|vision_end|>and here?"
        f"<|vision_start|>{pair * 2}<|vision_end|><|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    asked = prompt(name)
    assert asked.token_ids.tolist() == Tokenizer.load(checkpoint(name)).encode(text)
    assert len(asked.images) == 7


@pytest.mark.parity
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", TOKENS_PER_SECOND)
def test_token_ids_and_positions_are_those_of_transformers(name: str) -> None:
    import torch
    from transformers import AutoModelForImageTextToText, PreTrainedTokenizerFast

    told = [{"role": each.role, "content": [plain(part) for part in each.content]} for each in CONVERSATION]
    tokenizer = PreTrainedTokenizerFast.from_pretrained(checkpoint(name))
    pieces = tokenizer.apply_chat_template(told, tokenize=False, add_generation_prompt=True)
    rows, columns = ROWS // PATCH, COLUMNS // PATCH
    image_grids = torch.tensor([[1, rows, columns]] * 2)
    video_grids = torch.tensor([[-(-number // 2), rows, columns] for number, _ in VIDEOS])
    for word, grids in (("image", image_grids), ("video", video_grids)):
        for grid in grids:
            pads = "<|pad|>" * (int(grid.prod()) // MERGE**2)
            pieces = pieces.replace(f"<|{word}_pad|>", pads, 1)
        pieces = pieces.replace("<|pad|>", f"<|{word}_pad|>")
    ids = tokenizer(pieces, return_tensors="pt")["input_ids"]
    model = AutoModelForImageTextToText.from_pretrained(checkpoint(name))
    seconds = [2 / (number / duration_s) for number, duration_s in VIDEOS]
    given = {"second_per_grid_ts": torch.tensor(seconds)} if TOKENS_PER_SECOND[name] else {}
    kinds = (ids == model.config.image_token_id).int() + 2 * (ids == model.config.video_token_id).int()
    positions, deltas = model.model.get_rope_index(
        ids, kinds, image_grid_thw=image_grids, video_grid_thw=video_grids, **given
    )
    asked = prompt(name)
    assert asked.token_ids.tolist() == ids[0].tolist()
    assert asked.positions.tolist() == positions[:, 0].tolist()
    assert asked.next_position == ids.shape[1] + int(deltas)


def plain(part: TextPart | ImagePart | VideoPart) -> dict[str, str]:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    return {"type": "image" if isinstance(part, ImagePart) else "video"}
