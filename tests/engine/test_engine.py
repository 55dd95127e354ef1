from dataclasses import replace

import numpy as np
import pytest

from backends.base import Array, DeviceMemoryError, Hidden
from gateway.engine.engine import Engine, Failed
from gateway.engine.generation import Work
from gateway.engine.prompt import Output, Request, SamplingParams
from gateway.errors import ContextLengthExceeded, EngineFailure, InvalidRequest, Unavailable
from gateway.vision.encoder import Pixels, Visual
from gateway.vision.layout import Tile
from tests.engine.toy import CONTEXT, ToyDevice, encode, engine, picture, prompt, request, run

RED, BLUE = picture("red"), picture("blue")


def alone(*parts: str | Visual, max_tokens: int = 6) -> list[int]:
    return run(engine(ToyDevice()), request("a", prompt(*parts), max_tokens))["a"]


def test_the_same_prompt_gives_the_same_tokens() -> None:
    assert alone("hello") == alone("hello")
    assert alone("hello") != alone("hullo")


def test_interleaved_generations_say_what_they_say_alone() -> None:
    asked = {name: ("tell me about ", picture(name), " please, " + name) for name in ("red", "blue", "green")}
    together = run(engine(ToyDevice()), *(request(name, prompt(*parts)) for name, parts in asked.items()))
    assert together == {name: alone(*parts) for name, parts in asked.items()}


def test_a_second_turn_prefills_only_what_is_new() -> None:
    device = ToyDevice()
    chat = engine(device)
    first = "a conversation about "
    said = run(chat, request("1", prompt(first, RED)))["1"]
    device.prefills.clear()
    turn = prompt(first, RED, "".join(map(chr, said)), "go on")
    assert run(chat, request("2", turn))["2"] == alone(first, RED, "".join(map(chr, said)), "go on")
    # The last token of the answer was sampled but never run, so it is prefilled with the five new ones.
    assert device.prefills == [4, 2]
    assert chat.stats.num_encodes == 1


def test_another_picture_does_not_share_kv() -> None:
    chat = engine(ToyDevice())
    run(chat, request("1", prompt("look at ", RED, " what is it")))
    assert run(chat, request("2", prompt("look at ", BLUE, " what is it")))["2"] == alone(
        "look at ", BLUE, " what is it"
    )


def test_the_same_picture_is_encoded_once() -> None:
    chat = engine(ToyDevice())
    run(chat, request("1", prompt(RED, "one", RED, BLUE)), request("2", prompt("other words", RED)))
    assert chat.stats.num_encodes == 2


def test_regenerating_gives_the_same_answer_from_the_cache() -> None:
    device = ToyDevice()
    chat = engine(device)
    first = run(chat, request("1", prompt("say it again")))
    device.prefills.clear()
    assert run(chat, request("2", prompt("say it again")))["2"] == first["1"]
    assert device.prefills == [1]


def test_a_session_moved_to_the_host_and_back_says_the_same() -> None:
    device = ToyDevice()
    chat = engine(device, max_sessions=1)
    said = run(chat, request("1", prompt("first conversation"), name="a"))["1"]
    run(chat, request("2", prompt("second conversation"), name="b"))
    assert chat.stats.sessions.num_saved == 1
    device.prefills.clear()
    again = "first conversation" + "".join(map(chr, said)) + "and?"
    assert run(chat, request("3", prompt(again), name="a"))["3"] == alone(again)
    assert sum(device.prefills) == 5


def test_a_forked_prefix_says_the_same_and_leaves_the_original_alone() -> None:
    device = ToyDevice()
    chat = engine(device)
    system = "a long system prompt that both share: "
    first = run(chat, request("1", prompt(system, "one"), name="a"))["1"]
    device.prefills.clear()
    assert run(chat, request("2", prompt(system, "two"), name="b"))["2"] == alone(system, "two")
    assert (device.num_forks, sum(device.prefills)) == (1, 3)
    again = system + "one" + "".join(map(chr, first)) + "!"
    assert run(chat, request("3", prompt(again), name="a"))["3"] == alone(again)


def test_owners_share_nothing() -> None:
    device = ToyDevice()
    chat = engine(device)
    run(chat, request("1", prompt("the very same long prompt"), owner="alice"))
    device.prefills.clear()
    run(chat, request("2", prompt("the very same long prompt"), owner="bob"))
    assert sum(device.prefills) == len("the very same long prompt")


def test_a_cancelled_prefill_is_where_the_retry_starts() -> None:
    device = ToyDevice()
    chat = engine(device)
    asked = prompt("a prompt of several chunks")
    chat.submit(request("1", asked))
    for _ in range(3):
        chat.step()
    chat.cancel("1")
    device.prefills.clear()
    assert run(chat, request("2", asked))["2"] == alone("a prompt of several chunks")
    assert sum(device.prefills) == asked.num_tokens - 12


def test_a_task_uses_the_conversation_and_leaves_no_session() -> None:
    device = ToyDevice()
    chat = engine(device)
    run(chat, request("1", prompt("a chat that goes on for a while"), name="a"))
    run(chat, request("2", prompt("a chat that goes on for a title"), name="a", task=True))
    assert (device.num_forks, device.num_caches, chat.stats.sessions.num_resident) == (1, 1, 1)


def test_two_requests_of_one_session_at_once_both_answer() -> None:
    chat = engine(ToyDevice())
    said = run(
        chat,
        request("1", prompt("one session, first question"), name="a"),
        request("2", prompt("one session, second one"), name="a"),
    )
    assert said == {"1": alone("one session, first question"), "2": alone("one session, second one")}


@pytest.mark.parametrize("num_steps", range(12))
def test_cancelling_at_any_step_frees_everything(num_steps: int) -> None:
    device = ToyDevice()
    chat = engine(device)
    chat.submit(request("1", prompt("look ", RED, " and ", BLUE), task=True))
    for _ in range(num_steps):
        chat.step()
    chat.cancel("1")
    assert (chat.idle, chat.step(), device.num_caches) == (True, [], 0)


def test_more_generations_than_caches_wait_for_their_turn() -> None:
    device = ToyDevice()
    chat = engine(device, max_sessions=2)
    requests = [request(str(n), prompt(f"request number {n}")) for n in range(7)]
    assert run(chat, *requests) == {str(n): alone(f"request number {n}") for n in range(7)}
    assert device.num_caches <= 2


def test_a_device_with_less_room_than_promised_makes_others_wait() -> None:
    chat = engine(ToyDevice(max_caches=1), max_sessions=4)
    requests = [request(str(n), prompt(f"request number {n}")) for n in range(3)]
    assert run(chat, *requests) == {str(n): alone(f"request number {n}") for n in range(3)}


def test_no_memory_for_a_single_session_is_said_and_the_engine_goes_on() -> None:
    device = ToyDevice(max_caches=0)
    chat = engine(device)
    chat.submit(request("1", prompt("anything")))
    (failed,) = chat.step()
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, Unavailable)
    assert failed.error.message.startswith("The device has no memory for another session")
    device.max_caches = 1
    assert run(chat, request("2", prompt("anything")))["2"] == alone("anything")


def test_a_picture_that_cannot_be_encoded_fails_its_own_generation_only() -> None:
    def broken(pixels: Pixels) -> object:
        if pixels.digest == RED.pixels[0].digest:
            raise EngineFailure("the vision graph gave values that are not finite")
        return encode(pixels)

    device = ToyDevice()
    chat = engine(device)
    chat._encode = broken  # type: ignore[assignment]
    chat.submit(request("1", prompt(RED, "what")))
    chat.submit(request("2", prompt(BLUE, "what")))
    results = []
    while not chat.idle:
        results += chat.step()
    assert [r.request_id for r in results if isinstance(r, Failed)] == ["1"]
    assert [r.token_id for r in results if isinstance(r, Output)] == alone(BLUE, "what")


def test_tiles_of_one_run_of_the_graph_each_take_their_own_rows() -> None:
    chat = engine(ToyDevice())
    halves = picture("red", Tile((1, 2)), Tile((1, 2), first=2))
    said = run(chat, request("1", prompt("look ", halves, " please")))["1"]
    assert said == alone("look ", picture("red", Tile((1, 4))), " please")
    assert said != alone("look ", picture("red", Tile((1, 2)), Tile((1, 2))), " please")
    assert chat.stats.num_encodes == 1


def test_logits_that_are_not_finite_fail_the_generation_and_its_session_is_forgotten() -> None:
    class Sick(ToyDevice):
        def logits(self, hidden: Hidden) -> Array:
            return super().logits(hidden) * (np.nan if len(self.prefills) == 3 else 1)

    device = Sick()
    chat = engine(device)
    chat.submit(request("1", prompt("sick device")))
    failed = [result for _ in range(3) for result in chat.step()]
    assert [type(result) for result in failed] == [Failed]
    assert (chat.idle, device.num_caches) == (True, 0)


def test_a_prompt_that_does_not_fit_is_refused_with_the_numbers() -> None:
    chat = engine(ToyDevice())
    with pytest.raises(
        ContextLengthExceeded, match=f"is {CONTEXT} tokens.* in 64 tokens, 4 of them for images"
    ):
        chat.submit(request("1", prompt("x" * (CONTEXT - 4), RED)))


def test_a_picture_beyond_the_reach_of_prefill_is_refused() -> None:
    class Short(ToyDevice):
        info = replace(ToyDevice.info, prefill_history=8)

    chat = engine(Short())
    with pytest.raises(InvalidRequest, match="within the first 12 tokens"):
        chat.submit(request("1", prompt("x" * 9, RED)))


def test_a_picture_whose_positions_the_graphs_cannot_take_is_refused() -> None:
    class Flat(ToyDevice):
        info = replace(ToyDevice.info, index_rows=1)

    chat = engine(Flat())
    asked = prompt("x", RED)
    spread = replace(asked, positions=asked.positions + np.array([[0], [1], [2]], np.uint32))
    with pytest.raises(InvalidRequest, match="compiled with one row of positions, and its images need three"):
        chat.submit(request("1", spread))
    assert run(chat, request("2", asked))["2"] == alone("x", RED)


def test_the_answer_ends_at_the_end_of_the_context() -> None:
    chat = engine(ToyDevice())
    chat.submit(request("1", prompt("x" * (CONTEXT - 2)), max_tokens=50))
    outputs = []
    while not chat.idle:
        outputs += chat.step()
    last = outputs[-1]
    assert isinstance(last, Output)
    assert (last.finish_reason, last.num_completion_tokens) == ("length", 3)


def test_a_stop_token_ends_the_answer_and_is_not_shown() -> None:
    first, second, *_ = alone("when to stop")
    chat = engine(ToyDevice())
    asked = request("1", prompt("when to stop"))
    sampling = SamplingParams(6, temperature=0, stop_token_ids=frozenset({second}))
    chat.submit(replace(asked, sampling=sampling))
    outputs = []
    while not chat.idle:
        outputs += chat.step()
    assert outputs == [Output("1", first, None, 1, 0), Output("1", None, "stop", 2, 0)]


def test_memory_errors_are_device_errors() -> None:
    with pytest.raises(DeviceMemoryError):
        ToyDevice(max_caches=0).new_cache()


SAMPLINGS = {
    "greedy": SamplingParams(6, temperature=0),
    "seeded": SamplingParams(6, temperature=0.7, seed=5, frequency_penalty=0.5, num_top_logprobs=2),
    "as good as greedy, but not known to be repeatable": SamplingParams(6, temperature=1e-9),
    "with a stop token": SamplingParams(6, temperature=0, stop_token_ids=frozenset(range(20))),
}


def outputs_of(chat: Engine, asked: Request) -> list[Output]:
    chat.submit(asked)
    told = []
    while not chat.idle:
        told += chat.step()
    return [output for output in told if isinstance(output, Output)]


@pytest.mark.parametrize("sampling", SAMPLINGS.values(), ids=SAMPLINGS)
@pytest.mark.parametrize("parts", [("tell me more",), (RED, "tell ", BLUE, "me more"), ("x",)])
def test_another_engine_goes_on_where_one_was_lost(
    sampling: SamplingParams, parts: tuple[str | Visual, ...]
) -> None:
    asked = replace(request("1", prompt(*parts)), sampling=sampling)
    first = engine(ToyDevice())
    whole = outputs_of(first, asked)
    (session,) = first._sessions
    begun = tuple(output.token_id for output in whole if output.token_id is not None)
    for place in range(len(whole)):
        chat = engine(ToyDevice())
        assert outputs_of(chat, replace(asked, begun=begun[:place])) == whole[place:]
        (again,) = chat._sessions
        assert again.keys == session.keys


def test_what_was_begun_is_decoded_where_the_answer_is_repeatable_and_else_prefilled() -> None:
    for sampling, prefills, num_decodes in (
        (SamplingParams(4, temperature=0), [4], 3),
        (SamplingParams(4, temperature=1.0), [4, 3], 0),
    ):
        device = ToyDevice()
        asked = replace(request("1", prompt("four")), sampling=sampling, begun=(1, 2, 3))
        assert len(outputs_of(engine(device), asked)) == 1
        assert (device.prefills, device.num_decodes) == (prefills, num_decodes)


def test_an_answer_that_was_begun_may_fill_the_context() -> None:
    asked = request("1", prompt("x" * (CONTEXT - 2)), max_tokens=50)
    whole = outputs_of(engine(ToyDevice()), asked)
    begun = tuple(output.token_id for output in whole[:-1] if output.token_id is not None)
    for sampling in (asked.sampling, replace(asked.sampling, temperature=1e-9)):
        again = replace(asked, begun=begun, sampling=sampling)
        assert outputs_of(engine(ToyDevice()), again) == whole[-1:]


def test_what_is_about_to_be_done_is_told_before() -> None:
    chat = engine(ToyDevice())
    chat.submit(request("1", prompt(RED, "what"), max_tokens=2))
    told: list[Work] = []
    while not chat.idle:
        chat.step(told.append)
    assert [work.kind for work in told] == ["encode", "prefill", "prefill", "decode"]
    assert {work.generation.id for work in told} == {"1"}
