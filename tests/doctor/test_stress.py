"""Processes that die on a card, and what is told where it takes that badly."""

from dataclasses import replace
from pathlib import Path

import pytest

from backends.emulator import Emulator
from gateway.doctor import card, stress
from gateway.doctor.patient import Patient
from tests.doctor.cards import Examined, Told
from tests.packages import text_package


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stress, "NUM_KILLS", 3)


def emulated(patient: Patient) -> Patient:
    """Its victims have emulated cards of their own."""
    patient.orders = replace(patient.orders, device="emulator")
    return patient


def binding(folder: Path, lines: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pyAXCL for the victims, of which these lines are a part; `count` is how many there were."""
    (folder / "axcl.py").write_text(
        "import os\nfrom pathlib import Path\nfrom backends.emulator import Emulator\n"
        "seen = Path(__file__).with_name('seen')\n"
        "count = len(seen.read_text()) if seen.exists() else 0\nseen.write_text('x' * (count + 1))\n"
        "card = Emulator()\ninit, finalize, rt = card.init, card.finalize, card.rt\n" + lines
    )
    monkeypatch.setenv("PYTHONPATH", str(folder))


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("model", [None, text_package().folder], ids=["copies", "model"])
def test_processes_that_are_killed_do_a_card_no_harm(examined: Examined, model: Path | None) -> None:
    patient = emulated(examined(Emulator(), model))
    card.memory(patient)
    patient.undo.close()
    finding = stress.kills(patient)
    assert finding.status == "ok"
    assert finding.found.startswith("3 processes were killed at their work; the next one worked within ")
    assert finding.found.endswith("all memory is back")
    seconds = finding.numbers["seconds"]
    assert isinstance(seconds, list)
    assert len(seconds) == 3


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("card.faults.fail('init', 0x80300186)", "process 3 of 3: init: AXCL_ERR_DEVICE_PORT_ALLOCATE"),
        ("os.abort()", "process 3 of 3: hung or crashed within 60 s"),
        ("card.faults.hang('memcpy', 2)", "process 3 of 3: hung or crashed within 4 s"),
    ],
)
def test_a_card_that_takes_no_more_clients_is_told(
    examined: Examined, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, told: str
) -> None:
    if "hang" in fault:
        monkeypatch.setattr(stress, "VICTIM_S", 4.0)
    binding(tmp_path, f"if count == 2:\n    {fault}\n", monkeypatch)
    patient = examined(Emulator())
    patient.undo.close()
    finding = stress.kills(patient)
    assert (finding.status, finding.numbers) == ("failed", {"num_killed": 2})
    assert finding.found.startswith(told)
    assert "axcl-smi reboot" in finding.cure


def test_memory_that_is_filled_comes_back(examined: Examined) -> None:
    patient = emulated(examined(Emulator()))
    card.memory(patient)
    patient.undo.close()
    finding = stress.fill(patient)
    assert (finding.status, finding.numbers["num_bytes"]) == ("ok", 256 << 20)
    assert "AXCL_ERR_MEMORY_EXECUTE_FAIL" in finding.found
    assert finding.found.endswith("all memory is back")


def test_memory_that_does_not_come_back_is_told(examined: Examined) -> None:
    emulator = Emulator()
    free_kib = 7040 << 10

    def properties(device_id: int) -> tuple[dict[str, object], int]:
        told, ret = emulator.rt.get_device_properties(device_id)
        return told | {"free_cmm_size": free_kib}, ret

    patient = emulated(examined(Told(emulator, get_device_properties=properties)))
    card.memory(patient)
    patient.undo.close()
    free_kib = 7000 << 10
    finding = stress.fill(patient)
    assert finding.status == "warning"
    assert finding.found.endswith("40 MiB of CMM did not come back")
    assert "axcl-smi reboot" in finding.cure
