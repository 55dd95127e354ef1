"""Conversations with a video and a picture, as InternVL is told them and answers them."""

import re
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from backends.base import TensorSpec
from gateway.chat.content import ImagePart, Link, Message, TextPart, VideoPart
from gateway.chat.template import ChatTemplate
from gateway.chat.tokenizer import Tokenizer
from gateway.chat.writer import PromptWriter
from gateway.engine.prompt import Prompt
from gateway.vision.encoder import VisionEncoder
from gateway.vision.internvl import InternVL, InternVLSpec
from gateway.vision.video import Frame, Pace, Video
from tests.families.cases import CASES
from tests.families.internvl import EDGE, NUM_TOKENS
from tests.families.path import ROOM, checkpoint, package
from tests.vision.pictures import pattern
from tests.whole.path import running
from tests.whole.reference import answered
from tests.whole.test_whole_path import CHUNKS, LOGIT_BOUND

NAME = "internvl-qwen3-two"
VIDEO = {
    "marker": "<video>",
    "placeholder": "<IMG_CONTEXT>",
    "fps": 1.0,
    "max_frames": 4,
    "frame": "Frame{}: ",
}
CONVERSATION = (
    Message(
        "user",
        (
            TextPart("look: "),
            VideoPart(Link("", ""), "", Pace()),
            TextPart("what happens?"),
            ImagePart("", ""),
        ),
    ),
)
FRAMES = [(50, 40), (41, 63), (90, 20)]
PICTURE = (31, 57)


def encoder(graph_input: TensorSpec) -> InternVL:
    spec = InternVLSpec.model_validate({**CASES[NAME].entry, "video": VIDEO})
    return InternVL("tiny", spec, graph_input)


def prompt() -> Prompt:
    folder = checkpoint(NAME)
    one = encoder(InternVLSpec.model_validate(CASES[NAME].entry).inputs[0])
    erased: VisionEncoder[Any] = one
    words = Tokenizer.load(folder)
    writer = PromptWriter("tiny", words, ChatTemplate.load(folder, words.special_tokens), erased, ROOM, ROOM)
    frames = tuple(Frame(pattern(*size), float(place)) for place, size in enumerate(FRAMES))
    visuals = [one.prepare_video(Video(frames, 3.0)), one.prepare(pattern(*PICTURE))]
    return writer.finish(writer.draft(CONVERSATION), visuals)


def test_each_frame_has_a_line_and_a_number() -> None:
    tile = f"<img>{'<IMG_CONTEXT>' * NUM_TOKENS}</img>"
    text = (
        f"<|im_start|>user\nlook: Frame1: {tile}\nFrame2: {tile}\nFrame3: {tile}\nwhat happens?{tile}\n"
        "<|im_end|>\n<|im_start|>assistant\n"
    )
    assert prompt().token_ids.tolist() == Tokenizer.load(checkpoint(NAME)).encode(text)


@pytest.mark.parity
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("chunk", CHUNKS)
def test_token_ids_and_logits_are_those_of_transformers(chunk: int) -> None:
    import torch
    from transformers import InternVLProcessor
    from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

    reference, folder = CASES[NAME].reference, checkpoint(NAME)
    words = SimpleNamespace(
        start_image_token="<img>",
        end_image_token="</img>",
        image_token="<IMG_CONTEXT>",
        image_seq_length=NUM_TOKENS,
    )
    put = {
        "<video>": partial(
            InternVLProcessor.replace_video_token,
            words,
            {"pixel_values_videos": [np.zeros((len(FRAMES), 3, EDGE, EDGE))]},
        ),
        "<IMG_CONTEXT>": partial(InternVLProcessor.replace_image_token, words, {"num_patches": [1]}),
    }
    tokenizer = reference.tokenizer(folder)
    parts = [
        {"type": "text", "text": part.text}
        if isinstance(part, TextPart)
        else {"type": "video" if isinstance(part, VideoPart) else "image"}
        for part in CONVERSATION[0].content
    ]
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": parts}], tokenize=False, add_generation_prompt=True
    )
    text = re.sub("<video>|<IMG_CONTEXT>", lambda found: str(put[found[0]](0)), text)
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    pictures = [pattern(*size) for size in (*FRAMES, PICTURE)]
    pixels = GotOcr2ImageProcessorPil.from_pretrained(folder)(pictures, return_tensors="pt")["pixel_values"]
    inputs = {
        "input_ids": ids,
        "pixel_values": pixels,
        "position_ids": torch.arange(ids.shape[1])[None],
    }
    model = reference.model(folder)
    wanted = answered(model, reference.decoder(model), inputs).logits

    asked = prompt()
    assert asked.token_ids.tolist() == ids[0].tolist()
    with running(package(NAME, chunk), encoder) as found:
        found.say(asked, num_tokens=1)
    assert np.abs(found.logits[0] - wanted).max() <= LOGIT_BOUND * wanted.std()
