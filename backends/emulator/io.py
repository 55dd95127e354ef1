"""Where an execute reads and writes: the io object of the engine."""

from backends.emulator.memory import Cmm
from backends.emulator.model import Binding, Model
from backends.emulator.refused import ENGINE_EXECUTE_FAIL, Refused

Buffer = tuple[int, int]  # device address, size in bytes
UNSET: Buffer = (0, 0)


class Io:
    """A buffer for every input and output of `model`.

    As in the library, any size is accepted when a buffer is set. An execute refuses with 0x8030070C a buffer
    that was not set, is smaller than the tensor of its group, or begins outside every allocation: our choice,
    what the card does then is not documented.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.inputs = [UNSET] * len(model.groups[0].inputs)
        self.outputs = [UNSET] * len(model.groups[0].outputs)
        self._bound: dict[int, tuple[Binding, list[Buffer | None]]] = {}

    def execute(self, group: int, memory: Cmm) -> None:
        """Run `group` on device memory; only buffers that changed since its last run are bound again."""
        if group not in self._bound:
            binding = self.model.bind(group)
            self._bound[group] = binding, [None] * len(binding.sizes)
        binding, bound = self._bound[group]
        buffers = [*self.inputs, *self.outputs]
        if buffers != bound:
            for index, buffer in enumerate(buffers):
                if buffer != bound[index]:
                    binding.set(index, _host(buffer, binding.sizes[index], memory))
                    bound[index] = buffer
        binding.run()


def _host(buffer: Buffer, num_bytes: int, memory: Cmm) -> int:
    address, size = buffer
    try:
        host = memory.host(address, num_bytes)
    except Refused as refused:
        raise Refused(ENGINE_EXECUTE_FAIL) from refused
    if size < num_bytes:
        raise Refused(ENGINE_EXECUTE_FAIL)
    return host
