"""The decoder layer and the head as graphs.

Formulas: transformers 5.23, modeling_qwen3.py, modeling_qwen2.py, modeling_llama.py and, for M-RoPE,
modeling_qwen3_vl.py and modeling_qwen2_5_vl.py. Names, dtypes and shapes of inputs and outputs: the vendor's
compiled layers.
"""

import numpy as np

from backends.base import Array
from backends.export.checkpoint import Checkpoint
from backends.export.decoder import DecoderSpec
from backends.export.feed_forward import FeedForward
from backends.export.graph import CONTRIB, GraphBuilder
from backends.export.quantize import Weights, linear


def build_layer(spec: DecoderSpec, checkpoint: Checkpoint, index: int, weights: Weights) -> GraphBuilder:
    """One layer: pre-norm attention with grouped heads, q/k norm where there is one, and rope, then SwiGLU or
    a mixture of experts.

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
    an axis has had its share; time keeps the rest. Otherwise (Qwen2-VL, apply_multimodal_rotary_pos_emb) each
    axis has its share in one piece. Every column has one entry that is not zero.
    """
    half = np.arange(spec.head_dim // 2)
    frequencies = (spec.rope_theta ** (-2.0 * half / spec.head_dim)).astype(np.float32)
    if not spec.mrope:
        return frequencies[np.newaxis]
    if spec.family.mrope_interleaved:
        axes = half % 3
        axes[half >= 3 * np.array(spec.mrope)[axes]] = 0
    else:
        axes = np.repeat(np.arange(3), spec.mrope)
    return np.where(axes == np.arange(3)[:, np.newaxis], frequencies, np.float32(0))


class _Layer:
    def __init__(self, spec: DecoderSpec, checkpoint: Checkpoint, index: int, weights: Weights) -> None:
        self._spec = spec
        self._checkpoint = checkpoint
        self._tensors = f"{spec.tensors}layers.{index}."
        self._weights = weights
        self._graph = GraphBuilder(f"layer_{index}")
        self._experts = spec.experts if spec.experts and index >= spec.experts.first_layer else None

    def build(self) -> GraphBuilder:
        graph, spec = self._graph, self._spec
        k_cache = graph.input("K_cache", "bfloat16", [1, "history", spec.kv_dim])
        v_cache = graph.input("V_cache", "bfloat16", [1, "history", spec.kv_dim])
        cos, sin = self._rotation(graph.load("indices", "uint32", ["axes", "chunk"]))
        hidden = graph.load("input", "bfloat16", [1, "chunk", spec.hidden_size])
        mask = graph.load("mask", "bfloat16", [1, "chunk", "total"])

        queries, keys, values = self._project(hidden)
        queries = graph.rope(self._norm_heads(queries, spec.num_heads, "q_norm"), cos, sin, "queries.rotated")
        keys = graph.rope(self._norm_heads(keys, spec.num_kv_heads, "k_norm"), cos, sin, "keys.rotated")
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
        if spec.family.qkv_bias:
            bias = graph.weight("qkv_proj.bias", np.concatenate([self._bias(x, n) for x, n in sizes.items()]))
            joined = graph.node("Add", joined, bias, name="qkv_proj.biased")
        split = graph.constant("qkv_sizes", np.array(list(sizes.values())))
        queries, keys, values = graph.nodes(
            "Split", joined, split, names=("queries", "keys", "values"), axis=-1
        )
        return queries, keys, values

    def _norm_heads(self, rows: str, num_heads: int, norm: str) -> str:
        """(1, chunk, num_heads * head_dim) with each head RMS-normed by itself, where the model does so."""
        graph, spec = self._graph, self._spec
        if not spec.family.qk_norm:
            return rows
        heads = graph.reshape(rows, [1, -1, spec.head_dim], f"{rows}.heads")
        gain = self._tensor(f"self_attn.{norm}", spec.head_dim)
        normed = graph.rms_norm(heads, gain, spec.norm_eps, norm)
        return graph.reshape(normed, [1, -1, num_heads * spec.head_dim], f"{rows}.normed")

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
        """Both residual sums and what is between them, ending in the output."""
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
        part = FeedForward(graph, spec, self._checkpoint, f"{self._tensors}mlp.", self._weights)
        if self._experts is None:
            change = part.swiglu(normed, spec.intermediate_size)
        else:
            change = part.mixture(normed, self._experts)
        graph.bfloat16(graph.node("Add", residual, change, name="sum"), "output")

    def _linear(self, value: str, matrix: Array, name: str) -> str:
        return linear(self._graph, value, matrix, self._weights, name)

    def _bias(self, projection: str, size: int) -> Array:
        return self._checkpoint.tensor(f"{self._tensors}self_attn.{projection}_proj.bias", (size,))

    def _tensor(self, name: str, *shape: int) -> Array:
        return self._checkpoint.tensor(f"{self._tensors}{name}.weight", shape)
