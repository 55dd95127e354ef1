"""Several models in one gateway, as a user starts it: all resident, taking turns, dying, shutting down."""

import os
import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
import pytest

from backends.export import ExportOptions, export_package
from gateway.demo import CHECKPOINT, PICTURES
from gateway.remote import image_part, user_message
from tests.packages import new_folder, no_progress
from tests.served import Gateway, served
from tests.test_server import SHUT_DOWN, stopped, until

NAMES = ("red", "green", "blue")
ENOUGH, FOR_TWO = 500, 35  # megabytes; a model takes 9, each of its sessions 3.3
QUESTION = user_message("What is in this image?", [image_part(PICTURES / "shapes.png")])
ENDLESS = {
    "messages": [{"role": "user", "content": "Tell me a story."}],
    "logit_bias": {"0": -100, "2": -100},  # no end of a turn
    "stream": True,
}


@cache
def package() -> Path:
    folder = new_folder() / "demo"
    export_package(CHECKPOINT, folder, ExportOptions(), no_progress)
    return folder


@contextmanager
def three(memory_mb: int, *, faults: bool = False) -> Iterator[Gateway]:
    """The demo model under three names."""
    models = ",".join(f"{name}={package()}" for name in NAMES)
    memory = ("--emulated-memory-mb", str(memory_mb))
    with served("--device", "emulator", "--model", models, *memory, faults=faults) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def resident() -> Iterator[Gateway]:
    """All three at once."""
    with three(ENOUGH, faults=True) as gateway:  # one test kills a worker
        yield gateway


@pytest.fixture(scope="module")
def crowded() -> Iterator[Gateway]:
    """Two at a time."""
    with three(FOR_TWO) as gateway:
        yield gateway


def ask(gateway: Gateway, model: str, messages: list[Any], **fields: Any) -> dict[str, Any]:
    body = {"model": model, "messages": messages, "temperature": 0, "max_tokens": 8} | fields
    response = httpx.post(f"{gateway.base_url}/chat/completions", json=body, timeout=60)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def said(answer: dict[str, Any]) -> str:
    text: str = answer["choices"][0]["message"]["content"]
    return text


def engines(gateway: Gateway) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(gateway.base_url.replace("/v1", "/health")).json()["engines"]
    return found


def states(gateway: Gateway) -> dict[str, str]:
    return {name: engine["state"] for name, engine in engines(gateway).items()}


def listed(gateway: Gateway) -> dict[str, tuple[bool, int | None]]:
    models = httpx.get(f"{gateway.base_url}/models").json()["data"]
    return {model["id"]: (model["loaded"], model["context_length"]) for model in models}


def worker_pids(gateway: Gateway) -> list[int]:
    pid = gateway.process.pid
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextmanager
def endless(gateway: Gateway, model: str) -> Iterator[Iterator[str]]:
    """The lines of a stream that has begun and does not end by itself for a while."""
    url, body = f"{gateway.base_url}/chat/completions", ENDLESS | {"model": model}
    with httpx.stream("POST", url, json=body, timeout=60) as response:
        lines = response.iter_lines()
        for _ in range(8):
            next(lines)
        yield lines


def test_with_memory_for_all_each_is_there_and_keeps_its_conversations(resident: Gateway) -> None:
    until(lambda: listed(resident) == dict.fromkeys(NAMES, (True, 2047)))
    answers = [ask(resident, name, [QUESTION]) for name in NAMES]
    assert [answer["model"] for answer in answers] == [*NAMES]
    assert len({said(answer) for answer in answers}) == 1
    for name in NAMES:
        usage = ask(resident, name, [QUESTION])["usage"]
        assert usage["prompt_tokens_details"]["cached_tokens"] == usage["prompt_tokens"] - 1
    assert len(worker_pids(resident)) == 3


def test_the_death_of_one_worker_leaves_the_other_models_alone(resident: Gateway) -> None:
    until(lambda: set(states(resident).values()) == {"ready"})
    with endless(resident, "blue") as lines:
        os.kill(worker_pids(resident)[0], signal.SIGKILL)
        until(lambda: engines(resident)["red"]["num_restarts"] == 1)
        assert sum(line.startswith("data: ") for line, _ in zip(lines, range(20), strict=False)) >= 10
    until(lambda: states(resident)["red"] == "ready")
    restarts = {name: engine["num_restarts"] for name, engine in engines(resident).items()}
    assert restarts == {"red": 1, "green": 0, "blue": 0}
    assert said(ask(resident, "red", [QUESTION])) == said(ask(resident, "green", [QUESTION]))


def test_with_memory_for_two_all_three_answer_in_a_burst(crowded: Gateway) -> None:
    both = dict.fromkeys(("red", "green"), (True, 2047))
    until(lambda: listed(crowded) == both | {"blue": (False, None)})
    expected = said(ask(crowded, "red", [QUESTION]))
    with ThreadPoolExecutor(12) as pool:
        burst = list(pool.map(lambda name: said(ask(crowded, name, [QUESTION])), NAMES * 4))
    assert burst == [expected] * 12
    assert {engine["num_requests"] for engine in engines(crowded).values()} == {0}
    assert sorted(states(crowded).values()) == ["ready", "ready", "unloaded"]
    assert len(worker_pids(crowded)) == 2


def test_the_least_recently_used_makes_room_and_loses_its_conversations(crowded: Gateway) -> None:
    for name in ("red", "green", "blue"):
        answer = ask(crowded, name, [QUESTION])
    assert listed(crowded) == {"red": (False, 2047), "green": (True, 2047), "blue": (True, 2047)}
    back = ask(crowded, "red", [QUESTION])
    assert (said(back), back["usage"]["prompt_tokens_details"]["cached_tokens"]) == (said(answer), 0)
    assert states(crowded) == {"red": "ready", "green": "unloaded", "blue": "ready"}


def test_whoever_waits_for_a_busy_card_may_leave(crowded: Gateway) -> None:
    for name in NAMES:
        ask(crowded, name, [QUESTION])
    with ExitStack() as busy:
        for name in ("green", "blue"):
            busy.enter_context(endless(crowded, name))
        body = {"model": "red", "messages": [QUESTION]}
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{crowded.base_url}/chat/completions", json=body, timeout=0.5)
        until(lambda: engines(crowded)["red"]["num_requests"] == 0)
        assert said(ask(crowded, "green", [QUESTION]))
        assert states(crowded) == {"red": "unloaded", "green": "ready", "blue": "ready"}


def test_a_model_that_cannot_be_loaded_is_told_and_the_others_answer(tmp_path: Path) -> None:
    broken = Path(shutil.copytree(package(), tmp_path / "blue"))
    layer = next(broken.glob("*_l1_*"))
    layer.write_bytes(layer.read_bytes()[:1000])
    with served("--model", f"red={package()},{broken}", "--device", "emulator", faults=True) as gateway:
        body = {"model": "blue", "messages": [QUESTION]}
        response = httpx.post(f"{gateway.base_url}/chat/completions", json=body, timeout=60)
        error = response.json()["error"]
        assert (response.status_code, error["code"]) == (500, "engine_failure")
        assert error["message"].startswith("The model blue cannot be loaded: engine_load_from_file(")
        assert said(ask(gateway, "red", [QUESTION]))


def test_a_shutdown_is_told_to_those_who_wait_for_a_model() -> None:
    with three(FOR_TWO) as gateway, ExitStack() as busy, ThreadPoolExecutor(1) as pool:
        until(lambda: states(gateway)["green"] == "ready")
        for name in ("red", "green"):
            busy.enter_context(endless(gateway, name))
        body = {"model": "blue", "messages": [QUESTION]}
        waiting = pool.submit(httpx.post, f"{gateway.base_url}/chat/completions", json=body, timeout=20)
        until(lambda: engines(gateway)["blue"]["num_requests"] == 1)
        stopped(gateway)
        answer = waiting.result()
    assert (answer.status_code, answer.json()["error"]["message"]) == (503, SHUT_DOWN)


def test_a_shutdown_while_models_are_loaded_ends_in_time() -> None:
    with three(ENOUGH) as gateway:
        start = monotonic()
        stopped(gateway)
        assert monotonic() - start < 4
