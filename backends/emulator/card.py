"""One emulated AX650N: its memory, its NPU and the models on it."""

import itertools

from backends.emulator.io import Io
from backends.emulator.memory import Cmm
from backends.emulator.model import Model
from backends.emulator.refused import ENGINE_EXECUTE_FAIL, ENGINE_ILLEGAL_PARAM, Refused


class Card:
    """What the card keeps for this process, from the first `set_device` to the last `reset_device`."""

    def __init__(self, device_id: int, cmm_bytes: int) -> None:
        self.device_id = device_id
        self.memory = Cmm(cmm_bytes)
        self.num_users = 0
        self.default_context = 0
        self.npu_kind: int | None = None
        self._models: dict[int, tuple[Model, int]] = {}  # with the address of its memory
        self._model_ids = itertools.count(1)

    def init_npu(self, kind: int) -> None:
        if self.npu_kind is not None:
            raise Refused(ENGINE_EXECUTE_FAIL)
        self.npu_kind = kind

    def load(self, source: str | bytes, num_bytes: int) -> int:
        """The id of a new model; it takes as much memory as its file is long."""
        if self.npu_kind is None:
            raise Refused(ENGINE_EXECUTE_FAIL)
        address = self.memory.reserve(num_bytes)
        try:
            model = Model(source, num_bytes)
        except Refused:
            self.memory.free(address)
            raise
        model_id = next(self._model_ids)
        self._models[model_id] = model, address
        return model_id

    def load_file(self, path: str, num_bytes: int) -> int:
        """As `load`, while the file itself is on the card as well."""
        upload = self.memory.reserve(num_bytes)
        try:
            return self.load(path, num_bytes)
        finally:
            self.memory.free(upload)

    def model(self, model_id: int) -> Model:
        if model_id not in self._models:
            raise Refused(ENGINE_ILLEGAL_PARAM)
        return self._models[model_id][0]

    @property
    def num_layers(self) -> int:
        """How many of the models are layers of a language model."""
        return sum(model.groups[0].is_layer for model, _ in self._models.values())

    def unload(self, model_id: int) -> None:
        self.model(model_id)
        _, address = self._models.pop(model_id)
        self.memory.free(address)

    def execute(self, model_id: int, context: int, group: int, io: Io) -> None:
        model = self.model(model_id)
        if io.model is not model or not 0 < context <= model.num_contexts or group >= len(model.groups):
            raise Refused(ENGINE_ILLEGAL_PARAM)
        io.execute(group, self.memory)

    def release(self) -> None:
        """The last user is gone: everything it left behind goes too."""
        self._models.clear()
        self.memory.free_all()
        self.npu_kind = None
        self.num_users = 0
