"""axcl.rt: what a model takes and gives, and the buffers it is given. All of it stays on the host."""

from collections.abc import Sequence
from typing import TypeVar

from backends.emulator.io import Buffer, Io
from backends.emulator.model import Group, Model, Tensor
from backends.emulator.refused import ENGINE_ILLEGAL_PARAM, ENGINE_INVALID_INDEX, ENGINE_NULL_POINTER, Refused
from backends.emulator.surface import (
    Calls,
    answers,
    count_or_code,
    no_buffer,
    no_list,
    no_name,
    no_pointer,
    nullable_pointer,
    pointer,
    ret_only,
    size_or_code,
    text,
    unsigned,
    zero,
)

# AXCL_DATA_TYPE_*
DATA_TYPES = {
    "int8": 3,
    "uint8": 4,
    "int32": 7,
    "uint32": 8,
    "float16": 13,
    "bfloat16": 14,
    "float32": 15,
}

LAYOUT_NONE = 0

Thing = TypeVar("Thing")


class IoCalls(Calls):
    @answers(ret_only)
    def engine_destroy_io_info(self, io_info: int) -> int:
        self._process.io_infos.destroy(pointer(io_info))
        return 0

    @answers(zero)
    def engine_get_shape_groups_count(self, io_info: int) -> tuple[int, int]:
        return len(self._info(io_info).groups), 0

    @answers(count_or_code)
    def engine_get_num_inputs(self, io_info: int) -> int:
        return len(self._info(io_info).groups[0].inputs)

    @answers(count_or_code)
    def engine_get_num_outputs(self, io_info: int) -> int:
        return len(self._info(io_info).groups[0].outputs)

    @answers(size_or_code)
    def engine_get_input_size_by_index(self, io_info: int, group: int, index: int) -> int:
        return _at(self._group(io_info, group).inputs, index).nbytes

    @answers(size_or_code)
    def engine_get_output_size_by_index(self, io_info: int, group: int, index: int) -> int:
        return _at(self._group(io_info, group).outputs, index).nbytes

    @answers(no_name)
    def engine_get_input_name_by_index(self, io_info: int, index: int) -> str | None:
        return _at(self._group(io_info).inputs, index).name

    @answers(no_name)
    def engine_get_output_name_by_index(self, io_info: int, index: int) -> str | None:
        return _at(self._group(io_info).outputs, index).name

    @answers(ret_only)
    def engine_get_input_index_by_name(self, io_info: int, name: str) -> int:
        return _named(self._group(io_info).inputs, name)

    @answers(ret_only)
    def engine_get_output_index_by_name(self, io_info: int, name: str) -> int:
        return _named(self._group(io_info).outputs, name)

    @answers(no_list)
    def engine_get_input_dims(self, io_info: int, group: int, index: int) -> tuple[list[int], int]:
        return list(_at(self._group(io_info, group).inputs, index).shape), 0

    @answers(no_list)
    def engine_get_output_dims(self, io_info: int, group: int, index: int) -> tuple[list[int], int]:
        return list(_at(self._group(io_info, group).outputs, index).shape), 0

    @answers(zero)
    def engine_get_input_data_type(self, io_info: int, index: int) -> tuple[int, int]:
        return DATA_TYPES[_at(self._group(io_info).inputs, index, ENGINE_ILLEGAL_PARAM).dtype], 0

    @answers(zero)
    def engine_get_output_data_type(self, io_info: int, index: int) -> tuple[int, int]:
        return DATA_TYPES[_at(self._group(io_info).outputs, index, ENGINE_ILLEGAL_PARAM).dtype], 0

    @answers(zero)
    def engine_get_input_data_layout(self, io_info: int, index: int) -> tuple[int, int]:
        _at(self._group(io_info).inputs, index, ENGINE_ILLEGAL_PARAM)
        return LAYOUT_NONE, 0

    @answers(zero)
    def engine_get_output_data_layout(self, io_info: int, index: int) -> tuple[int, int]:
        _at(self._group(io_info).outputs, index, ENGINE_ILLEGAL_PARAM)
        return LAYOUT_NONE, 0

    @answers(no_pointer)
    def engine_create_io(self, io_info: int) -> tuple[int | None, int]:
        return self._process.ios.new(Io(self._info(io_info))), 0

    @answers(ret_only)
    def engine_destroy_io(self, io: int) -> int:
        self._process.ios.destroy(pointer(io))
        return 0

    @answers(ret_only)
    def engine_set_input_buffer_by_index(self, io: int, index: int, data_buffer: int, size: int) -> int:
        return _set(self._io(io).inputs, index, data_buffer, size)

    @answers(ret_only)
    def engine_set_output_buffer_by_index(self, io: int, index: int, data_buffer: int, size: int) -> int:
        return _set(self._io(io).outputs, index, data_buffer, size)

    @answers(ret_only)
    def engine_set_input_buffer_by_name(self, io: int, name: str, data_buffer: int, size: int) -> int:
        """Sets input 0 whatever the name, as the library does (`engine_io.cpp` of axcl-runtime@56ad180)."""
        text(name)
        return _set(self._io(io).inputs, 0, data_buffer, size)

    @answers(ret_only)
    def engine_set_output_buffer_by_name(self, io: int, name: str, data_buffer: int, size: int) -> int:
        """Sets output 0 whatever the name."""
        text(name)
        return _set(self._io(io).outputs, 0, data_buffer, size)

    @answers(no_buffer)
    def engine_get_input_buffer_by_index(self, io: int, index: int) -> tuple[int | None, int, int]:
        return _get(self._io(io).inputs, index)

    @answers(no_buffer)
    def engine_get_output_buffer_by_index(self, io: int, index: int) -> tuple[int | None, int, int]:
        return _get(self._io(io).outputs, index)

    @answers(no_buffer)
    def engine_get_input_buffer_by_name(self, io: int, name: str) -> tuple[int | None, int, int]:
        """Of input 0 whatever the name."""
        text(name)
        return _get(self._io(io).inputs, 0)

    @answers(no_buffer)
    def engine_get_output_buffer_by_name(self, io: int, name: str) -> tuple[int | None, int, int]:
        """Of output 0 whatever the name."""
        text(name)
        return _get(self._io(io).outputs, 0)

    def _info(self, io_info: int) -> Model:
        return self._process.io_infos[pointer(io_info)]

    def _group(self, io_info: int, group: int = 0) -> Group:
        return _at(self._info(io_info).groups, group)

    def _io(self, io: int) -> Io:
        return self._process.ios[pointer(io)]


def _at(things: Sequence[Thing], index: int, code: int = ENGINE_INVALID_INDEX) -> Thing:
    position = unsigned(index, 32)
    if position >= len(things):
        raise Refused(code)
    return things[position]


def _named(tensors: Sequence[Tensor], name: str) -> int:
    wanted = text(name)
    for index, tensor in enumerate(tensors):
        if tensor.name == wanted:
            return index
    raise Refused(ENGINE_ILLEGAL_PARAM)


def _set(buffers: list[Buffer], index: int, data_buffer: int, size: int) -> int:
    address, num_bytes, position = nullable_pointer(data_buffer), unsigned(size, 64), unsigned(index, 32)
    if not address:
        raise Refused(ENGINE_NULL_POINTER)
    if not num_bytes or position >= len(buffers):
        raise Refused(ENGINE_ILLEGAL_PARAM)
    buffers[position] = address, num_bytes
    return 0


def _get(buffers: list[Buffer], index: int) -> tuple[int | None, int, int]:
    address, size = _at(buffers, index, ENGINE_ILLEGAL_PARAM)
    return address or None, size, 0
