"""AXCL return codes as words. Layout and names follow the runtime's public headers (axcl_base.h, V3.10.2)."""

SUCCESS = 0
BINDING_FAILED = 0xFFFFFFFF  # pyAXCL itself failed: a bad argument, or an exception it swallowed

_MODULES = {
    1: "DEVICE",
    2: "CONTEXT",
    3: "STREAM",
    4: "TASK",
    5: "MEMORY",
    6: "CONFIG",
    7: "ENGINE",
    8: "SYSLOG",
}
_COMMON = {
    0x01: "FAIL",
    0x02: "NULL_POINTER",
    0x03: "ILLEGAL_PARAM",
    0x04: "UNSUPPORT",
    0x05: "TIMEOUT",
    0x06: "BUSY",
    0x07: "NO_MEMORY",
    0x08: "ENCODE",
    0x09: "DECODE",
    0x0A: "UNEXPECT_RESPONSE",
    0x0B: "OPEN",
    0x0C: "EXECUTE_FAIL",
}
_SPECIFIC = {
    (1, 0x80): "QUERY",
    (1, 0x81): "NO_CONNECT",
    (1, 0x82): "PROBE",
    (1, 0x83): "NOT_ACTIVE",
    (1, 0x84): "INVALID_ID",
    (1, 0x85): "NO_ACTIVE",
    (1, 0x86): "PORT_ALLOCATE",
    (1, 0x87): "REBOOT",
    (1, 0x88): "PORT_DESTROY",
    (2, 0x81): "CREATE",
    (2, 0x82): "DESTROY",
    (2, 0x83): "BIND_THREAD",
    (2, 0x84): "NO_BIND",
    (3, 0x83): "SYNC_TIMEOUT",
    (4, 0x81): "SUBMIT",
    (5, 0x81): "NOT_DEVICE_MEMORY",
    (6, 0x81): "LOAD",
    (7, 0x81): "INVALID_INDEX",
}
_HINTS = {
    0x8030010B: "the driver is not loaded or /dev/axcl_host may not be opened",
    0x80300184: "this device id is not in the device list",
    0x80300186: "the card is held by another process or hangs",
    0x80300284: "the calling thread has no AXCL context",
    0x8030040C: "the card does not answer any more",
    0x8030050C: "out of card memory (CMM)",
    0x80300581: "not the base address of a device allocation",
    0x80300703: "illegal argument, or the model file is missing",
    0x8030070C: "the NPU could not run the model with these buffers",
}

NO_DEVICE_MEMORY = 0x8030050C
EXECUTE_FAIL = 0x8030070C


def unsigned(ret: int) -> int:
    """pyAXCL returns codes as signed 32-bit numbers."""
    return ret & 0xFFFFFFFF


def describe(code: int) -> str:
    """`AXCL_ERR_CONTEXT_NO_BIND: the calling thread has no AXCL context`, as far as the code is known."""
    if code == BINDING_FAILED:
        return "pyAXCL refused the arguments or swallowed an exception"
    if code >> 16 & 0xFF != 0x30:
        return "an error of the card's own SDK"
    module, number = code >> 8 & 0xFF, code & 0xFF
    word = _SPECIFIC.get((module, number)) or _COMMON.get(number, f"{number:02X}")
    name = f"AXCL_ERR_{_MODULES.get(module, f'{module:02X}')}_{word}"
    hint = _HINTS.get(code)
    return f"{name}: {hint}" if hint else name
