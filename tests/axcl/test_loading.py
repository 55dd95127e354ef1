"""A card that is full says so in several ways, and a card that is not does not."""

import pytest

from backends.axcl import backend as backend_module
from backends.axcl.backend import AxclBackend
from backends.axcl.cures import Host, cures
from backends.axcl.handles import PAGE
from backends.axcl.layers import KvWrite
from backends.base import DeviceError, DeviceMemoryError
from backends.emulator import Emulator, OldEmulator
from tests.packages import free_bytes, opened, text_package

LAYER = "qwen3_p8_l0_together.axmodel"
FULL = {
    "AXCL_ERR_MEMORY_EXECUTE_FAIL": 0x8030050C,
    "AXCL_ERR_MEMORY_FAIL": 0x80300501,
    "AXCL_ERR_ENGINE_NO_MEMORY": 0x80300707,
    "AXCL_ERR_DEVICE_NO_MEMORY": 0x80300107,
    "AX_ERR_NOMEM": 0x80060118,
    "AX_ERR_NOBUF": 0x80060119,
}
OTHER = {
    "AXCL_ERR_ENGINE_EXECUTE_FAIL": 0x8030070C,
    "AXCL_ERR_ENGINE_DECODE": 0x80300709,
    "AXCL_ERR_TASK_EXECUTE_FAIL": 0x8030040C,
    "AX_ERR_ILLEGAL_PARAM": 0x8006010A,
    "pyAXCL's own": 0xFFFFFFFF,
}


def refused(card: Emulator, code: int) -> DeviceError:
    """What is raised where the third load, that of the second layer, answers so; nothing stays loaded."""
    with opened(card) as backend:
        before = free_bytes(backend)
        card.faults.fail("engine_load_from_file", code, nth=3)
        with pytest.raises(DeviceError) as caught:
            backend.decoder(text_package(), KvWrite.DIRECT)
        assert free_bytes(backend) == before
        assert caught.value.code == code
        return caught.value


@pytest.mark.parametrize("name", FULL)
def test_whatever_names_memory_is_want_of_memory(name: str) -> None:
    reason = refused(Emulator(), FULL[name])
    assert isinstance(reason, DeviceMemoryError)
    assert "out of card memory (CMM)" in str(reason)
    advice = " ".join(cures(reason, Host(buses=(3,))))
    assert "axcl-smi reboot gives it back" in advice


@pytest.mark.parametrize("name", OTHER)
def test_nothing_else_is_while_there_is_memory(name: str) -> None:
    assert not isinstance(refused(Emulator(), OTHER[name]), DeviceMemoryError)


@pytest.mark.parametrize("name", OTHER)
def test_all_are_where_less_is_free_than_loading_takes(name: str) -> None:
    """There is just enough for the post graph with its file beside it, and then for the first layer."""
    post, layer = text_package().post.stat().st_size, text_package().layers[0].stat().st_size
    size = ((2 * post + layer) // PAGE + 3) * PAGE
    reason = refused(Emulator(cmm_bytes=size), OTHER[name])
    assert isinstance(reason, DeviceMemoryError)
    assert f"to load it takes {2 * layer / 1e6:.1f} MB, and 0." in str(reason)


TABLE = """
|    1  AX650N   V2.26.0 | 0000:07:00.0 | 149 MiB / 945 MiB |
|   --   38C  -- / -- | 1%  0% | 40 MiB / 7040 MiB |
|    0  AX650N   V2.26.0 | 0000:03:00.0 | 149 MiB / 945 MiB |
|   --   38C  -- / -- | 1%  0% | 18 MiB / 7040 MiB |
"""


@pytest.mark.parametrize(("table", "told"), [(TABLE, 7000 << 20), ("", None), ("another format", None)])
def test_an_old_library_leaves_it_to_axcl_smi_how_much_is_free(
    monkeypatch: pytest.MonkeyPatch, table: str, told: int | None
) -> None:
    asked: list[bool] = []
    card = OldEmulator(devices=(3, 7))

    def tool() -> str:
        asked.append(card._process.initialized)
        return table

    monkeypatch.setattr(backend_module, "run_tool", tool)
    backend = AxclBackend(card, 1)
    assert asked == [False]
    if told is None:
        assert backend.free_bytes is None
    else:
        assert backend.free_bytes == told * 31 // 32
        decoder = backend.decoder(text_package(), KvWrite.DIRECT)
        assert backend.free_bytes == told * 31 // 32 - card._process.cards[7].memory.used
        decoder.close()
        assert backend.free_bytes == told * 31 // 32
    backend.close()


def test_a_library_that_can_tell_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend_module, "run_tool", None)  # must not be called
    with opened(Emulator()) as backend:
        assert free_bytes(backend) == 7040 << 20
