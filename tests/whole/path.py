"""The whole path below HTTP: checkpoint, export, emulated card, encoder, sessions, scheduler, decode loop."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any

import numpy as np
from PIL import Image

from backends.axcl.backend import AxclBackend
from backends.axcl.decoder import AxclDecoder
from backends.axcl.layers import KvWrite
from backends.axcl.package import Package
from backends.base import Array, Hidden, TensorSpec
from backends.emulator import Emulator
from gateway.chat.expand import expand
from gateway.engine.engine import Engine
from gateway.engine.prompt import Identity, Output, Prompt, Request, SamplingParams
from gateway.engine.session import SessionStore
from gateway.vision.cache import FeatureCache
from gateway.vision.encoder import Features, Pixels, VisionEncoder
from gateway.vision.positions import text_positions
from gateway.vision.qwen2_vl import Qwen2VL
from gateway.vision.qwen3_vl import Qwen3VL
from tests.export.cases import FRAMES, MERGE, PATCH, Case
from tests.export.checkpoints import IMAGE_PAD, VIDEO_PAD
from tests.packages import exported, new_folder, opened
from tests.whole.cases import CASES, VideoCase

CONTEXT, HISTORY = 159, 112

FAMILIES: dict[str, type[VisionEncoder[Any]]] = {
    "qwen2_vl": Qwen2VL,
    "qwen2_5_vl": Qwen2VL,
    "qwen3_vl": Qwen3VL,
}
"""By `Case.family`."""


@cache
def package(name: str, chunk: int) -> Package:
    """The package of a case of tests/whole/cases.py, with prefill calls of `chunk` positions."""
    case = CASES[name]
    histories = tuple(range(chunk, HISTORY + 1, chunk))
    options = replace(case.options("keep"), kv_cache_len=CONTEXT, prefill_len=chunk, histories=histories)
    return exported(case.write_checkpoint(new_folder() / "checkpoint"), options)


def encoder(case: Case) -> VisionEncoder[Any]:
    rows, columns = case.picture_size
    family = FAMILIES[case.family]
    values: dict[str, Any] = {
        "family": family.family,
        "prefixes": ("tiny",),
        "marker": "<|image_pad|>",
        "placeholder": "<|image_pad|>",
        "width": columns,
        "height": rows,
        "patch_size": PATCH,
        "temporal_patch_size": FRAMES,
        "merge_size": MERGE,
        "resample": "bicubic",
        "video": {
            "marker": "<|video_pad|>",
            "placeholder": "<|video_pad|>",
            "fps": 2.0,
            "max_frames": 8,
        },
    }
    if case.family == "qwen2_5_vl":
        values["tokens_per_second"] = 2
    spec = family.spec_type.model_validate(values)
    return family("tiny", spec, spec.inputs[0])


def prompt(case: Case, pictures: Array | None = None) -> Prompt:
    """The case's prompt, from its token ids with one marker a picture; other pictures may be put in."""
    ids = case.token_ids().tolist()
    if not case.num_pictures:
        return Prompt(np.array(ids), text_positions(len(ids)), ())
    family = encoder(case)
    if isinstance(case, VideoCase):
        start, visual = ids.index(VIDEO_PAD), family.prepare_video(case.video())
        markers = [*ids[:start], *[VIDEO_PAD] * case.num_groups, *ids[start + ids.count(VIDEO_PAD) :]]
        return expand(markers, {VIDEO_PAD}, [visual], family)
    markers = [id for place, id in enumerate(ids) if id != IMAGE_PAD or ids[place - 1] != IMAGE_PAD]
    chosen = case.pictures() if pictures is None else pictures
    visuals = [family.prepare(Image.fromarray(picture)) for picture in chosen]
    return expand(markers, {IMAGE_PAD}, visuals, family)


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
    encoder: VisionEncoder[Any] | None
    encode: Callable[[Pixels], Features] | None
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
    """That of a case of tests/whole/cases.py."""
    with running(package(name, chunk), lambda _: encoder(CASES[name]), kv_write, max_sessions) as found:
        yield found


@contextmanager
def running(
    files: Package,
    choose: Callable[[TensorSpec], VisionEncoder[Any]],
    kv_write: KvWrite = KvWrite.DIRECT,
    max_sessions: int = 4,
) -> Iterator[Path]:
    """That of any package; `choose` is told what its vision graph takes."""
    card = Emulator()
    with opened(card) as backend:
        encoder = encode = None
        if files.vision is not None:
            graph = backend.graph(files.vision)
            encoder = choose(graph.inputs[0])
            encoder.load(files.folder)
            encode = partial(encoder.encode, graph)
        decoder = backend.decoder(files, kv_write)
        sessions = SessionStore(decoder, max_sessions, 64 << 20)
        engine = Engine(decoder, encode, sessions, FeatureCache(1 << 20))
        found = Path(card, backend, decoder, engine, encoder, encode)
        compute = decoder.logits

        def watched(hidden: Hidden) -> Array:
            found.logits.append(compute(hidden))
            return found.logits[-1]

        decoder.logits = watched  # type: ignore[method-assign]
        yield found
