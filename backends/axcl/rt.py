"""The wall around pyAXCL: the only file that calls it. Codes become `DeviceError`, tuples become values.

pyAXCL's conventions, and the traps closed here (names and behaviour: pyAXCL V2.25.0 and V3.10.2):

- every call returns a signed code, alone or last in a tuple; pointers are None on failure; a model that
  cannot be read loads "successfully" as id 0; pointers must be plain ints;
- copies are not bounds-checked by the runtime, so every offset is checked against its `Buffer` here;
- memory is not zeroed by malloc, so `malloc` here zeroes;
- the ByName setters act on index 0, so only ByIndex is used;
- `init` takes JSON text, not a path, and the libraries log to standard output as well;
- a device id is a PCI bus number, so a device is chosen by its place in the device list.

All calls of one `Runtime` belong to the thread that opened it: AXCL binds contexts to threads.
"""

import json
import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from backends.axcl import codes
from backends.base import Array, DeviceError, DeviceMemoryError, TensorSpec

MALLOC_HUGE_FIRST = 0
H2D, D2H, D2D = 1, 2, 3
VNPU_DISABLE = 0
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
PAGE = 4096
MAX_TRANSFER = 2**32 - 1  # sizes travel to the card as uint32


@dataclass(frozen=True, slots=True)
class Buffer:
    """`size` bytes of device memory from `address` on."""

    address: int
    size: int

    def part(self, offset: int, size: int) -> "Buffer":
        """A view; raises IndexError where it would leave the buffer (the runtime would not notice)."""
        if offset < 0 or size < 0 or offset + size > self.size:
            raise IndexError(f"bytes {offset}..{offset + size} of a device buffer of {self.size}")
        return Buffer(self.address + offset, size)


@dataclass(frozen=True, slots=True)
class Group:
    """One compiled static shape: its tensors in index order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True, slots=True)
class Model:
    """A loaded graph: handles for the runtime, and its groups."""

    path: Path
    size: int  # of the file, in bytes
    id: int
    context: int
    info: int
    groups: tuple[Group, ...]


def log_file() -> Path:
    """Where the card's library logs to: where this user may write, because the default one belongs to whoever
    came first."""
    return Path(gettempdir()) / f"axgate-axcl-{os.getuid()}.log"


def _config() -> str:
    """JSON text, because V3.10 ignores a path; warnings (3) and worse only."""
    return json.dumps({"log": {"host": {"path": str(log_file()), "level": 3}, "device": {"level": 3}}})


def import_axcl() -> Any:  # noqa: ANN401 - pyAXCL has no types
    """The real pyAXCL. Raises DeviceError when it, or the libraries it opens, is not there."""
    try:
        import axcl
    except (ImportError, OSError, SystemExit) as reason:
        detail = f"pyAXCL cannot be imported ({reason}); install the wheel that matches the axclhost package"
        raise DeviceError("import axcl", codes.BINDING_FAILED, detail) from None
    return axcl


class Runtime:
    """One device, opened by the calling thread."""

    def __init__(self, axcl: Any, device_index: int = 0) -> None:  # noqa: ANN401
        self._axcl = axcl
        self._rt = axcl.rt
        self._check("init", axcl.init(_config()))
        # Undone in this order, also after a failure half way. What goes wrong meanwhile has no remedy left.
        with ExitStack() as undo:
            undo.callback(axcl.finalize)
            self.device_id = self._choose(device_index)
            self._check("set_device", self._rt.set_device(self.device_id))
            undo.callback(self._rt.reset_device, self.device_id)
            self._context = int(self._value("create_context", self._rt.create_context(self.device_id)))
            undo.callback(self._rt.destroy_context, self._context)
            self._init_engine()
            undo.callback(self._rt.engine_finalize)
            self._free_at_start = self._free_bytes()
            self._undo = undo.pop_all()
        self._used = 0

    def _choose(self, index: int) -> int:
        devices: list[int] = self._value("get_device_list", self._rt.get_device_list())
        if not 0 <= index < len(devices):
            found = f"{len(devices)} found: {devices}" if devices else "none found"
            raise DeviceError("get_device_list", codes.SUCCESS, f"there is no card number {index} ({found})")
        return devices[index]

    def _init_engine(self) -> None:
        # The engine is initialised once per process on the card; a second time fails, which is fine
        # as long as it runs unpartitioned: language models are compiled for all three cores.
        ret = self._rt.engine_init(VNPU_DISABLE)
        if ret != codes.SUCCESS:
            kind, answered = self._rt.engine_get_vnpu_kind()
            if answered != codes.SUCCESS or kind != VNPU_DISABLE:
                self._check("engine_init", ret)

    def close(self) -> None:
        """Orderly teardown. A process that skips it may leave the driver in need of a reload."""
        self._undo.close()

    # memory

    def malloc(self, size: int) -> Buffer:
        """Zeroed device memory: a NaN left behind by somebody else would pass through any mask."""
        if not 0 < size <= MAX_TRANSFER:
            raise DeviceMemoryError("malloc", codes.NO_DEVICE_MEMORY, f"{size} bytes in one piece")
        address, ret = self._rt.malloc(size, MALLOC_HUGE_FIRST)
        self._check("malloc", ret)
        buffer = Buffer(int(address), size)
        self._used += _pages(size)
        self._check("memset", self._rt.memset(buffer.address, 0, size))
        return buffer

    def free(self, buffer: Buffer) -> None:
        self._check("free", self._rt.free(buffer.address))
        self._used -= _pages(buffer.size)

    def upload(self, target: Buffer, source: Array) -> None:
        """Host array -> the start of `target`."""
        self._copy(target.part(0, source.nbytes).address, _address(source), source.nbytes, H2D)

    def download(self, target: Array, source: Buffer) -> None:
        """The start of `source` -> host array."""
        self._copy(_address(target), source.part(0, target.nbytes).address, target.nbytes, D2H)

    def copy(self, target: Buffer, source: Buffer) -> None:
        """All of `source` -> the start of `target`, on the device."""
        self._copy(target.part(0, source.size).address, source.address, source.size, D2D)

    def _copy(self, target: int, source: int, size: int, kind: int) -> None:
        self._check("memcpy", self._rt.memcpy(target, source, size, kind))

    @property
    def free_bytes(self) -> int | None:
        """CMM that should be left: what was free before anything was loaded, less what was taken since (a
        model counts as much as its file). None where the library cannot tell (pyAXCL before 3.10)."""
        return None if self._free_at_start is None else self._free_at_start - self._used

    def _free_bytes(self) -> int | None:
        properties = self.properties()
        return None if properties is None else int(properties["free_cmm_size"]) << 10

    # the card

    @property
    def library_version(self) -> str | None:
        *numbers, ret = self._rt.get_version()
        return ".".join(map(str, numbers)) if ret == codes.SUCCESS else None

    def properties(self) -> Mapping[str, Any] | None:
        """What the card says of itself (axclrtDeviceProperties); None where the library cannot tell (pyAXCL
        before 3.10). Takes seconds, and only while nothing is loaded is it known to do no harm: the library
        runs shell commands on the card and resets the device's binding."""
        if not hasattr(self._rt, "get_device_properties"):
            return None
        properties, ret = self._rt.get_device_properties(self.device_id)
        self._check("set_current_context", self._rt.set_current_context(self._context))
        return properties if ret == codes.SUCCESS else None

    # models

    def load(self, path: Path) -> Model:
        """Load one compiled graph; raises DeviceError, or DeviceMemoryError when the card has no room."""
        model_id, ret = self._rt.engine_load_from_file(str(path))
        call = f"engine_load_from_file({path.name})"
        if codes.unsigned(ret) == codes.EXECUTE_FAIL or (ret == codes.SUCCESS and not model_id):
            detail = "it is no compiled model that this device takes: cut off, damaged, or for another chip"
            raise DeviceError(call, codes.unsigned(ret), detail)
        self._check(call, ret)
        with ExitStack() as undo:
            undo.callback(self._rt.engine_unload, model_id)
            context = self._value("engine_create_context", self._rt.engine_create_context(model_id))
            info = self._value("engine_get_io_info", self._rt.engine_get_io_info(model_id))
            undo.callback(self._rt.engine_destroy_io_info, info)
            count = self._value("engine_get_shape_groups_count", self._rt.engine_get_shape_groups_count(info))
            groups = tuple(self._group(info, group) for group in range(count))
            undo.pop_all()
        size = path.stat().st_size
        self._used += _pages(size)
        return Model(path, size, model_id, context, info, groups)

    def _group(self, info: int, group: int) -> Group:
        inputs = range(self._rt.engine_get_num_inputs(info))
        outputs = range(self._rt.engine_get_num_outputs(info))
        return Group(
            tuple(self._tensor("input", info, group, index) for index in inputs),
            tuple(self._tensor("output", info, group, index) for index in outputs),
        )

    def _tensor(self, side: str, info: int, group: int, index: int) -> TensorSpec:
        rt = self._rt
        name = getattr(rt, f"engine_get_{side}_name_by_index")(info, index)
        dims = self._value("dims", getattr(rt, f"engine_get_{side}_dims")(info, group, index))
        dtype = self._value("data_type", getattr(rt, f"engine_get_{side}_data_type")(info, index))
        if dtype not in DTYPES:
            raise DeviceError(
                "engine_get_data_type", codes.SUCCESS, f"tensor {name} has unknown type {dtype}"
            )
        return TensorSpec(name, DTYPES[dtype], tuple(dims))

    def unload(self, model: Model) -> None:
        self._check("engine_destroy_io_info", self._rt.engine_destroy_io_info(model.info))
        self._check("engine_unload", self._rt.engine_unload(model.id))
        self._used -= _pages(model.size)

    def create_io(self, model: Model) -> int:
        """A set of buffers for one group of `model`; filled with `set_input` and `set_output`."""
        return int(self._value("engine_create_io", self._rt.engine_create_io(model.info)))

    def destroy_io(self, io: int) -> None:
        self._check("engine_destroy_io", self._rt.engine_destroy_io(io))

    def set_input(self, io: int, index: int, buffer: Buffer) -> None:
        ret = self._rt.engine_set_input_buffer_by_index(io, index, buffer.address, buffer.size)
        self._check("engine_set_input_buffer_by_index", ret)

    def set_output(self, io: int, index: int, buffer: Buffer) -> None:
        ret = self._rt.engine_set_output_buffer_by_index(io, index, buffer.address, buffer.size)
        self._check("engine_set_output_buffer_by_index", ret)

    def execute(self, model: Model, group: int, io: int) -> None:
        """One run on the NPU; returns when the outputs are complete. No time limit: see the worker
        process."""
        ret = self._rt.engine_execute(model.id, model.context, group, io)
        if ret != codes.SUCCESS:
            self._check(f"engine_execute({model.path.name}, group {group})", ret)

    # codes

    def _value(self, call: str, answer: tuple[Any, int]) -> Any:  # noqa: ANN401
        value, ret = answer
        self._check(call, ret)
        return value

    def _check(self, call: str, ret: int) -> None:
        if ret == codes.SUCCESS:
            return
        code = codes.unsigned(ret)
        kind = DeviceMemoryError if code == codes.NO_DEVICE_MEMORY else DeviceError
        raise kind(call, code, codes.describe(code))


def _pages(size: int) -> int:
    """Bytes the card takes for `size` bytes: it allocates whole pages."""
    return -(-size // PAGE) * PAGE


def _address(array: Array) -> int:
    if not array.flags.c_contiguous:
        raise ValueError("the runtime copies contiguous memory only")
    return int(array.__array_interface__["data"][0])
