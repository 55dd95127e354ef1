"""Vision graphs that compute nothing."""

from collections.abc import Mapping

from backends.base import Array, TensorSpec


class StandIn:
    """Answers with the given outputs, and keeps what it was fed."""

    def __init__(self, graph_input: TensorSpec, **outputs: Array) -> None:
        self.inputs = (graph_input,)
        self.outputs = tuple(
            TensorSpec(name, str(array.dtype), array.shape) for name, array in outputs.items()
        )
        self._outputs = outputs
        self.fed: Mapping[str, Array] = {}

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        self.fed = inputs
        return self._outputs
