"""The wall around pyAXCL: the only file that calls it. Codes become `DeviceError`, tuples become values.

pyAXCL's conventions, and the traps closed here (names and behaviour: pyAXCL V2.25.0 and V3.10.2):

- every call returns a signed code, alone or last in a tuple; a code may stand where a number is expected;
  pointers are None on failure; a model that cannot be read loads "successfully" as id 0;
- pointers must be plain ints that are not 0: with any other, -1 is returned and no call is made;
- copies are not bounds-checked by the runtime, so every offset is checked against its `Buffer` here;
- sizes travel as uint32, so nothing of 4 GiB and more goes in one piece;
- memory is not zeroed by malloc, so `malloc` here zeroes;
- the ByName setters act on index 0, so only ByIndex is used;
- `init` takes JSON text, not a path;
- the libraries print on standard output, so who opens a card does it in a process with another one;
- a device id is a PCI bus number, so a device is chosen by its place in the device list;
- `get_device_properties` came with V3.10, and unbinds the thread; what it replaced never works;
- contexts are bound to threads, and a call after the end may crash: all calls of one `Runtime` belong to the
  thread that opened it, until it is closed.
"""

import json
from collections.abc import Mapping
from contextlib import ExitStack
from os import SEEK_END
from pathlib import Path
from threading import get_ident
from typing import Any

from backends.axcl import codes
from backends.axcl.handles import Buffer, Group, Model, pages
from backends.axcl.installed import log_file, why_not_imported, why_not_opened
from backends.axcl.monitor import free_by_library
from backends.base import Array, DeviceError, DeviceMemoryError, PackageError, TensorSpec

MALLOC_HUGE_FIRST = 0
H2D, D2H, D2D = 1, 2, 3
VNPU_DISABLE = 0
MAX_TRANSFER = 2**32 - 1
NO_CARD = "see dmesg, and cut the power of the host once, which a reboot does not"


def import_axcl() -> Any:  # noqa: ANN401 - pyAXCL has no types
    """The real pyAXCL. Raises DeviceError when it, or the libraries it opens, is not there."""
    try:
        import axcl
    except (Exception, SystemExit) as reason:
        raise DeviceError("import axcl", codes.BINDING_FAILED, why_not_imported(reason)) from None
    if not hasattr(axcl, "rt"):
        found = getattr(axcl, "__file__", None) or "a folder named axcl"
        raise DeviceError("import axcl", codes.BINDING_FAILED, f"{found} hides pyAXCL: move it away")
    return axcl


class Runtime:
    """One device, opened by the calling thread and used by no other."""

    def __init__(self, axcl: Any, device_index: int = 0) -> None:  # noqa: ANN401
        self._calls = axcl.rt
        self._thread: int | None = get_ident()
        # Warnings (3) and worse only.
        log = {"host": {"path": str(log_file()), "level": 3}, "device": {"level": 3}}
        ret = axcl.init(json.dumps({"log": log}))
        if codes.unsigned(ret) == codes.DEVICE_OPEN:
            raise DeviceError("init", codes.DEVICE_OPEN, f"AXCL_ERR_DEVICE_OPEN: {why_not_opened()}")
        if codes.unsigned(ret) != codes.CONFIG_NOT_READ:  # then its defaults do
            self._check("init", ret)
        # Undone in this order, also after a failure half way. What goes wrong meanwhile has no remedy left.
        with ExitStack() as undo:
            undo.callback(axcl.finalize)
            self.device_id = self._choose(device_index)
            # Before anything that it could take away: the library sets the device for it, and resets it.
            self._free_at_start = free_by_library(self._ask())
            self._check("set_device", self._rt.set_device(self.device_id))
            undo.callback(self._rt.reset_device, self.device_id)
            self._context = self._handle("create_context", self._rt.create_context(self.device_id))
            undo.callback(self._rt.destroy_context, self._context)
            self._init_engine()
            undo.callback(self._rt.engine_finalize)
            self._undo = undo.pop_all()
        self._used = 0

    def _choose(self, place: int) -> int:
        devices: list[int] = self._value("get_device_list", self._rt.get_device_list())
        if 0 <= place < len(devices):
            return devices[place]
        found = f"{len(devices)} found: {devices}" if devices else f"none found: {NO_CARD}"
        raise DeviceError("get_device_list", codes.SUCCESS, f"there is no card number {place} ({found})")

    def _init_engine(self) -> None:
        # The engine is initialised once per process on the card; a second time fails, which is fine
        # as long as it runs unpartitioned: language models are compiled for all three cores.
        ret = self._rt.engine_init(VNPU_DISABLE)
        if ret != codes.SUCCESS:
            kind, answered = self._rt.engine_get_vnpu_kind()
            if answered != codes.SUCCESS or kind != VNPU_DISABLE:
                self._check("engine_init", ret)

    @property
    def _rt(self) -> Any:  # noqa: ANN401
        if get_ident() != self._thread:
            raise RuntimeError("a Runtime is used by the thread that opened it, and until it is closed")
        return self._calls

    def close(self) -> None:
        """Orderly, and only once. A process that skips it may leave the driver in need of a reload."""
        if self._thread is not None and self._rt:
            self._undo.close()
            self._thread = None

    # memory

    def malloc(self, size: int) -> Buffer:
        """Zeroed device memory: a NaN left behind by somebody else would pass through any mask."""
        if not 0 < size <= MAX_TRANSFER:
            raise DeviceMemoryError("malloc", codes.NO_DEVICE_MEMORY, f"{size} bytes in one piece")
        buffer = Buffer(self._handle("malloc", self._rt.malloc(size, MALLOC_HUGE_FIRST)), size)
        with ExitStack() as undo:
            undo.callback(self._rt.free, buffer.address)
            self._check("memset", self._rt.memset(buffer.address, 0, size))
            undo.pop_all()
        self._used += pages(size)
        return buffer

    def free(self, buffer: Buffer) -> None:
        self._check("free", self._rt.free(buffer.address))
        self._used -= pages(buffer.size)

    def upload(self, target: Buffer, source: Array) -> None:
        """Host array -> the start of `target`."""
        self._copy(target.part(0, source.nbytes).address, _address(source), source.nbytes, H2D)

    def download(self, target: Array, source: Buffer) -> None:
        """The start of `source` -> host array."""
        if not target.flags.writeable:
            raise ValueError("the runtime writes where it is told, into what is read-only as well")
        self._copy(_address(target), source.part(0, target.nbytes).address, target.nbytes, D2H)

    def copy(self, target: Buffer, source: Buffer) -> None:
        """All of `source` -> the start of `target`, on the device."""
        self._copy(target.part(0, source.size).address, source.address, source.size, D2D)

    def _copy(self, target: int, source: int, size: int, kind: int) -> None:
        if size:
            self._check("memcpy", self._rt.memcpy(target, source, size, kind))

    @property
    def free_bytes(self) -> int | None:
        """CMM that should be left: what was free before anything was loaded, less what was taken since (a
        model counts as much as its file). None where nobody can tell; the library cannot before V3.10."""
        return None if self._free_at_start is None else self._free_at_start - self._used

    def assume_free(self, free_bytes: int | None) -> None:
        """What somebody else could tell before anything was taken, where the library cannot."""
        self._free_at_start = free_bytes

    # the card

    @property
    def library_version(self) -> str | None:
        *numbers, ret = self._rt.get_version()
        return ".".join(map(str, numbers)) if ret == codes.SUCCESS else None

    def properties(self) -> Mapping[str, Any] | None:
        """What the card says of itself (axclrtDeviceProperties); None where the library cannot tell (pyAXCL
        before 3.10). Takes seconds, and only while nothing is loaded is it known to do no harm: the library
        runs shell commands on the card and resets the device's binding."""
        properties = self._ask()
        self._check("set_current_context", self._rt.set_current_context(self._context))
        return properties

    def _ask(self) -> Mapping[str, Any] | None:
        if not hasattr(self._rt, "get_device_properties"):
            return None
        properties, ret = self._rt.get_device_properties(self.device_id)
        return properties if ret == codes.SUCCESS else None

    # models

    def load(self, path: Path) -> Model:
        """Load one compiled graph; raises PackageError where its file cannot be handed over, DeviceError, and
        DeviceMemoryError when the card has no room."""
        size = _readable(path)
        model_id, ret = self._rt.engine_load_from_file(str(path))
        call = f"engine_load_from_file({path.name})"
        if codes.unsigned(ret) == codes.EXECUTE_FAIL or (ret == codes.SUCCESS and not model_id):
            detail = "it is no compiled model that this device takes: cut off, damaged, or for another chip"
            raise DeviceError(call, codes.unsigned(ret), detail)
        self._check(call, ret)
        with ExitStack() as undo:
            undo.callback(self._rt.engine_unload, model_id)
            try:
                context = self._value("engine_create_context", self._rt.engine_create_context(model_id))
                info = self._handle("engine_get_io_info", self._rt.engine_get_io_info(model_id))
                undo.callback(self._rt.engine_destroy_io_info, info)
                groups = self._groups(info)
            except DeviceError as reason:
                raise type(reason)(f"{path.name}: {reason.call}", reason.code, reason.detail) from None
            undo.pop_all()
        self._used += pages(size)
        return Model(path, size, model_id, context, info, groups)

    def _groups(self, info: int) -> tuple[Group, ...]:
        count = self._value("engine_get_shape_groups_count", self._rt.engine_get_shape_groups_count(info))
        return tuple(
            Group(self._tensors("input", info, group), self._tensors("output", info, group))
            for group in range(count)
        )

    def _tensors(self, side: str, info: int, group: int) -> tuple[TensorSpec, ...]:
        call = f"engine_get_num_{side}s"
        count = getattr(self._rt, call)(info)
        if count >> 31:
            self._check(call, count)
        return tuple(self._tensor(side, info, group, place) for place in range(count))

    def _tensor(self, side: str, info: int, group: int, place: int) -> TensorSpec:
        rt, get = self._rt, f"engine_get_{side}_"
        name = getattr(rt, f"{get}name_by_index")(info, place)
        dims = self._value(f"{get}dims", getattr(rt, f"{get}dims")(info, group, place))
        dtype = self._value(f"{get}data_type", getattr(rt, f"{get}data_type")(info, place))
        if not name:
            raise DeviceError(f"{get}name_by_index", codes.SUCCESS, f"{side} {place} has no name")
        if dtype not in codes.DTYPES:
            raise DeviceError(f"{get}data_type", codes.SUCCESS, f"tensor {name} has the unknown type {dtype}")
        tensor = TensorSpec(name, codes.DTYPES[dtype], tuple(dims))
        size = getattr(rt, f"{get}size_by_index")(info, group, place)
        # Cards were seen to tell the shape's, to the byte (0x802 for a mask of 1025 values). Where another is
        # told, nobody knows where the values are, and a run would reach beyond a buffer of its shape.
        if size != tensor.nbytes:
            told = f"tensor {name} takes {size} bytes, and {tensor.dtype} {list(dims)} makes {tensor.nbytes}"
            raise DeviceError(f"{get}size_by_index", codes.SUCCESS, told)
        return tensor

    def unload(self, model: Model) -> None:
        self._rt.engine_destroy_io_info(model.info)  # on the host; a failure must not keep the model loaded
        self._check("engine_unload", self._rt.engine_unload(model.id))
        self._used -= pages(model.size)

    def create_io(self, model: Model) -> int:
        """A set of buffers for one group of `model`; filled with `set_input` and `set_output`."""
        return self._handle("engine_create_io", self._rt.engine_create_io(model.info))

    def destroy_io(self, io: int) -> None:
        self._check("engine_destroy_io", self._rt.engine_destroy_io(io))

    def set_input(self, io: int, place: int, buffer: Buffer) -> None:
        ret = self._rt.engine_set_input_buffer_by_index(io, place, buffer.address, buffer.size)
        self._check("engine_set_input_buffer_by_index", ret)

    def set_output(self, io: int, place: int, buffer: Buffer) -> None:
        ret = self._rt.engine_set_output_buffer_by_index(io, place, buffer.address, buffer.size)
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

    def _handle(self, call: str, answer: tuple[int | None, int]) -> int:
        handle = self._value(call, answer)
        if not handle:
            raise DeviceError(call, codes.SUCCESS, "it succeeded, and returned nothing")
        return int(handle)

    def _check(self, call: str, ret: int) -> None:
        if ret == codes.SUCCESS:
            return
        code = codes.unsigned(ret)
        kind = DeviceMemoryError if code == codes.NO_DEVICE_MEMORY else DeviceError
        raise kind(call, code, codes.describe(code))


def _address(array: Array) -> int:
    if not array.flags.c_contiguous:
        raise ValueError("the runtime copies contiguous memory only")
    return int(array.__array_interface__["data"][0])


def _readable(path: Path) -> int:
    """The size of a file that the library can load; of one that it cannot, it does not say why."""
    try:
        str(path).encode()
        with path.open("rb") as file:
            size = file.seek(0, SEEK_END)
    except OSError as reason:
        raise PackageError(f"{path.name} cannot be read: {reason.strerror}") from None
    except UnicodeEncodeError:
        raise PackageError(f"{path} cannot be given to pyAXCL, which takes names in UTF-8 only") from None
    if size > MAX_TRANSFER:
        raise PackageError(f"{path.name} has {size} bytes, and a card takes less than 4 GiB in one piece")
    return size
