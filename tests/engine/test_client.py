"""The worker process and its asyncio face, with a tiny model on the emulated card."""

import asyncio
import errno
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway.engine.client import EngineClient
from gateway.engine.messages import WorkerConfig
from gateway.engine.prompt import Identity, Output, Prompt, Request, SamplingParams, text_positions
from gateway.errors import ContextLengthExceeded, EngineFailure, EngineRestarting, Overloaded
from gateway.logs import LogFormat
from tests.packages import CONTEXT, text_package, vision_package


def config(package: Path | None = None) -> WorkerConfig:
    return WorkerConfig(
        package=package or text_package().folder,
        device="emulator",
        device_index=0,
        kv_write=None,
        emulated_bytes=64 << 20,
        max_sessions=2,
        max_saved_bytes=1 << 20,
        max_feature_bytes=1 << 20,
        vision_models=None,
        log_format=LogFormat("error"),
    )


@asynccontextmanager
async def started(max_waiting: int = 8) -> AsyncIterator[EngineClient]:
    client = EngineClient(config(), max_waiting)
    await client.start()
    try:
        yield client
    finally:
        await client.close()


def request(id: str, num_tokens: int = 20, max_tokens: int = 8) -> Request:
    ids = np.arange(num_tokens, dtype=np.int64) + 11
    sampling = SamplingParams(max_tokens, temperature=0)
    return Request(id, Prompt(ids, text_positions(num_tokens), ()), sampling, Identity(owner=id))


async def said(client: EngineClient, asked: Request) -> list[Output]:
    return [output async for output in client.generate(asked)]


async def until(condition: object, timeout_s: float = 20) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.01)


def test_outputs_arrive_in_order_and_end() -> None:
    async def run() -> None:
        async with started() as client:
            outputs = await said(client, request("1"))
            assert [output.num_completion_tokens for output in outputs] == list(range(1, 9))
            assert [output.finish_reason for output in outputs] == [None] * 7 + ["length"]
            assert client.status.num_requests == 0

    asyncio.run(run())


def test_many_at_once_say_what_each_says_alone() -> None:
    async def run() -> None:
        async with started() as client:
            alone = [await said(client, request(f"alone {n}", 10 + n)) for n in range(6)]
            together = await asyncio.gather(
                *(said(client, request(f"together {n}", 10 + n)) for n in range(6))
            )
            assert [[o.token_id for o in one] for one in alone] == [
                [o.token_id for o in one] for one in together
            ]

    asyncio.run(run())


def test_closing_the_generator_cancels_the_generation() -> None:
    async def run() -> None:
        async with started() as client:
            async with aclosing(client.generate(request("1", 10, 50))) as outputs:
                await anext(outputs)
            # Nothing else is asked, and yet it becomes known that nothing runs any more.
            await until(lambda: client.status.stats and client.status.stats.num_running == 0)
            assert client.status.num_requests == 0

    asyncio.run(run())


def test_a_prompt_that_never_fits_is_refused_by_the_engine() -> None:
    async def run() -> None:
        async with started() as client:
            with pytest.raises(ContextLengthExceeded) as caught:
                await said(client, request("1", CONTEXT))
            assert (caught.value.status, caught.value.param) == (400, "messages")

    asyncio.run(run())


def test_beyond_the_queue_requests_are_refused_with_a_time_to_come_back() -> None:
    async def run() -> None:
        async with started(max_waiting=1) as client:
            tasks = [asyncio.create_task(said(client, request(str(n), 30, 30))) for n in range(3)]
            await asyncio.sleep(0)
            with pytest.raises(Overloaded) as caught:
                await said(client, request("4"))
            assert caught.value.retry_after_s
            assert [len(task) for task in await asyncio.gather(*tasks)] == [30, 30, 30]

    asyncio.run(run())


def test_the_death_of_the_worker_is_an_error_and_then_a_restart() -> None:
    async def run() -> None:
        async with started() as client:
            outputs = client.generate(request("1", 10, 50))
            await anext(outputs)
            os.kill(client.worker_pid, signal.SIGKILL)
            with pytest.raises(EngineFailure, match="stopped while it was working"):
                async for _ in outputs:
                    pass
            with pytest.raises(EngineRestarting):
                await said(client, request("2"))
            await until(lambda: client.status.state == "ready")
            assert len(await said(client, request("3"))) == 8
            assert client.status.num_restarts == 1

    asyncio.run(run())


def test_a_worker_that_hangs_is_ended_and_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.engine.client.SILENCE_TIMEOUT_S", 2.0)

    async def run() -> None:
        async with started() as client:
            os.kill(client.worker_pid, signal.SIGSTOP)
            with pytest.raises(EngineFailure, match="no sign of life"):
                await said(client, request("1"))
            await until(lambda: client.status.state == "ready")
            assert len(await said(client, request("2"))) == 8

    asyncio.run(run())


def test_an_idle_worker_is_not_taken_for_a_hanging_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.engine.client.SILENCE_TIMEOUT_S", 1.0)

    async def run() -> None:
        async with started() as client:
            await asyncio.sleep(1.5)
            assert len(await said(client, request("1"))) == 8
            assert client.status.num_restarts == 0

    asyncio.run(run())


def test_a_signal_to_the_whole_group_is_for_the_parent_to_decide() -> None:
    async def run() -> None:
        async with started() as client:
            for number in (signal.SIGTERM, signal.SIGINT):
                os.kill(client.worker_pid, number)
            assert len(await said(client, request("1"))) == 8

    asyncio.run(run())


def test_without_a_process_to_be_had_it_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []
    start = subprocess.Popen

    def refuse_once(*args: Any, **kwargs: Any) -> subprocess.Popen[bytes]:
        tries.append(args)
        if len(tries) == 1:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return start(*args, **kwargs)

    async def run() -> None:
        async with started() as client:
            monkeypatch.setattr("gateway.engine.process.subprocess.Popen", refuse_once)
            monkeypatch.setattr("gateway.engine.client.FIRST_PAUSE_S", 0.01)
            os.kill(client.worker_pid, signal.SIGKILL)
            await until(lambda: client.status.num_restarts == 2 and client.status.state == "ready")

    asyncio.run(run())


def test_what_a_card_says_last_is_told(tmp_path: Path) -> None:
    """The layer that the card refuses is the reason, not what goes wrong while everything is undone."""

    async def run() -> None:
        package = Path(shutil.copytree(text_package().folder, tmp_path / "package"))
        client = EngineClient(config(package), 1)
        broken = next(package.glob("*_l1_*"))
        broken.write_bytes(broken.read_bytes()[:1000])
        with pytest.raises(EngineFailure, match=r"_l1_together\.axmodel"):
            await client.start()
        await client.close()

    asyncio.run(run())


def test_a_package_that_cannot_be_loaded_fails_the_start_with_the_reason(tmp_path: Path) -> None:
    async def run() -> None:
        client = EngineClient(config(tmp_path), 1)
        with pytest.raises(EngineFailure, match="holds no layer graphs"):
            await client.start()

    asyncio.run(run())


def test_a_vision_model_without_its_vision_graph_is_not_served(tmp_path: Path) -> None:
    async def run() -> None:
        package = Path(shutil.copytree(vision_package().folder, tmp_path / "package"))
        next(package.glob("*vision*")).unlink()
        with pytest.raises(EngineFailure, match="lacks its vision graph, which a qwen3_vl_text model needs"):
            await EngineClient(config(package), 1).start()

    asyncio.run(run())


def test_a_card_too_small_for_the_model_fails_the_start_with_the_numbers() -> None:
    async def run() -> None:
        client = EngineClient(replace(config(), emulated_bytes=1 << 18), 1)
        with pytest.raises(EngineFailure, match="out of card memory"):
            await client.start()

    asyncio.run(run())


def test_closing_ends_the_process() -> None:
    async def run() -> int:
        async with started() as client:
            return client.worker_pid

    with pytest.raises(ProcessLookupError):
        os.kill(asyncio.run(run()), 0)
