"""AXCL return codes and data types as words.

Layout and names follow the runtime's public headers (axcl_base.h, axcl_rt_engine_type.h of V3.10.2): bit 31,
seven bits for the module, 0x30, eight bits for its part, eight for what happened.
"""

SUCCESS = 0
BINDING_FAILED = 0xFFFFFFFF  # pyAXCL itself failed: a bad argument, or an exception it swallowed
DEVICE_OPEN = 0x8030010B
CONFIG_NOT_READ = 0x80300681
NO_DEVICE_MEMORY = 0x8030050C
EXECUTE_FAIL = 0x8030070C

DTYPES = {
    3: "int8",
    4: "uint8",
    5: "int16",
    6: "uint16",
    7: "int32",
    8: "uint32",
    9: "int64",
    10: "uint64",
    13: "float16",
    14: "bfloat16",
    15: "float32",
    16: "float64",
}
"""AXCL_DATA_TYPE_*, as far as numpy has them too; pyAXCL keeps its own in a module it does not export."""

_MODULES = {0: "", 1: "NATIVE_", 2: "LITE_"}  # the runtime itself is not named
_PARTS = {
    0x01: "DEVICE",
    0x02: "CONTEXT",
    0x03: "STREAM",
    0x04: "TASK",
    0x05: "MEMORY",
    0x06: "CONFIG",
    0x07: "ENGINE",
    0x08: "SYSLOG",
    0x09: "SYSCTRL",
    0x0A: "LATENCY",
    0x0B: "P2P",
    0x0C: "USRWORK",
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
    DEVICE_OPEN: "the driver is not loaded or /dev/axcl_host may not be opened",
    0x80300183: "the device was not set in this process, or was given back",
    0x80300184: "this device id is not in the device list",
    0x80300185: "no device was set in this process",
    0x80300186: "the card is held by another process or hangs",
    0x80300282: "a default context cannot be destroyed",
    0x80300284: "the calling thread has no AXCL context",
    0x8030040C: "the card does not answer any more",
    NO_DEVICE_MEMORY: "out of card memory (CMM)",
    0x80300581: "not the base address of a device allocation",
    CONFIG_NOT_READ: "the settings were not read, and defaults are used",
    0x80300702: "a buffer without an address",
    0x80300703: "illegal argument, or the model file is missing",
    EXECUTE_FAIL: "the NPU could not run the model with these buffers",
    0x80300781: "there is no tensor or group of that number",
    0x8030090C: "the card did not carry out a shell command",
}


def unsigned(ret: int) -> int:
    """pyAXCL returns codes as signed 32-bit numbers."""
    return ret & 0xFFFFFFFF


def describe(code: int) -> str:
    """`AXCL_ERR_CONTEXT_NO_BIND: the calling thread has no AXCL context`, as far as the code is known."""
    if code == BINDING_FAILED:
        return "pyAXCL refused the arguments or swallowed an exception, such as that of Ctrl-C"
    if code >> 31 == 0 or code >> 16 & 0xFF != 0x30:
        return "an error of the card's own SDK"
    module, part, number = code >> 24 & 0x7F, code >> 8 & 0xFF, code & 0xFF
    word = _SPECIFIC.get((part, number)) or _COMMON.get(number, f"{number:02X}")
    name = f"AXCL_ERR_{_MODULES.get(module, f'{module:02X}_')}{_PARTS.get(part, f'{part:02X}')}_{word}"
    hint = _HINTS.get(code)
    return f"{name}: {hint}" if hint else name
