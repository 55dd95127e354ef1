"""Tiny packages, exported once per test run, and cards to run them on."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from backends.axcl.backend import AxclBackend
from backends.axcl.package import Package, open_package
from backends.emulator import Emulator
from backends.export import ExportOptions, export_package
from tests.export.checkpoints import tiny_qwen3_vl, tiny_text

VOCAB = 768
DEMO_CHECKPOINT = Path(__file__).parents[1] / "gateway" / "demo" / "checkpoint"
CONTEXT, CHUNK, HISTORIES = 63, 8, (8, 16, 24)
OPTIONS = ExportOptions(kv_cache_len=CONTEXT, prefill_len=CHUNK, histories=HISTORIES)


def no_progress(*_: object) -> None:
    pass


@cache
def vision_package() -> Package:
    """A Qwen3-VL of four layers with two deepstack levels; pictures are 32×32 and take four tokens."""
    return exported(tiny_qwen3_vl(new_folder() / "checkpoint", vocab_size=VOCAB, tied=False))


@cache
def text_package() -> Package:
    """A Qwen3 of three layers."""
    return exported(tiny_text(new_folder() / "checkpoint", vocab_size=VOCAB, tied=False))


def exported(checkpoint: Path, options: ExportOptions = OPTIONS) -> Package:
    """The package of a checkpoint of tiny size, beside it, with the demo model's tokenizer."""
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(DEMO_CHECKPOINT / name, checkpoint)
    export_package(checkpoint, checkpoint.with_name("package"), options, no_progress)
    return open_package(checkpoint.with_name("package"))


def new_folder() -> Path:
    return Path(mkdtemp(prefix="axgate-test-"))


@contextmanager
def opened(card: Emulator) -> Iterator[AxclBackend]:
    """A backend on `card`, closed at the end."""
    backend = AxclBackend(card)
    try:
        yield backend
    finally:
        backend.close()


def free_bytes(backend: AxclBackend) -> int:
    """What the emulated card has left, which the backend must know without asking it."""
    (card,) = backend._runtime._rt._process.cards.values()
    assert backend.free_bytes == card.memory.free_bytes
    return int(card.memory.free_bytes)
