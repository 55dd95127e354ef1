"""Every check of the card, on emulated ones that are well and that are not."""

import ctypes
import shutil
from pathlib import Path
from threading import get_ident
from time import sleep
from typing import Any

import onnx
import pytest

from backends.axcl.package import open_package
from backends.axcl.rt import Runtime
from backends.base import DeviceError
from backends.emulator import Emulator, OldEmulator
from gateway.doctor import card, running
from gateway.doctor.checks import CHECKS, MODEL_CHECKS
from gateway.doctor.machine import Machine
from gateway.doctor.patient import Orders, Patient
from tests.doctor.cards import Examined, Told
from tests.packages import new_folder, text_package, vision_package

TABLE = """[11-08 20:36:34:240][E][axcl_smi][main][ 117]: device id: 129
| AXCL-SMI  V3.10.2                              Driver  V3.10.2 |
|    0  AX650N   V3.10.2 | 0000:03:00.0 | 153 MiB / 945 MiB |
|   --   38C  -- / -- | 1%  0% | 18 MiB / 7040 MiB |
"""


def smi(patient: Patient) -> None:
    """An axcl-smi that tells of a card on bus 3."""
    patient.orders.smi.write_text(f"#!/bin/sh\ncat <<'END'\n{TABLE}END\n")
    patient.orders.smi.chmod(0o755)


def with_properties(emulator: Emulator, **changed: int | list[int]) -> Told:
    def properties(device_id: int) -> tuple[dict[str, Any], int]:
        told, ret = emulator.rt.get_device_properties(device_id)
        return told | changed, ret

    return Told(emulator, get_device_properties=properties)


def far_away(seconds: float) -> Told:
    """A card on which every copy takes at least so long."""
    emulator = Emulator()

    def memcpy(target: int, source: int, size: int, kind: int) -> int:
        sleep(seconds)
        return int(emulator.rt.memcpy(target, source, size, kind))

    return Told(emulator, memcpy=memcpy)


def test_a_card_that_is_well_is_ok(examined: Examined) -> None:
    patient = examined(Emulator(devices=(3,)))
    found = [
        check(patient)
        for check in (
            card.releases,
            card.memory,
            card.temperature,
            card.copies,
            card.round_trip,
            card.rates,
            card.given_back,
            card.binding_kept,
        )
    ]
    assert [finding.status for finding in found] == ["ok"] * 8
    assert found[0].found == "library 3.10.2, firmware V3.10.2 emulated, pyaxcl 3.10.2"
    assert found[1].found.startswith("7040 of 7040 MiB of CMM free, asked in ")
    assert found[2].found == "45 °C, NPU 0%, CPU 0%"
    assert found[3].found == "1 MiB up, across and down come back as they were"
    assert set(found[4].numbers) == {"ms", "row_ms"}
    assert found[5].numbers["sizes"] == [64 << 10, 1 << 20, 64 << 20]
    assert found[6].found == "closed in order; all memory is back"
    assert found[7].numbers == {
        "kept_by_properties": False,
        "unbound_may_allocate": False,
        "bound_by_set_device": True,
    }


def test_a_slow_way_to_the_card_is_told_with_the_numbers(
    examined: Examined, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(card, "SIZES", (1 << 20,))
    patient = examined(far_away(0.006))
    trip, rates = card.round_trip(patient), card.rates(patient)
    assert (trip.status, rates.status) == ("warning", "warning")
    assert isinstance(trip.numbers["ms"], float)
    assert 6 <= trip.numbers["ms"] < 60
    for name in ("up_mb_s", "down_mb_s", "across_mb_s"):  # at most a mebibyte in 6 ms
        assert rates.numbers[name] == pytest.approx([95], abs=80)
    assert "governor" in trip.cure
    assert "slow even for one lane" in rates.found
    assert "`link`" in rates.cure


def test_measuring_takes_no_memory_for_good(examined: Examined) -> None:
    patient = examined(Emulator())
    before = patient.runtime.free_bytes
    for check in (card.copies, card.round_trip, card.rates):
        check(patient)
    assert patient.runtime.free_bytes == before


def test_copies_that_change_are_told(examined: Examined) -> None:
    emulator = Emulator()

    def worn(target: int, source: int, size: int, kind: int) -> int:
        ret = emulator.rt.memcpy(target, source, size, kind)
        if kind == 2:
            ctypes.memset(target + size // 2, 255, 1)
        return ret

    finding = card.copies(examined(Told(emulator, memcpy=worn)))
    assert finding.status == "failed"
    assert "come back changed" in finding.found
    assert "seating" in finding.cure


def test_a_card_that_is_hot_is_told(examined: Examined) -> None:
    finding = card.temperature(examined(with_properties(Emulator(), temperature=93_500)))
    assert (finding.status, finding.cure) == ("warning", "Cool the card.")
    assert finding.found == "94 °C, NPU 0%, CPU 0%; at 120 °C the card resets itself"


def test_memory_that_somebody_holds_is_told(examined: Examined) -> None:
    finding = card.memory(examined(with_properties(Emulator(), free_cmm_size=1000 << 10)))
    assert finding.status == "warning"
    assert finding.found.startswith("1000 of 7040 MiB of CMM free, asked in ")
    assert "axcl-smi reboot" in finding.cure


def test_memory_that_does_not_come_back_is_told(examined: Examined) -> None:
    answers = iter([7040 << 10, 7040 << 10, 7000 << 10, 7000 << 10])
    emulator = Emulator()

    def properties(device_id: int) -> tuple[dict[str, Any], int]:
        told, ret = emulator.rt.get_device_properties(device_id)
        return told | {"free_cmm_size": next(answers)}, ret

    patient = examined(Told(emulator, get_device_properties=properties))
    assert card.memory(patient).status == "ok"
    finding = card.given_back(patient)
    assert (finding.status, finding.found) == ("warning", "40 MiB of CMM did not come back")


def test_releases_that_differ_are_told(examined: Examined) -> None:
    finding = card.releases(examined(with_properties(Emulator(), sw_version=list(b"V3.6.4\0"))))
    assert finding.status == "warning"
    assert finding.found == "library 3.10.2, firmware V3.6.4, pyaxcl 3.10.2: they differ"
    assert "of one release" in finding.cure


def test_a_card_whose_threads_behave_otherwise_is_told(examined: Examined) -> None:
    """As the older library: a second thread's set_device binds nothing."""
    emulator = Emulator()
    main = get_ident()

    def set_device(device_id: int) -> int:
        return int(emulator.rt.set_device(device_id)) if get_ident() == main else 0

    axcl = Told(emulator, set_device=set_device, get_device_properties=None)
    patient = examined(axcl)
    patient.undo.close()
    finding = card.binding_kept(patient)
    assert (finding.status, finding.numbers["bound_by_set_device"]) == ("ok", False)
    assert finding.numbers["kept_by_properties"] is None
    assert finding.found == (
        "asking for the card's state cannot be done; a thread without a context may not allocate, and may "
        "not after set_device"
    )


def test_what_an_old_library_cannot_tell_is_skipped(examined: Examined) -> None:
    patient = examined(Told(Emulator(), get_device_properties=None))
    assert [check(patient).status for check in (card.memory, card.temperature)] == ["skipped", "skipped"]
    assert card.given_back(patient).found == "closed in order"


def test_where_the_library_cannot_tell_axcl_smi_is_asked(examined: Examined) -> None:
    patient = examined(Told(Emulator(devices=(3,)), get_device_properties=None))
    smi(patient)
    assert card.releases(patient).numbers["firmware"] == "V3.10.2"
    assert card.memory(patient).found.startswith("7022 of 7040 MiB of CMM free, asked in ")
    assert card.temperature(patient).found == "38 °C, NPU 0%, CPU 1%"
    assert card.given_back(patient).found == "closed in order; all memory is back"


def test_a_card_that_is_not_there_is_told_with_the_call(tmp_path: Path) -> None:
    patient = Patient(Orders(Machine.here(), "card", 0, None, tmp_path))
    patient.axcl = Emulator(devices=())
    with pytest.raises(DeviceError, match="init: AXCL_ERR_DEVICE_OPEN"):
        card.opened(patient)


def test_a_library_that_ignores_the_json_text_is_told(examined: Examined) -> None:
    patient = examined(Emulator())
    assert card.log_written(patient).status == "ok"
    patient.machine.path(patient.machine.log).unlink()
    finding = card.log_written(patient)
    assert finding.status == "warning"
    assert "/tmp/axcl/axcl_logs.txt" in finding.cure


def test_axcl_smi_is_asked(examined: Examined) -> None:
    patient = examined(Emulator(devices=(3,)))
    finding = card.smi(patient)
    assert (finding.status, finding.found) == ("warning", "axcl-smi tells nothing of this card")
    smi(patient)
    finding = card.smi(patient)
    assert (finding.status, finding.found) == ("ok", "axcl-smi tells 38 °C, 7022 MiB of CMM free")
    patient.orders.smi.write_text(patient.orders.smi.read_text().replace(" 18 MiB", " 4000 MiB"))
    finding = card.smi(patient)
    assert finding.status == "warning"
    assert finding.found == "axcl-smi tells 38 °C, 3040 MiB of CMM free, by our own count 7040 MiB"


# --- a model


def test_a_model_that_is_well_is_ok(examined: Examined) -> None:
    patient = examined(Emulator(), vision_package().folder)
    before = patient.runtime.free_bytes
    names = ("package", "one_execute", "load", "self_test", "generate", "vision")
    found = {name: getattr(running, name)(patient) for name in names}
    assert {name: finding.status for name, finding in found.items()} == dict.fromkeys(names, "ok")
    assert found["package"].numbers["num_layers"] == 4
    assert "K_cache bfloat16" in found["one_execute"].found
    assert found["load"].numbers["context_length"] == 63
    assert found["self_test"].numbers == {"kv_write": "direct"}
    assert found["generate"].numbers["chunk"] == 8
    assert "hidden_states_out" in found["vision"].found
    patient.undo.close()
    assert patient.runtime.free_bytes == before


def test_a_model_without_pictures_is_run_without(examined: Examined) -> None:
    patient = examined(Emulator(), text_package().folder)
    running.package(patient)
    assert running.vision(patient).status == "skipped"


def test_a_model_that_does_not_fit_is_told_with_the_numbers(examined: Examined) -> None:
    patient = examined(Emulator(cmm_bytes=100 << 10), vision_package().folder)
    finding = running.package(patient)
    assert (finding.status, finding.numbers["free_bytes"]) == ("failed", 100 << 10)
    assert finding.numbers["load_bytes"] == vision_package().load_bytes
    assert "smaller model" in finding.cure


def test_a_model_that_fits_as_it_is_served_fits_as_it_is_examined(examined: Examined) -> None:
    """With a vision graph that is the largest of all, so that its file must be on the card first."""
    folder = Path(shutil.copytree(vision_package().folder, new_folder() / "package"))
    model = open_package(folder)
    assert model.vision
    graph = onnx.load(model.vision)
    graph.producer_name = 2_000_000 * "-"
    onnx.save(graph, model.vision)
    patient = examined(Emulator(cmm_bytes=model.load_bytes + (512 << 10)), folder)
    for check in CHECKS:
        if check.name in MODEL_CHECKS - {"encoder", "answer"}:
            finding = check.run(patient)
            assert (check.name, finding.status) == (check.name, "ok")


def test_what_only_axcl_smi_tells_is_what_a_model_must_fit_in(examined: Examined) -> None:
    patient = examined(OldEmulator(devices=(3,)), vision_package().folder)
    patient.orders.smi.write_text(
        "#!/bin/sh\ncat <<'END'\n" + TABLE.replace(" 18 MiB", " 7040 MiB") + "END\n"
    )
    patient.orders.smi.chmod(0o755)
    assert card.memory(patient).status == "warning"
    finding = running.package(patient)
    assert (finding.status, finding.numbers["free_bytes"]) == ("failed", 0)


def test_a_card_that_refuses_to_write_in_place_is_told(examined: Examined) -> None:
    emulator = Emulator()
    patient = examined(emulator, text_package().folder)
    running.package(patient)
    running.load(patient)
    num_calls = emulator.counters.calls["engine_execute"]
    running.self_test(patient)
    third = (emulator.counters.calls["engine_execute"] - num_calls) * 2 // 3 + 1
    emulator.faults.fail("engine_execute", 0x8030070C, nth=third)
    finding = running.self_test(patient)
    assert (finding.status, finding.numbers) == ("warning", {"kv_write": "copy"})
    assert finding.found == ("K/V rows are written the copy way (vendor agrees, copy agrees, direct differs)")


def test_logits_that_are_no_numbers_are_told(examined: Examined) -> None:
    emulator = Emulator()

    def torn(target: int, source: int, size: int, kind: int) -> int:
        ret = emulator.rt.memcpy(target, source, size, kind)
        if kind == 2:
            ctypes.memset(target, 255, size)
        return ret

    patient = examined(Told(emulator, memcpy=torn), text_package().folder)
    running.package(patient)
    running.load(patient)
    for check in (running.generate, running.one_execute):
        finding = check(patient)
        assert (finding.status, "not finite" in finding.found) == ("failed", True)


def test_a_runtime_says_which_library_it_is() -> None:
    runtime = Runtime(Emulator())
    assert runtime.library_version == "3.10.2"
    runtime.close()
