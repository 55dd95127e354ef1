"""The decoder layer and the head as graphs.

Formulas: transformers 5.23, qwen3/modeling_qwen3.py and qwen3_vl/modeling_qwen3_vl.py. Names, dtypes and
shapes of inputs and outputs: the vendor's compiled layers.
"""

import numpy as np

from backends.base import Array
from backends.export.checkpoint import Checkpoint
from backends.export.decoder import DecoderSpec
from backends.export.graph import CONTRIB, GraphBuilder
from backends.export.quantize import Weights, linear


def build_layer(spec: DecoderSpec, checkpoint: Checkpoint, index: int, weights: Weights) -> GraphBuilder:
    """One layer: pre-norm attention with grouped heads, q/k norm and rope, then SwiGLU.

    Inputs, with n positions in this call:
        K_cache, V_cache (1, history, kv_dim) bf16, rows of earlier calls, K with rope applied
        indices (1, n) uint32 positions; mrope models also take (3, n), one row per axis
        input (1, n, hidden) bf16
        mask (1, n, history + n) bf16, added to the scores; cache rows first, then those of this call
    Outputs:
        K_cache_out, V_cache_out (1, n, kv_dim) bf16, the rows of this call alone
        output (1, n, hidden) bf16
    """
    return _Layer(spec, checkpoint, index, weights).build()


def build_head(spec: DecoderSpec, checkpoint: Checkpoint, weights: Weights) -> GraphBuilder:
    """Final norm and logits: input (1, 1, hidden) bf16 -> output (1, 1, vocab) bf16."""
    graph = GraphBuilder("post")
    hidden = graph.load("input", "bfloat16", [1, 1, spec.hidden_size])
    gain = checkpoint.tensor(f"{spec.tensors}norm.weight", (spec.hidden_size,))
    normed = graph.rms_norm(hidden, gain, spec.norm_eps, "norm")
    head = checkpoint.tensor(spec.head, (spec.vocab_size, spec.hidden_size))
    graph.bfloat16(linear(graph, normed, head, weights, "logits"), "output")
    graph.output("output", "bfloat16", [1, 1, spec.vocab_size])
    return graph


def rope_frequencies(spec: DecoderSpec) -> Array:
    """(1, head_dim / 2) float32 radians per position; (3, head_dim / 2) for mrope, one row per axis.

    Interleaved mrope (transformers 5.23, Qwen3VLTextRotaryEmbedding): time, row and column take turns until
    an axis has had its share; time keeps the rest. Every column has one entry that is not zero.
    """
    half = np.arange(spec.head_dim // 2)
    frequencies = (spec.rope_theta ** (-2.0 * half / spec.head_dim)).astype(np.float32)
    if not spec.mrope:
        return frequencies[np.newaxis]
    axes = half % 3
    axes[half >= 3 * np.array(spec.mrope)[axes]] = 0
    return np.where(axes == np.arange(3)[:, np.newaxis], frequencies, np.float32(0))


class _Layer:
    def __init__(self, spec: DecoderSpec, checkpoint: Checkpoint, index: int, weights: Weights) -> None:
        self._spec = spec
        self._checkpoint = checkpoint
        self._tensors = f"{spec.tensors}layers.{index}."
        self._weights = weights
        self._graph = GraphBuilder(f"layer_{index}")

    def build(self) -> GraphBuilder:
        graph, spec = self._graph, self._spec
        k_cache = graph.input("K_cache", "bfloat16", [1, "history", spec.kv_dim])
        v_cache = graph.input("V_cache", "bfloat16", [1, "history", spec.kv_dim])
        cos, sin = self._rotation(graph.load("indices", "uint32", ["axes", "chunk"]))
        hidden = graph.load("input", "bfloat16", [1, "chunk", spec.hidden_size])
        mask = graph.load("mask", "bfloat16", [1, "chunk", "total"])

        queries, keys, values = self._project(hidden)
        queries = self._rotate(queries, spec.num_heads, "self_attn.q_norm", cos, sin)
        keys = self._rotate(keys, spec.num_kv_heads, "self_attn.k_norm", cos, sin)
        # Rounded before this very call attends to them: a row is worth the same whether it was just made or
        # comes from the cache, so a prompt in one chunk, in many, or token by token sees equal K and V.
        keys = graph.bfloat16(keys, "K_cache_out")
        values = graph.bfloat16(values, "V_cache_out")
        keys = graph.float32(graph.node("Concat", k_cache, keys, name="keys.all", axis=1))
        values = graph.float32(graph.node("Concat", v_cache, values, name="values.all", axis=1))
        self._feed_forward(hidden, self._attend(queries, keys, values, mask))

        graph.output("K_cache_out", "bfloat16", [1, "chunk", spec.kv_dim])
        graph.output("V_cache_out", "bfloat16", [1, "chunk", spec.kv_dim])
        graph.output("output", "bfloat16", [1, "chunk", spec.hidden_size])
        return graph

    def _rotation(self, positions: str) -> tuple[str, str]:
        """(1 or axes, chunk) -> cosine and sine (chunk, head_dim / 2)."""
        graph, frequencies = self._graph, rope_frequencies(self._spec)
        rows = graph.constant("num_axes", np.array([len(frequencies), 1]))
        positions = graph.node("Expand", positions, rows, name="positions")
        # One entry per column is not zero: the product picks the axis of each frequency, and is exact.
        columns = graph.constant("frequencies", frequencies)
        angles = graph.node("Gemm", positions, columns, name="angles", transA=1)
        return graph.node("Cos", angles, name="cos"), graph.node("Sin", angles, name="sin")

    def _project(self, hidden: str) -> tuple[str, str, str]:
        graph, spec = self._graph, self._spec
        sizes = {"q": spec.num_heads * spec.head_dim, "k": spec.kv_dim, "v": spec.kv_dim}
        matrices = [self._tensor(f"self_attn.{x}_proj", n, spec.hidden_size) for x, n in sizes.items()]
        gain = self._tensor("input_layernorm", spec.hidden_size)
        normed = graph.rms_norm(hidden, gain, spec.norm_eps, "input_layernorm")
        joined = self._linear(normed, np.concatenate(matrices), "qkv_proj")
        split = graph.constant("qkv_sizes", np.array(list(sizes.values())))
        queries, keys, values = graph.nodes(
            "Split", joined, split, names=("queries", "keys", "values"), axis=-1
        )
        return queries, keys, values

    def _rotate(self, rows: str, num_heads: int, norm: str, cos: str, sin: str) -> str:
        """(1, chunk, num_heads * head_dim) with every head RMS-normed by itself, then rotated."""
        graph, spec = self._graph, self._spec
        heads = graph.reshape(rows, [1, -1, spec.head_dim], f"{rows}.heads")
        normed = graph.rms_norm(heads, self._tensor(norm, spec.head_dim), spec.norm_eps, norm)
        joined = graph.reshape(normed, [1, -1, num_heads * spec.head_dim], f"{rows}.normed")
        return graph.rope(joined, cos, sin, f"{rows}.rotated")

    def _attend(self, queries: str, keys: str, values: str, mask: str) -> str:
        """Masked attention and its output projection, (1, chunk, hidden).

        The query heads of a group multiply with their one K/V head by broadcasting. transBatch lets the
        product read (row, head, …) as (head, …, row), so that no cache is ever transposed in memory.
        """
        graph, spec = self._graph, self._spec
        group = spec.num_heads // spec.num_kv_heads
        queries = graph.reshape(queries, [-1, spec.num_kv_heads, group, spec.head_dim], "queries.grouped")
        keys = graph.reshape(keys, [-1, spec.num_kv_heads, 1, spec.head_dim], "keys.grouped")
        values = graph.reshape(values, [-1, spec.num_kv_heads, 1, spec.head_dim], "values.grouped")
        scores = graph.node(
            "FusedMatMul",
            queries,
            keys,
            name="scores",
            domain=CONTRIB,
            transBatchA=1,
            transB=1,
            transBatchB=1,
            alpha=spec.head_dim**-0.5,
        )
        masked = graph.node("Add", scores, mask, name="scores.masked")
        shares = graph.node("Softmax", masked, name="shares", axis=-1)
        mixed = graph.node("FusedMatMul", shares, values, name="mixed", domain=CONTRIB, transBatchB=1)
        rows = graph.node("Transpose", mixed, name="mixed.rows", perm=[2, 0, 1, 3])
        width = spec.num_heads * spec.head_dim
        joined = graph.reshape(rows, [1, -1, width], "mixed.joined")
        return self._linear(joined, self._tensor("self_attn.o_proj", spec.hidden_size, width), "o_proj")

    def _feed_forward(self, hidden: str, attended: str) -> None:
        """Both residual sums and the SwiGLU between them, ending in the output."""
        graph, spec = self._graph, self._spec
        gain = self._tensor("post_attention_layernorm", spec.hidden_size)
        normed, _, _, residual = graph.nodes(
            "SkipSimplifiedLayerNormalization",
            hidden,
            attended,
            graph.weight("post_attention_layernorm.weight", gain),
            names=("post_attention_layernorm", "", "", "residual"),
            domain=CONTRIB,
            epsilon=spec.norm_eps,
        )
        sizes = (spec.intermediate_size, spec.hidden_size)
        matrices = [self._tensor("mlp.gate_proj", *sizes), self._tensor("mlp.up_proj", *sizes)]
        joined = self._linear(normed, np.concatenate(matrices), "gate_up_proj")
        gate, up = graph.nodes("Split", joined, names=("gate", "up"), axis=-1, num_outputs=2)
        silu = graph.node("QuickGelu", gate, name="silu", domain=CONTRIB, alpha=1.0)
        gated = graph.node("Mul", silu, up, name="gated")
        down = self._linear(gated, self._tensor("mlp.down_proj", *reversed(sizes)), "down_proj")
        graph.bfloat16(graph.node("Add", residual, down, name="sum"), "output")

    def _linear(self, value: str, matrix: Array, name: str) -> str:
        return linear(self._graph, value, matrix, self._weights, name)

    def _tensor(self, name: str, *shape: int) -> Array:
        return self._checkpoint.tensor(f"{self._tensors}{name}.weight", shape)
