"""Models whose vision graph is not exported, with one in its place that has the right shape and computes
little: what a package has to look like, found by the built-in entries and driven to the logits."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from backends.axcl.package import Package, open_package
from backends.base import Array, TensorSpec
from backends.export import export_package
from backends.export.graph import GraphBuilder
from gateway.chat.content import ImagePart, Message, TextPart
from gateway.chat.template import ChatTemplate
from gateway.chat.tokenizer import Tokenizer
from gateway.chat.writer import PromptWriter
from gateway.engine.prompt import Prompt
from gateway.vision.encoder import VisionEncoder
from gateway.vision.registry import Registry
from tests.export.backbones import CASES as BACKBONES
from tests.export.backbones import HIDDEN, OPTIONS, language_model
from tests.export.reference import round_like_the_card
from tests.families.tokenizer import VOCAB, tiny_tokenizer, write_tokenizer
from tests.packages import new_folder, no_progress
from tests.vision.pictures import pattern
from tests.whole.path import Path as Whole
from tests.whole.path import running

GOLDEN = Path(__file__).parent / "golden" / "stand_in.npz"
TEMPLATES = Path(__file__).parents[2] / "gateway" / "chat" / "templates"
ROW = 1000  # pixel values that a row of features is made of


@dataclass(frozen=True)
class StandIn:
    """`backbone` is a case of tests/export/backbones.py, `vision` the vision graph's file, and `graph_input`
    what it takes; `entry` is the one that is found."""

    backbone: str
    template: str
    special: tuple[str, ...]
    vision: str
    graph_input: TensorSpec
    num_rows: int
    entry: str
    picture: tuple[int, int] = (50, 40)

    def write(self, folder: Path) -> None:
        """Checkpoint and package in `folder`."""
        case, tokenizer = replace(BACKBONES[self.backbone], vocab_size=VOCAB), tiny_tokenizer(self.special)
        case.write_checkpoint(folder / "checkpoint")
        source = (TEMPLATES / f"{self.template}.jinja").read_text("utf-8")
        write_tokenizer(folder / "checkpoint", tokenizer, source, {})
        export_package(folder / "checkpoint", folder / "package", OPTIONS, no_progress)
        self.graph().save(folder / "package" / self.vision)

    def graph(self) -> GraphBuilder:
        """The first ROW values of the pixels make the first row of features, and so on."""
        graph = GraphBuilder("vision")
        pixels = graph.load(self.graph_input.name, self.graph_input.dtype, self.graph_input.shape)
        flat = graph.reshape(pixels, [-1], "flat")
        start, end = (
            graph.constant("start", np.array([0])),
            graph.constant("end", np.array([self.num_rows * ROW])),
        )
        rows = graph.reshape(graph.node("Slice", flat, start, end, name="used"), [self.num_rows, ROW], "rows")
        graph.node("MatMul", rows, graph.constant("matrix", self.matrix()), name="features")
        graph.output("features", "float32", [self.num_rows, HIDDEN])
        return graph

    def matrix(self) -> Array:
        size = 100 if self.graph_input.dtype == "uint8" else 1
        found = np.random.default_rng(7).standard_normal((ROW, HIDDEN), dtype=np.float32)
        return found / np.float32(size * ROW**0.5)


CASES = {
    "FastVLM": StandIn(
        "FastVLM, as published",
        "fastvlm",
        ("<image>",),
        "image_encoder_512x512.axmodel",
        TensorSpec("images", "uint8", (1, 512, 512, 3)),
        64,
        "fastvlm-512",
    ),
    "DeepSeek-OCR": StandIn(
        "DeepSeek-OCR",
        "deepseek-ocr",
        ("<image>",),
        "deepseek_ocr_vision.axmodel",
        TensorSpec("image", "float32", (1, 3, 512, 512)),
        73,
        "deepseek-ocr-tiny",
    ),
}


@cache
def folder(name: str) -> Path:
    made = new_folder()
    CASES[name].write(made)
    return made


@contextmanager
def path(name: str) -> Iterator[tuple[Package, Whole]]:
    files = open_package(folder(name) / "package")

    def choose(graph_input: TensorSpec) -> VisionEncoder[Any]:
        return Registry.load().find(files.prefix, graph_input, files.added_tokens)

    with running(files, choose) as found:
        yield files, found


def question(name: str, files: Package, found: Whole) -> Prompt:
    """About one picture, made with the package's own tokenizer."""
    assert found.encoder is not None
    words = Tokenizer.load(files.tokenizer)
    template = ChatTemplate.load(files.tokenizer, words.special_tokens)
    writer = PromptWriter(name, words, template, found.encoder, 255, 255)
    draft = writer.draft([Message("user", (ImagePart("", ""), TextPart("what is it?")))])
    return writer.finish(draft, [found.encoder.prepare(pattern(*CASES[name].picture))])


def expected(name: str, asked: Prompt) -> Array:
    """(vocab,) float32 after the prompt, by transformers, with the features where the placeholders are."""
    import torch

    case = CASES[name]
    (image,) = asked.images
    values = image.pixels.data.astype(np.float32).reshape(-1)[: case.num_rows * ROW]
    features = values.reshape(case.num_rows, ROW) @ case.matrix()
    with torch.no_grad():
        model = language_model(BACKBONES[case.backbone], folder(name) / "checkpoint")
        cache = round_like_the_card(model.model)
        embeds = model.model.embed_tokens(torch.from_numpy(asked.token_ids)[None])
        embeds[0, image.span.start : image.span.stop] = torch.from_numpy(features)
        found: Array = model(inputs_embeds=embeds, past_key_values=cache).logits[0, -1].numpy()
    return found
