"""What a model says is looked at: the same tokens in every way, pictures that reach it, and an answer."""

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from backends.axcl.layers import KvWrite
from backends.base import DeviceError
from backends.emulator import Emulator
from backends.export import ExportOptions, export_package
from gateway.demo import CHECKPOINT
from gateway.doctor import running, speech
from gateway.doctor.finding import Finding
from gateway.doctor.patient import Patient
from tests.doctor.cards import Examined, Told
from tests.packages import new_folder, no_progress, text_package, vision_package

D2H, D2D = 2, 3


@cache
def demo() -> Path:
    """A model that was trained."""
    folder = new_folder() / "axgate-demo"
    export_package(CHECKPOINT, folder, ExportOptions(), no_progress)
    return folder


def loaded(patient: Patient) -> Patient:
    for check in (running.package, running.one_execute, running.load, running.self_test):
        assert check(patient).status == "ok"
    return patient


@pytest.fixture
def spoken(examined: Examined) -> tuple[Finding, Finding]:
    patient = loaded(examined(Emulator(), demo()))
    assert running.vision(patient).status == "ok"
    return speech.encoder(patient), speech.answer(patient)


def test_a_model_that_is_well_answers(spoken: tuple[Finding, Finding]) -> None:
    finding = spoken[1]
    assert finding.status == "ok"
    assert finding.found == "'Hello! Who are you?' → 'Hello! Show me an image and ask me about it.'"
    ids, margin = finding.numbers["token_ids"], finding.numbers["margin"]
    assert isinstance(ids, list)
    assert len(ids) > 4
    assert isinstance(margin, float)
    assert margin > 0


def test_pictures_reach_a_model_that_is_well(spoken: tuple[Finding, Finding]) -> None:
    finding = spoken[0]
    assert (finding.status, finding.found) == (
        "ok",
        "entry axgate-demo-96: a red picture gives 36 rows of 192, red first",
    )


def test_a_vision_graph_without_an_entry_is_told(examined: Examined) -> None:
    patient = loaded(examined(Emulator(), vision_package().folder))
    running.vision(patient)
    finding = speech.encoder(patient)
    assert finding.status == "failed"
    assert "no entry fits the vision graph of this 'qwen3_vl_text' package" in finding.found
    assert "--vision-models" in finding.cure


class Downloads:
    """A card that gives, once `on`, zeros with `value` in the middle of them, whatever is downloaded."""

    def __init__(self, value: bytes) -> None:
        emulator = Emulator()

        def memcpy(target: int, source: int, size: int, kind: int) -> int:
            ret = int(emulator.rt.memcpy(target, source, size, kind))
            if kind == D2H and self.on:
                ctypes.memset(target, 0, size)
                ctypes.memmove(target + size // 2, value, len(value))
            return ret

        self.on = False
        self.axcl = Told(emulator, memcpy=memcpy)


@pytest.mark.parametrize(
    ("value", "status", "found"),
    [
        (b"\x00\x00\x80\x3f", "warning", "the same again and again"),  # 1.0, in float32 and in bfloat16
        (2 * b"\x00\x00\x80\x3f", "failed", "nothing is likelier than anything else"),  # of two tokens
        (b"", "failed", "nothing is likelier than anything else"),
        (b"\xff\xff\xff\xff", "failed", "no answer: "),  # NaN
    ],
)
def test_answers_that_say_nothing_are_told(examined: Examined, value: bytes, status: str, found: str) -> None:
    downloads = Downloads(value)
    patient = loaded(examined(downloads.axcl, text_package().folder))
    downloads.on = True
    finding = speech.answer(patient)
    assert (finding.status, found in finding.found) == (status, True), finding.found
    assert "checksums" in finding.cure


def test_every_way_gives_the_same_tokens(examined: Examined) -> None:
    patient = loaded(examined(Emulator(), text_package().folder))
    finding = speech.same_tokens(patient)
    assert (finding.status, finding.found) == ("ok", "55 tokens are the same written vendor, copy, direct")
    assert patient.decoder.kv_write is KvWrite.DIRECT


def test_a_way_that_goes_wrong_later_is_told(examined: Examined) -> None:
    """Of the copies on the device, three of five are the vendor's way's, then come those of `copy`."""
    emulator = Emulator()
    num_copies, lost_from = 0, 10**9

    def memcpy(target: int, source: int, size: int, kind: int) -> int:
        nonlocal num_copies
        num_copies += kind == D2D
        return (
            0
            if kind == D2D and num_copies > lost_from
            else int(emulator.rt.memcpy(target, source, size, kind))
        )

    patient = loaded(examined(Told(emulator, memcpy=memcpy), text_package().folder))
    num_copies = 0
    assert speech.same_tokens(patient).status == "ok"
    lost_from, num_copies = num_copies * 3 // 5 + 60, 0
    finding = speech.same_tokens(patient)
    assert finding.status == "failed"
    assert finding.found.startswith("written the copy way, token ")
    assert finding.cure == "Serve with --kv-write vendor, and say so in an issue."
    place: Any = finding.numbers["place"]
    assert 5 < place < 55
    assert patient.decoder.kv_write is KvWrite.DIRECT


def test_a_card_that_fails_leaves_the_way_that_was_chosen(examined: Examined) -> None:
    emulator = Emulator()
    patient = loaded(examined(emulator, text_package().folder))
    emulator.faults.fail("engine_execute", 0x8030070C)
    with pytest.raises(DeviceError):
        speech.same_tokens(patient)
    assert patient.decoder.kv_write is KvWrite.DIRECT
