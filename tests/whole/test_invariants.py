"""However a prompt gets into the cache, the answer is the same, token for token."""

import numpy as np
import pytest

from backends.axcl.layers import KvWrite
from backends.base import Array
from gateway.engine.prompt import Identity, Prompt, PromptImage, Request, SamplingParams
from gateway.vision.layout import Span
from tests.packages import free_bytes
from tests.whole.cases import CASES
from tests.whole.path import continued, path, prompt

NAMES = ["text only", "two pictures"]
MORE = [301, 44, 260, 97, 411, 23, 150, 88, 330, 19, 205]
OTHER = [77, 402, 15, 66, 290]


def cold(name: str, *more: int, chunk: int = 16) -> list[int]:
    """The answer of a fresh engine to the case's prompt with more text behind it."""
    with path(name, chunk) as fresh:
        return fresh.say(continued(prompt(CASES[name]), more))[0]


@pytest.mark.parametrize("name", NAMES)
def test_a_reused_prefix_answers_as_a_cold_start(name: str) -> None:
    with path(name) as found:
        asked = prompt(CASES[name])
        first = found.say(asked)[0]
        before = found.card.counters.copy()
        assert found.say(continued(asked, [*first, *MORE]))[0] == cold(name, *first, *MORE)
        # The second turn is one chunk: the last answered token and what is new.
        layers = found.decoder.info.num_layers
        calls = (found.card.counters - before).calls["engine_execute"]
        assert calls == layers + 1 + 15 * (layers + 1)


@pytest.mark.parametrize("name", NAMES)
def test_a_forked_conversation_answers_as_a_cold_start(name: str) -> None:
    with path(name) as found:
        asked = prompt(CASES[name])
        found.say(continued(asked, MORE), name="one")
        assert found.say(continued(asked, OTHER), name="other")[0] == cold(name, *OTHER)
        assert found.say(continued(asked, MORE), name="one")[0] == cold(name, *MORE)


@pytest.mark.parametrize("name", NAMES)
def test_a_conversation_that_was_moved_to_the_host_answers_as_a_cold_start(name: str) -> None:
    with path(name, max_sessions=1) as found:
        asked = prompt(CASES[name])
        first = found.say(asked, name="one")[0]
        found.say(continued(asked, OTHER), name="other")
        assert found.engine.stats.sessions.num_saved == 1
        assert found.say(continued(asked, [*first, *MORE]), name="one")[0] == cold(name, *first, *MORE)


@pytest.mark.parametrize("chunk", [7, 5])
@pytest.mark.parametrize("name", NAMES)
def test_the_size_of_the_chunks_does_not_matter(name: str, chunk: int) -> None:
    assert cold(name, *MORE, chunk=chunk) == cold(name, *MORE)


@pytest.mark.parametrize("kv_write", [KvWrite.VENDOR, KvWrite.COPY])
@pytest.mark.parametrize("name", NAMES)
def test_how_kv_is_written_does_not_matter(name: str, kv_write: KvWrite) -> None:
    with path(name, kv_write=kv_write) as found:
        first = found.say(prompt(CASES[name]))[0]
        again = found.say(continued(prompt(CASES[name]), [*first, *MORE]))[0]
    assert again == cold(name, *first, *MORE)


def test_generations_side_by_side_say_what_they_say_alone() -> None:
    name = "two pictures"
    endings = [MORE, OTHER, MORE[:3], OTHER[::-1]]
    with path(name) as found:
        said = found.say(*(continued(prompt(CASES[name]), ending) for ending in endings))
    assert said == [cold(name, *ending) for ending in endings]


def test_a_late_picture_behind_an_unaligned_prefix_is_prefilled() -> None:
    """The picture must not fall to single tokens, which cannot place it: 116..120 of a reach of 128."""
    name = "two pictures"
    text = [(7 * n) % 400 + 11 for n in range(116 - prompt(CASES[name]).images[0].span.start)]
    start = prompt(CASES[name])
    late = Prompt(
        np.concatenate([np.array(text, np.int64), start.token_ids]),
        np.concatenate(
            [np.tile(np.arange(len(text), dtype=np.uint32), (3, 1)), start.positions + len(text)], axis=1
        ),
        tuple(
            PromptImage(Span(image.span.start + len(text), image.span.tile), image.pixels)
            for image in start.images[:1]
        ),
    )
    late = Prompt(late.token_ids[:124], late.positions[:, :124], late.images)
    early = Prompt(late.token_ids[:101], late.positions[:, :101], ())
    with path(name) as fresh:
        cold_answer = fresh.say(late)[0]
    with path(name) as found:
        found.say(early, num_tokens=1)
        assert found.say(late)[0] == cold_answer


def swapped(pictures: Array) -> Array:
    return pictures[::-1]


def test_another_picture_under_the_same_text_shares_nothing_after_it() -> None:
    case = CASES["two pictures"]
    with path("two pictures") as found:
        found.say(prompt(case))
        before = found.card.counters.copy()
        other = prompt(case, swapped(case.pictures()))
        said = found.say(other)[0]
        layers = found.decoder.info.num_layers
        executes = (found.card.counters - before).calls["engine_execute"]
    with path("two pictures") as fresh:
        assert fresh.say(other)[0] == said
    # 17 tokens of text and the start of the picture are shared, which is worth one chunk of 16; both pictures
    # are known already. The rest, 44 - 18 tokens, is two chunks.
    num_tokens = prompt(case).num_tokens
    chunks = -(-(num_tokens - 18) // 16)
    assert executes == chunks * layers + 1 + 15 * (layers + 1)


@pytest.mark.parametrize("num_steps", range(24))
def test_cancelling_at_any_step_gives_all_memory_back(num_steps: int) -> None:
    with path("two pictures") as found:
        start = free_bytes(found.backend)
        request = Request(
            "1", prompt(CASES["two pictures"]), SamplingParams(8, temperature=0), Identity(ephemeral=True)
        )
        found.engine.submit(request)
        for _ in range(num_steps):
            found.engine.step()
        found.engine.cancel("1")
        assert found.engine.idle
        assert free_bytes(found.backend) == start


def test_the_answers_are_not_all_the_same() -> None:
    """What makes the tests above mean something."""
    answers = [tuple(cold(name, *more)) for name in NAMES for more in (MORE, OTHER, [])]
    assert len(set(answers)) == len(answers)
    assert len(np.unique(answers)) > 30
