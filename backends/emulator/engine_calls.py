"""axcl.rt: the NPU, the models on it, and running them."""

import ctypes
import os

from backends.emulator.model import Model
from backends.emulator.refused import BINDING, ENGINE_EXECUTE_FAIL, ENGINE_ILLEGAL_PARAM, Refused
from backends.emulator.surface import (
    Calls,
    answers,
    no_pointer,
    no_usage,
    pointer,
    ret_only,
    text,
    unsigned,
    zero,
)

THREE_CORES = 2


class EngineCalls(Calls):
    @answers(ret_only)
    def engine_init(self, npu_kind: int) -> int:
        """A second one fails until `engine_finalize`."""
        kind = unsigned(npu_kind, 32)
        self._process.reach_card("engine_init").init_npu(kind)
        return 0

    @answers(zero)
    def engine_get_vnpu_kind(self) -> tuple[int, int]:
        kind = self._process.reach_card("engine_get_vnpu_kind").npu_kind
        if kind is None:
            raise Refused(ENGINE_EXECUTE_FAIL)
        return kind, 0

    @answers(ret_only)
    def engine_finalize(self) -> int:
        self._process.reach_card("engine_finalize").npu_kind = None
        return 0

    @answers(zero)
    def engine_load_from_file(self, model_path: str) -> tuple[int, int]:
        """(0, 0) for a file that cannot be opened or mapped, such as an empty one: the library's mistake."""
        path, size = _file(model_path)
        if not size or not os.access(path, os.R_OK):
            return 0, 0
        return self._process.reach_card("engine_load_from_file", size).load_file(path, size), 0

    @answers(zero)
    def engine_load_from_mem(self, model: int, model_size: int) -> tuple[int, int]:
        """`model` is device memory that holds the file."""
        address, size = _image(model, model_size)
        card = self._process.reach_card("engine_load_from_mem")
        return card.load(ctypes.string_at(card.memory.host(address, size), size), size), 0

    @answers(ret_only)
    def engine_unload(self, model_id: int) -> int:
        model = unsigned(model_id, 64)
        self._process.reach_card("engine_unload").unload(model)
        return 0

    @answers(ret_only)
    def engine_set_affinity(self, model_id: int, mask: int) -> int:
        cores = unsigned(mask, 32)
        self._model("engine_set_affinity", model_id).affinity = cores
        return 0

    @answers(zero)
    def engine_get_affinity(self, model_id: int) -> tuple[int, int]:
        return self._model("engine_get_affinity", model_id).affinity, 0

    @answers(no_usage)
    def engine_get_usage(self, model_path: str) -> tuple[int, int, int]:
        """Bytes of the card's Linux memory and of CMM; here a model takes as much CMM as its file is long."""
        _, size = _file(model_path)
        self._process.reach_card("engine_get_usage", size)
        return 0, size, 0

    @answers(no_usage)
    def engine_get_usage_from_mem(self, model: int, model_size: int) -> tuple[int, int, int]:
        _, size = _image_of_size(model, model_size)
        self._process.reach_card("engine_get_usage_from_mem")
        return 0, size, 0

    @answers(no_usage)
    def engine_get_usage_from_mode_id(self, model_id: int) -> tuple[int, int, int]:
        return 0, self._model("engine_get_usage_from_mode_id", model_id).num_bytes, 0

    @answers(zero)
    def engine_get_model_type(self, model_path: str) -> tuple[int, int]:
        """All models are for three cores."""
        _, size = _file(model_path)
        self._process.reach_card("engine_get_model_type", size)
        return THREE_CORES, 0

    @answers(zero)
    def engine_get_model_type_from_mem(self, model: int, model_size: int) -> tuple[int, int]:
        _image_of_size(model, model_size)
        self._process.reach_card("engine_get_model_type_from_mem")
        return THREE_CORES, 0

    @answers(zero)
    def engine_get_model_type_from_model_id(self, model_id: int) -> tuple[int, int]:
        self._model("engine_get_model_type_from_model_id", model_id)
        return THREE_CORES, 0

    @answers(no_pointer)
    def engine_get_io_info(self, model_id: int) -> tuple[int | None, int]:
        return self._process.io_infos.new(self._model("engine_get_io_info", model_id)), 0

    @answers(zero)
    def engine_create_context(self, model_id: int) -> tuple[int, int]:
        """Contexts of the engine are numbered per model from 1, and never destroyed."""
        model = self._model("engine_create_context", model_id)
        model.num_contexts += 1
        return model.num_contexts, 0

    @answers(ret_only)
    def engine_execute(self, model_id: int, context_id: int, group: int, io: int) -> int:
        model, context, shape_group = unsigned(model_id, 64), unsigned(context_id, 64), unsigned(group, 32)
        buffers = self._process.ios[pointer(io)]
        card = self._process.reach_card("engine_execute")
        card.execute(model, context, shape_group, buffers)
        shapes = buffers.model.groups[shape_group]
        if self._process.faults.garbled:
            for (address, _), tensor in zip(buffers.outputs, shapes.outputs, strict=True):
                self._process.faults.write_noise(card.memory.host(address, tensor.nbytes), tensor.nbytes)
        self._process.clock.execute(shapes, card.num_layers)
        return 0

    def _model(self, call: str, model_id: int) -> Model:
        model = unsigned(model_id, 64)
        return self._process.reach_card(call).model(model)


def _file(model_path: object) -> tuple[str, int]:
    path = text(model_path)
    if not os.path.isfile(path):
        raise Refused(ENGINE_ILLEGAL_PARAM)
    return path, os.path.getsize(path)


def _image(model: object, model_size: object) -> tuple[int, int]:
    address, size = pointer(model), unsigned(model_size, 64)
    if not size:
        raise Refused(ENGINE_ILLEGAL_PARAM)
    return address, size


def _image_of_size(model: object, model_size: object) -> tuple[int, int]:
    """As `_image`, where pyAXCL makes no call for a size that is not positive."""
    if not 0 < unsigned(model_size, 64) < 1 << 63:
        raise Refused(BINDING)
    return _image(model, model_size)
