"""Who is sent to a worker, and who fails, after workers died."""

import numpy as np

from gateway.engine.flight import Flight, Flights
from gateway.engine.prompt import Output, Prompt, Request, SamplingParams
from gateway.errors import EngineFailure
from gateway.vision.positions import text_positions

PROMPT = Prompt(np.arange(3), text_positions(3), ())


def flights(ids: str) -> Flights:
    all = Flights()
    for id in ids:
        all.add(Request(id, PROMPT, SamplingParams(5)))
    return all


def taken(all: Flights) -> str:
    return "".join(flight.id for flight in all.take())


def token(id: str, number: int = 1, cached: int = 0) -> Output:
    return Output(id, 40 + number, None, number, cached)


def test_all_are_sent_once_in_the_order_they_came() -> None:
    all = flights("abc")
    assert (taken(all), taken(all)) == ("abc", "")
    all.lose(None, "it died")
    assert (taken(all), taken(all)) == ("abc", "")


def test_another_worker_is_told_what_was_said_and_the_client_sees_one_answer() -> None:
    flight = Flight(Request("a", PROMPT, SamplingParams(5)))
    for number, cached in ((1, 3), (2, 3), (3, 0)):
        flight.tell(token("a", number, cached))
    flight.tell(Output("a", None, "stop", 4, 0))
    assert flight.request.begun == (41, 42, 43)
    told = [flight.results.get_nowait() for _ in range(4)]
    assert told == [*(token("a", number, 3) for number in (1, 2, 3)), Output("a", None, "stop", 4, 3)]


def test_a_request_that_workers_die_of_fails_alone() -> None:
    all = flights("ab")
    for _ in range(2):
        assert taken(all) == "ab"
        all.lose("a", "")
    assert taken(all) == "ab"
    all.lose("a", "exit status -9")
    error = all._flights["a"].results.get_nowait()
    assert isinstance(error, EngineFailure)
    assert error.message == (
        "The engine stopped 3 times while it worked on this request, at last with: exit status -9. "
        "The request is not tried again."
    )
    assert taken(all) == "b"
    assert all._flights["b"].results.empty()


def test_a_token_in_between_makes_it_innocent() -> None:
    all = flights("a")
    for number in range(1, 9):
        taken(all)
        all.lose("a", "")
        taken(all)
        all.lose(None, "")
        taken(all)
        all.lose("a", "")
        all.tell("a", token("a", number))
    assert taken(all) == "a"


def test_whoever_has_all_is_owed_nothing() -> None:
    all = flights("a")
    assert [all.working, taken(all), all.working] == [False, "a", True]
    all.tell("a", Output("a", None, "stop", 1, 0))
    all.tell("nobody", token("nobody"))
    for _ in range(3):
        all.lose("a", "")
    all.fail(EngineFailure("Too late."))
    assert (all.working, taken(all), all._flights["a"].results.qsize()) == (False, "", 1)
