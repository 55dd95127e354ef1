"""A card that is full says so in several ways, and a card that is not does not."""

import pytest

from backends.axcl.cures import Host, cures
from backends.axcl.handles import PAGE
from backends.axcl.layers import KvWrite
from backends.base import DeviceError, DeviceMemoryError
from backends.emulator import Emulator
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
