"""The ways a call can fail, as libaxcl_rt numbers them (`axcl_base.h` and observed, V3.10.2)."""

BINDING = 0xFFFFFFFF  # pyAXCL's own -1, no call made: a null argument, or one ctypes does not convert
DEVICE_OPEN = 0x8030010B
DEVICE_NOT_ACTIVE = 0x80300183
DEVICE_INVALID_ID = 0x80300184
DEVICE_NONE_ACTIVE = 0x80300185
CONTEXT_DESTROY = 0x80300282
CONTEXT_NOT_BOUND = 0x80300284
TASK_NOT_EXECUTED = 0x8030040C
MEMORY_UNSUPPORTED = 0x80300504
MEMORY_EXHAUSTED = 0x8030050C
NOT_DEVICE_MEMORY = 0x80300581
ENGINE_NULL_POINTER = 0x80300702
ENGINE_ILLEGAL_PARAM = 0x80300703
ENGINE_EXECUTE_FAIL = 0x8030070C
ENGINE_INVALID_INDEX = 0x80300781


class Refused(Exception):
    """The call fails with `code`, an unsigned 32-bit number; `ret` is how pyAXCL hands it on, signed."""

    def __init__(self, code: int) -> None:
        super().__init__(f"0x{code:08X}")
        self.code = code
        self.ret = code - (1 << 32)
