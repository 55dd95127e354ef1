"""The demo's chat model around no engine at all."""

from typing import Any

import tokenizers

from backends.base import TensorSpec
from gateway.chat.generation import GenerationDefaults
from gateway.chat.media import MediaFetcher, MediaLimits
from gateway.chat.model import ChatModel
from gateway.chat.template import ChatTemplate
from gateway.chat.tokenizer import Tokenizer
from gateway.vision.encoder import VisionEncoder
from gateway.vision.registry import Registry
from tests.chat.conversations import DEMO

TOKENIZER = Tokenizer.load(DEMO)
ENCODER = Registry.load().find("qwen3_vl_text", TensorSpec("hidden_states", "uint8", (1, 144, 128, 3)))
NUM_IMAGE_TOKENS = 36
VOCAB_SIZE = tokenizers.Tokenizer.from_file(str(DEMO / "tokenizer.json")).get_vocab_size()


def model(
    context_length: int = 1024,
    encoder: VisionEncoder[Any] | None = ENCODER,
    template: str = "",
    max_pixels: int = 1_000_000,
    image_reach: int | None = None,
    allow_private: bool = True,
) -> ChatModel:
    return ChatModel(
        name="demo",
        tokenizer=TOKENIZER,
        template=ChatTemplate(template, {}) if template else ChatTemplate.load(DEMO, {}),
        encoder=encoder,
        media=MediaFetcher(MediaLimits(1_000_000, 1_000_000, timeout_s=5), allow_private),
        max_pixels=max_pixels,
        context_length=context_length,
        image_reach=image_reach or context_length,
        defaults=GenerationDefaults.load(DEMO, TOKENIZER, {}),
    )
