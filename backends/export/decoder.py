"""The language model of a checkpoint: what its configuration says, and the shape groups of its layers."""

from dataclasses import dataclass

from backends.export.configuration import Section
from backends.export.graph import Group, group_tensor


@dataclass(frozen=True, slots=True)
class DecoderSpec:
    """The shape of a language model.

    tensors: what the names of its tensors begin with, e.g. "model."
    head:    the matrix that makes logits; the embedding itself where the two are tied
    mrope:   how many rope frequencies follow the time, row and column position; empty for plain positions
    """

    tensors: str
    head: str
    num_layers: int
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    norm_eps: float
    rope_theta: float
    mrope: tuple[int, ...]

    @property
    def embedding(self) -> str:
        return embedding_name(self.tensors)

    @property
    def kv_dim(self) -> int:
        return self.num_kv_heads * self.head_dim


def embedding_name(tensors: str) -> str:
    return f"{tensors}embed_tokens.weight"


def read_decoder(text: Section, tensors: str, tied: bool) -> DecoderSpec:
    """`text` is the Qwen3-like part of config.json; ExportError if it asks for what no graph computes."""
    text.require("hidden_act", "silu")
    text.require("attention_bias", False, default=False)
    text.require("use_sliding_window", False, default=False)
    num_heads = text.integer("num_attention_heads")
    num_kv_heads = text.integer("num_key_value_heads", num_heads)
    text.check(num_heads % num_kv_heads == 0, "num_key_value_heads", f"a divisor of {num_heads}")
    head_dim = text.integer("head_dim", 128)
    text.check(head_dim % 2 == 0, "head_dim", "an even number")
    rope_theta, mrope = _read_rope(text)
    return DecoderSpec(
        tensors=tensors,
        head=embedding_name(tensors) if tied else "lm_head.weight",
        num_layers=text.integer("num_hidden_layers"),
        vocab_size=text.integer("vocab_size"),
        hidden_size=text.integer("hidden_size"),
        intermediate_size=text.integer("intermediate_size"),
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=head_dim,
        norm_eps=text.number("rms_norm_eps", 1e-6),
        rope_theta=rope_theta,
        mrope=mrope,
    )


def _read_rope(text: Section) -> tuple[float, tuple[int, ...]]:
    """Theta and mrope sections, from `rope_parameters` (transformers 5) or the older flat fields."""
    rope = text
    for key in ("rope_scaling", "rope_parameters"):
        if key in text:
            rope = text.section(key)
    rope.require("rope_type", "default", default="default")
    theta = (rope if "rope_theta" in rope else text).number("rope_theta")
    mrope = rope.integers("mrope_section") if "mrope_section" in rope else ()
    rope.check(len(mrope) in (0, 3), "mrope_section", "three integers")
    return theta, mrope


def layer_groups(
    spec: DecoderSpec, kv_cache_len: int, prefill_len: int, histories: tuple[int, ...]
) -> list[Group]:
    """Decode first, then prefill with no history and with each of `histories`.

    Source of the shapes: the vendor's compiled layers. Their prefill group without history keeps one dummy
    row, as wide as the hidden size and never read; the graph here is fed no row at all in its place.
    """
    prefill_rows = 3 if spec.mrope else 1
    prefill = [_layer_group(spec, history, prefill_len, prefill_rows) for history in (0, *histories)]
    return [_layer_group(spec, kv_cache_len, 1, 1), *prefill]


def _layer_group(spec: DecoderSpec, history: int, chunk: int, index_rows: int) -> Group:
    cache = [1, history, spec.kv_dim] if history else [1, 1, spec.hidden_size]
    feed = {} if history else {"feed": [1, 0, spec.kv_dim]}
    return {
        "inputs": [
            group_tensor("K_cache", "bfloat16", cache) | feed,
            group_tensor("V_cache", "bfloat16", cache) | feed,
            group_tensor("indices", "uint32", [index_rows, chunk]),
            group_tensor("input", "bfloat16", [1, chunk, spec.hidden_size]),
            group_tensor("mask", "bfloat16", [1, chunk, history + chunk]),
        ],
        "outputs": [
            group_tensor("K_cache_out", "bfloat16", [1, chunk, spec.kv_dim]),
            group_tensor("V_cache_out", "bfloat16", [1, chunk, spec.kv_dim]),
            group_tensor("output", "bfloat16", [1, chunk, spec.hidden_size]),
        ],
    }
