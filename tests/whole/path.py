"""The whole path below HTTP: checkpoint, export, emulated card, encoder, sessions, scheduler, decode loop."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, partial

import numpy as np
from PIL import Image

from backends.axcl.backend import AxclBackend
from backends.axcl.decoder import AxclDecoder
from backends.axcl.layers import KvWrite
from backends.axcl.package import Package
from backends.base import Array, Hidden
from backends.emulator import Emulator
from gateway.chat.expand import expand
from gateway.engine.engine import Engine
from gateway.engine.prompt import Identity, Output, Prompt, Request, SamplingParams, text_positions
from gateway.engine.session import SessionStore
from gateway.vision.cache import FeatureCache
from gateway.vision.qwen3_vl import Qwen3VL
from gateway.vision.spec import VisionSpec
from tests.export.cases import FRAMES, MERGE, PATCH, Case
from tests.export.checkpoints import IMAGE_PAD
from tests.packages import exported, new_folder, opened
from tests.whole.cases import CASES

CONTEXT, HISTORY = 159, 112


@cache
def package(name: str, chunk: int) -> Package:
    """The package of a case of tests/whole/cases.py, with prefill calls of `chunk` positions."""
    case = CASES[name]
    histories = tuple(range(chunk, HISTORY + 1, chunk))
    options = replace(case.options("keep"), kv_cache_len=CONTEXT, prefill_len=chunk, histories=histories)
    return exported(case.write_checkpoint(new_folder() / "checkpoint"), options)


def encoder(case: Case) -> Qwen3VL:
    rows, columns = case.picture_size
    return Qwen3VL(
        VisionSpec(
            name="tiny",
            family="qwen3_vl",
            prefix="qwen3_vl_text",
            width=columns,
            height=rows,
            patch_size=PATCH,
            temporal_patch_size=FRAMES,
            merge_size=MERGE,
            resample="bicubic",
            marker="<|image_pad|>",
        )
    )


def prompt(case: Case, pictures: Array | None = None) -> Prompt:
    """The case's prompt, from its token ids with one marker a picture; other pictures may be put in."""
    ids = case.token_ids().tolist()
    if not case.num_pictures:
        return Prompt(np.array(ids), text_positions(len(ids)), ())
    markers = [id for place, id in enumerate(ids) if id != IMAGE_PAD or ids[place - 1] != IMAGE_PAD]
    family = encoder(case)
    chosen = case.pictures() if pictures is None else pictures
    return expand(
        markers, IMAGE_PAD, [family.prepare(Image.fromarray(picture)) for picture in chosen], family
    )


def continued(asked: Prompt, token_ids: Sequence[int]) -> Prompt:
    """The prompt with more text behind it."""
    more = np.arange(len(token_ids), dtype=np.uint32) + asked.next_position
    return Prompt(
        np.concatenate([asked.token_ids, np.array(token_ids, np.int64)]),
        np.concatenate([asked.positions, np.tile(more, (3, 1))], axis=1),
        asked.images,
    )


@dataclass
class Path:
    """An engine on an emulated card. `logits` gathers every row the sampler was given."""

    card: Emulator
    backend: AxclBackend
    decoder: AxclDecoder
    engine: Engine
    logits: list[Array] = field(default_factory=list)

    def say(self, *prompts: Prompt, num_tokens: int = 16, name: str | None = None) -> list[list[int]]:
        """What the prompts are answered, greedily and all at once."""
        sampling = SamplingParams(num_tokens, temperature=0)
        for index, asked in enumerate(prompts):
            self.engine.submit(Request(str(index), asked, sampling, Identity(name=name)))
        said: list[list[int]] = [[] for _ in prompts]
        while not self.engine.idle:
            for output in self.engine.step():
                assert isinstance(output, Output), output
                assert output.token_id is not None
                said[int(output.request_id)].append(output.token_id)
        return said


@contextmanager
def path(
    name: str, chunk: int = 16, kv_write: KvWrite = KvWrite.DIRECT, max_sessions: int = 4
) -> Iterator[Path]:
    card, files = Emulator(), package(name, chunk)
    with opened(card) as backend:
        encode = partial(encoder(CASES[name]).encode, backend.graph(files.vision)) if files.vision else None
        decoder = backend.decoder(files, kv_write)
        sessions = SessionStore(decoder, max_sessions, 64 << 20)
        found = Path(card, backend, decoder, Engine(decoder, encode, sessions, FeatureCache(1 << 20)))
        compute = decoder.logits

        def watched(hidden: Hidden) -> Array:
            found.logits.append(compute(hidden))
            return found.logits[-1]

        decoder.logits = watched  # type: ignore[method-assign]
        yield found
