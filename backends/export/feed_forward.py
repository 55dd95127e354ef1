"""The part of a decoder layer behind its attention: SwiGLU, or a mixture of experts that are SwiGLUs.

Formulas: transformers 5.23, modeling_llama.py (SwiGLU) and, in deepseek_ocr2/modeling_deepseek_ocr2.py, the
mixture.
"""

import numpy as np

from backends.base import Array
from backends.export.checkpoint import Checkpoint
from backends.export.decoder import DecoderSpec, Experts
from backends.export.graph import CONTRIB, GraphBuilder
from backends.export.quantize import Weights, linear


class FeedForward:
    """Nodes of `graph` from the tensors of a checkpoint whose names begin with `tensors`."""

    def __init__(
        self, graph: GraphBuilder, spec: DecoderSpec, checkpoint: Checkpoint, tensors: str, weights: Weights
    ) -> None:
        self._graph = graph
        self._spec = spec
        self._checkpoint = checkpoint
        self._tensors = tensors
        self._weights = weights

    def swiglu(self, value: str, inner_size: int, part: str = "") -> str:
        """(1, n, hidden) -> the same. `part` is what the tensors' names go on with."""
        graph, sizes = self._graph, (inner_size, self._spec.hidden_size)
        matrices = [self._tensor(f"{part}gate_proj", *sizes), self._tensor(f"{part}up_proj", *sizes)]
        joined = self._linear(value, np.concatenate(matrices), f"{part}gate_up_proj")
        names = (f"{part}gate", f"{part}up")
        gate, up = graph.nodes("Split", joined, names=names, axis=-1, num_outputs=2)
        silu = graph.node("QuickGelu", gate, name=f"{part}silu", domain=CONTRIB, alpha=1.0)
        gated = graph.node("Mul", silu, up, name=f"{part}gated")
        return self._linear(gated, self._tensor(f"{part}down_proj", *reversed(sizes)), f"{part}down_proj")

    def mixture(self, value: str, experts: Experts) -> str:
        """(1, n, hidden) -> the same: those experts that a position chooses, by the share that it gives them,
        and the shared ones. All are computed everywhere, and most of them with a share of zero."""
        graph = self._graph
        shares = graph.nodes(
            "Split",
            self._shares(value, experts),
            names=[f"experts.{index}.share" for index in range(experts.num)],
            axis=-1,
            num_outputs=experts.num,
        )
        outputs = [self.swiglu(value, experts.inner_size * experts.num_shared, "shared_experts.")]
        for index, share in enumerate(shares):
            output = self.swiglu(value, experts.inner_size, f"experts.{index}.")
            outputs.append(graph.node("Mul", output, share, name=f"experts.{index}.part"))
        return graph.node("Sum", *outputs, name="experts.sum")

    def _shares(self, value: str, experts: Experts) -> str:
        """(1, n, experts), zero for those that are not chosen."""
        graph = self._graph
        router = self._tensor("gate", experts.num, self._spec.hidden_size)
        scores = graph.node("MatMul", value, graph.weight("router.weight", router.T), name="router")
        all_shares = graph.node("Softmax", scores, name="router.shares", axis=-1)
        num_chosen = graph.constant("router.num_chosen", np.array([experts.num_chosen]))
        largest, places = graph.nodes(
            "TopK", all_shares, num_chosen, names=("router.largest", "router.places"), axis=-1
        )
        none = graph.node("Sub", all_shares, all_shares, name="router.none")
        chosen = graph.node("ScatterElements", none, places, largest, name="router.chosen", axis=-1)
        scale = graph.constant("router.scale", np.array(experts.scale, np.float32))
        return graph.node("Mul", chosen, scale, name="router.scaled")

    def _linear(self, value: str, matrix: Array, name: str) -> str:
        return linear(self._graph, value, matrix, self._weights, name)

    def _tensor(self, name: str, *shape: int) -> Array:
        return self._checkpoint.tensor(f"{self._tensors}{name}.weight", shape)
