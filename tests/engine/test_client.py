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
from time import monotonic
from typing import Any

import numpy as np
import pytest

from backends.axcl.layers import KvWrite
from gateway.engine.client import EngineClient
from gateway.engine.messages import Place, WorkerConfig
from gateway.engine.process import DeviceFull
from gateway.engine.prompt import Identity, Output, Prompt, Request, SamplingParams
from gateway.engine.room import Need
from gateway.errors import ContextLengthExceeded, EngineFailure
from gateway.logs import LogFormat
from gateway.vision.positions import text_positions
from tests.export.checkpoints import tiny_text
from tests.packages import CONTEXT, OPTIONS, VOCAB, exported, new_folder, text_package, vision_package

HERE = Place("emulator")


def config(package: Path | None = None) -> WorkerConfig:
    return WorkerConfig(
        package=package or text_package().folder,
        place=HERE,
        device_index=0,
        kv_write=None,
        emulated_bytes=64 << 20,
        emulated_clock="compute",
        max_sessions=2,
        max_saved_bytes=1 << 20,
        max_feature_bytes=1 << 20,
        vision_models=None,
        vision_entries=(),
        log_format=LogFormat("error"),
    )


@asynccontextmanager
async def started(max_sessions: int = 2) -> AsyncIterator[EngineClient]:
    client = EngineClient(replace(config(), max_sessions=max_sessions))
    await client.load(HERE)
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


def test_a_recorded_clock_is_that_of_the_worker() -> None:
    """A chunk and a token of Qwen3-VL-4B take 0.7 s; this model's, computed, some milliseconds."""

    async def run() -> None:
        client = EngineClient(replace(config(), emulated_clock="qwen3-vl-4b", kv_write=KvWrite.DIRECT))
        await client.load(HERE)
        began = monotonic()
        await said(client, request("1", num_tokens=4, max_tokens=2))
        assert monotonic() - began > 0.5
        await client.close()

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


def test_the_death_of_the_worker_is_a_pause_and_a_restart() -> None:
    async def run() -> None:
        async with started() as client:
            alone = await said(client, request("alone", 10, 50))
            outputs = client.generate(request("1", 10, 50))
            told = [await anext(outputs)]
            os.kill(client.worker_pid, signal.SIGKILL)
            await until(lambda: client.status.state == "restarting")
            assert client.status.levels == {
                "process": "ok",
                "worker": "exit status -9",
                "card": "unknown",
                "self_test": "unknown",
            }
            waiting = asyncio.create_task(said(client, request("2", 10, 50)))
            told += [output async for output in outputs]
            expected = [replace(output, request_id="1") for output in alone]
            assert told == expected
            assert await waiting == [replace(output, request_id="2") for output in alone]
            assert (client.status.num_restarts, client.status.num_requests) == (1, 0)
            assert set(client.status.levels.values()) == {"ok"}

    asyncio.run(run())


def test_a_worker_that_hangs_is_ended_and_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.engine.watch.FLOOR_S", 2.0)

    async def run() -> None:
        async with started() as client:
            os.kill(client.worker_pid, signal.SIGSTOP)
            asked = asyncio.create_task(said(client, request("1")))
            await until(lambda: client.status.state == "restarting")
            assert client.status.levels["worker"] == "no sign of life for 3 s"
            assert len(await asked) == 8

    asyncio.run(run())


def test_an_idle_worker_is_not_taken_for_a_hanging_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.engine.watch.FLOOR_S", 1.0)
    monkeypatch.setattr("gateway.engine.watch.TICK_S", 0.2)

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
        client = EngineClient(config(package))
        broken = next(package.glob("*_l1_*"))
        broken.write_bytes(broken.read_bytes()[:1000])
        with pytest.raises(EngineFailure, match=r"_l1_together\.axmodel"):
            await client.load(HERE)
        await client.close()

    asyncio.run(run())


def test_a_package_that_cannot_be_loaded_fails_the_start_with_the_reason(tmp_path: Path) -> None:
    async def run() -> None:
        client = EngineClient(config(tmp_path))
        with pytest.raises(EngineFailure, match="holds no layer graphs"):
            await client.load(HERE)

    asyncio.run(run())


def test_a_vision_model_without_its_vision_graph_is_not_served(tmp_path: Path) -> None:
    async def run() -> None:
        package = Path(shutil.copytree(vision_package().folder, tmp_path / "package"))
        next(package.glob("*vision*")).unlink()
        with pytest.raises(
            EngineFailure, match="lacks its vision graph, which a 'qwen3_vl_text' model needs"
        ):
            await EngineClient(config(package)).load(HERE)

    asyncio.run(run())


def test_a_family_that_cannot_be_served_is_refused_before_a_graph_is_read(tmp_path: Path) -> None:
    async def run() -> None:
        package = Path(shutil.copytree(text_package().folder, tmp_path / "package"))
        for file in package.glob("*.axmodel"):
            file.rename(package / file.name.replace("qwen3", "gemma4_text"))
        for file in package.glob("*.axmodel"):
            file.write_bytes(b"no graph")
        with pytest.raises(EngineFailure, match="'gemma4_text' packages cannot be served: every layer of"):
            await EngineClient(config(package)).load(HERE)

    asyncio.run(run())


@pytest.mark.parametrize("place", [HERE, Place("emulator", 400_000)])
def test_a_card_too_small_for_the_model_fails_the_load_with_the_numbers(place: Place) -> None:
    async def run() -> None:
        client = EngineClient(replace(config(), emulated_bytes=500_000))
        with pytest.raises(DeviceFull) as caught:
            await client.load(place)
        free = "0.4" if place.device_bytes else "0.5"
        assert str(caught.value).startswith(
            f"it needs at least 0.7 MB of the device, which has {free} MB: 0.6 MB for its layers and head, "
            "0.1 MB for a moment while it is loaded. What helps: --emulated-memory-mb 1 or more; "
        )

    asyncio.run(run())


@pytest.mark.parametrize(
    ("num_bytes", "message"),
    [
        (1_300_000, "it needs at least 1.4 MB of the device, which has 1.3 MB: 0.6 MB for its layers and "),
        (1_440_000, "the device has 0.8 MB left beside the model, and one session's KV cache needs 0.8 MB. "),
        (1_600_000, "malloc: AXCL_ERR_MEMORY_EXECUTE_FAIL: out of card memory (CMM) (0x8030050C). It takes "),
    ],
    ids=["before anything is loaded", "beside the model", "in one piece"],
)
def test_a_card_without_room_for_a_session_fails_the_load_and_says_what_helps(
    num_bytes: int, message: str
) -> None:
    async def run() -> None:
        package = exported(
            tiny_text(new_folder() / "checkpoint", vocab_size=VOCAB, tied=False),
            replace(OPTIONS, kv_cache_len=2047),
        )
        small = replace(config(package.folder), kv_write=KvWrite.DIRECT, emulated_bytes=num_bytes)
        with pytest.raises(DeviceFull) as caught:
            await EngineClient(small).load(HERE)
        assert str(caught.value).startswith(message)
        assert "What helps: --emulated-memory-mb 2 or more; " in str(caught.value)

    asyncio.run(run())


def test_a_model_tells_what_it_takes_and_takes_no_more() -> None:
    async def run() -> None:
        async with started(max_sessions=8) as client:
            info = client.info
            assert info
            assert info.free_bytes == 64 << 20
            need, cache_bytes = info.need, info.decoder.cache_bytes
            assert need.cache_bytes == cache_bytes
            assert text_package().graph_bytes < need.model_bytes < text_package().graph_bytes * 1.2
            assert info.reserved_bytes == need.model_bytes + 8 * cache_bytes
            told = client.status.kv_write
            assert told
            assert (told["chosen"], [each["kv_write"] for each in told["trials"]]) == (
                "direct",
                ["vendor", "copy", "direct"],
            )
            assert all(each["agrees"] and each["ms"] > 0 for each in told["trials"])
            await client.unload()
            given = 3 * need.least_bytes() // 1024 * 1024
            other = Need(given - need.load_bytes - 2 * cache_bytes, cache_bytes, 0)
            again = await client.load(Place("auto", given, (other,)))
            assert again == replace(info, max_sessions=3, free_bytes=given)
            assert len(await said(client, request("1"))) == 8

    asyncio.run(run())


def test_a_model_keeps_what_it_takes_to_be_loaded_again() -> None:
    """Or its worker could not be started again, once others have taken the rest."""

    async def run() -> None:
        async with started(max_sessions=1) as client:
            info = client.info
            assert info
            assert info.need.model_bytes + info.decoder.cache_bytes < info.need.load_bytes
            assert info.reserved_bytes == info.need.load_bytes

    asyncio.run(run())


def test_an_unloaded_model_has_no_process_and_comes_back_with_all_its_answers() -> None:
    async def run() -> None:
        async with started() as client:
            before, pid = await said(client, request("1")), client.worker_pid
            await client.unload()
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)
            assert (client.loaded, client.status.state, client.status.stats) == (False, "unloaded", None)
            assert client.status.kv_write is None
            await client.load(HERE)
            again = await said(client, request("1"))
            assert [each.token_id for each in again] == [each.token_id for each in before]
            assert again[0].cached_tokens == 0
            assert client.status.num_restarts == 0

    asyncio.run(run())


def test_a_model_that_is_being_started_again_can_be_unloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.engine.client.FIRST_PAUSE_S", 100.0)

    async def run() -> None:
        async with started() as client:
            os.kill(client.worker_pid, signal.SIGKILL)
            await until(lambda: client.status.state == "restarting")
            await client.unload()
            await client.load(HERE)
            assert len(await said(client, request("1"))) == 8

    asyncio.run(run())


def test_a_worker_that_is_started_again_has_the_sessions_it_had() -> None:
    async def run() -> None:
        client = EngineClient(config())
        first = await client.load(Place("emulator", None, (Need(60 << 20, None, 0),)))
        os.kill(client.worker_pid, signal.SIGKILL)
        await until(lambda: client.status.num_restarts == 1 and client.status.state == "ready")
        assert client.info == first
        await client.close()

    asyncio.run(run())


def test_closing_ends_the_process() -> None:
    async def run() -> int:
        async with started() as client:
            return client.worker_pid

    with pytest.raises(ProcessLookupError):
        os.kill(asyncio.run(run()), 0)
