"""Codes as words."""

import pytest

from backends.axcl import codes

# All that are known to be met, signed as pyAXCL returns them.
MET = {
    -2144337653: ("AXCL_ERR_DEVICE_OPEN", "driver is not loaded"),
    -2144337533: ("AXCL_ERR_DEVICE_NOT_ACTIVE", "was not set in this process"),
    -2144337532: ("AXCL_ERR_DEVICE_INVALID_ID", "not in the device list"),
    -2144337531: ("AXCL_ERR_DEVICE_NO_ACTIVE", "no device was set"),
    -2144337530: ("AXCL_ERR_DEVICE_PORT_ALLOCATE", "held by another process"),
    -2144337278: ("AXCL_ERR_CONTEXT_DESTROY", "default context"),
    -2144337276: ("AXCL_ERR_CONTEXT_NO_BIND", "the calling thread has no AXCL context"),
    -2144336884: ("AXCL_ERR_TASK_EXECUTE_FAIL", "does not answer any more"),
    -2144336628: ("AXCL_ERR_MEMORY_EXECUTE_FAIL", "out of card memory"),
    -2144336511: ("AXCL_ERR_MEMORY_NOT_DEVICE_MEMORY", "not the base address"),
    -2144336255: ("AXCL_ERR_CONFIG_LOAD", "defaults are used"),
    -2144336126: ("AXCL_ERR_ENGINE_NULL_POINTER", "without an address"),
    -2144336125: ("AXCL_ERR_ENGINE_ILLEGAL_PARAM", "illegal argument"),
    -2144336116: ("AXCL_ERR_ENGINE_EXECUTE_FAIL", "could not run the model"),
    -2144335999: ("AXCL_ERR_ENGINE_INVALID_INDEX", "no tensor or group"),
    -2144335604: ("AXCL_ERR_SYSCTRL_EXECUTE_FAIL", "shell command"),
}


@pytest.mark.parametrize("ret", MET)
def test_a_code_that_is_met_has_a_name_and_a_hint(ret: int) -> None:
    name, _, hint = codes.describe(codes.unsigned(ret)).partition(": ")
    assert (name, MET[ret][1] in hint) == (MET[ret][0], True)


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (0x80300383, "AXCL_ERR_STREAM_SYNC_TIMEOUT"),
        (0x80300105, "AXCL_ERR_DEVICE_TIMEOUT"),
        (0x80300A01, "AXCL_ERR_LATENCY_FAIL"),
        (0x80300B0B, "AXCL_ERR_P2P_OPEN"),
        (0x80300C99, "AXCL_ERR_USRWORK_99"),
        (0x80304203, "AXCL_ERR_42_ILLEGAL_PARAM"),
        (0x81300105, "AXCL_ERR_NATIVE_DEVICE_TIMEOUT"),
        (0x82300701, "AXCL_ERR_LITE_ENGINE_FAIL"),
        (0x80110001, "an error of the card's own SDK"),
        (0x00300105, "an error of the card's own SDK"),
    ],
)
def test_a_code_without_a_hint_has_as_much_of_a_name_as_is_known(code: int, name: str) -> None:
    assert codes.describe(code) == name


def test_minus_one_is_of_pyaxcl() -> None:
    assert codes.describe(codes.unsigned(-1)).startswith("pyAXCL refused the arguments or swallowed")
