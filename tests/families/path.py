"""A case's own way: its checkpoint, its package, the encoder the registry finds for it, and its prompts."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image

from backends.axcl.package import Package, open_package
from backends.base import TensorSpec
from backends.export import export_package
from gateway.chat.content import Message
from gateway.chat.template import ChatTemplate
from gateway.chat.tokenizer import Tokenizer
from gateway.chat.writer import PromptWriter
from gateway.engine.prompt import Prompt
from gateway.vision.encoder import VisionEncoder
from gateway.vision.registry import Entry, Registry
from tests.families.case import FamilyCase
from tests.families.cases import CASES
from tests.families.expected import spec
from tests.packages import new_folder, no_progress

CONTEXT, HISTORY = 191, 144
ROOM = 100_000  # more tokens than any conversation has


@cache
def checkpoint(name: str) -> Path:
    folder = new_folder() / "checkpoint"
    CASES[name].write_checkpoint(folder, CASES[name].seed)
    return folder


@cache
def package(name: str, chunk: int) -> Package:
    """With prefill calls of `chunk` positions."""
    histories = tuple(range(chunk, HISTORY + 1, chunk))
    options = replace(CASES[name].options, kv_cache_len=CONTEXT, prefill_len=chunk, histories=histories)
    folder = new_folder() / "package"
    export_package(checkpoint(name), folder, options, no_progress)
    return open_package(folder)


def chosen(case: FamilyCase, prefix: str, graph_input: TensorSpec) -> VisionEncoder[Any]:
    """The encoder for a package, as a registry that knows nothing but the case's entry finds it."""
    return Registry((Entry("tiny", spec(case)),)).find(prefix, graph_input)


def prompt(
    encoder: VisionEncoder[Any], tokenizer: Path, messages: Sequence[Message], pictures: Sequence[Image.Image]
) -> Prompt:
    """What chat makes of a conversation with the tokenizer and the chat template of a folder."""
    words = Tokenizer.load(tokenizer)
    template = ChatTemplate.load(tokenizer, words.special_tokens)
    writer = PromptWriter("tiny", words, template, encoder, ROOM, ROOM)
    return writer.finish(writer.draft(messages), [encoder.prepare(picture) for picture in pictures])
