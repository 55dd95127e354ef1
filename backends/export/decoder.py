"""The language model of a checkpoint: what its configuration says, and the shape groups of its layers."""

import json
from dataclasses import dataclass

from backends.export.configuration import Section
from backends.export.graph import Group, group_tensor


@dataclass(frozen=True, slots=True)
class TextFamily:
    """How the language models of one kind differ from the others; the rest is the same in all of them.

    qk_norm:  whether each head of queries and keys is RMS-normed before rope
    qkv_bias: whether queries, keys and values are projected with a bias
    head_dim: where the configuration says nothing; None is the hidden size over the number of heads
    norm_eps: as well
    mrope:    whether positions are those of time, row and column
    mrope_interleaved: whether these take turns among the rope frequencies, instead of having one piece each
    """

    qk_norm: bool = False
    qkv_bias: bool = False
    head_dim: int | None = None
    norm_eps: float = 1e-6
    mrope: bool = False
    mrope_interleaved: bool = False


# transformers 5.23: configuration_llama.py, _qwen2.py, _qwen2_vl.py, _qwen2_5_vl.py, _qwen3.py, _qwen3_vl.py
LLAMA = TextFamily()
QWEN2 = TextFamily(qkv_bias=True)
QWEN3 = TextFamily(qk_norm=True, head_dim=128)
QWEN2_VL = TextFamily(qkv_bias=True, norm_eps=1e-5, mrope=True)
QWEN3_VL = TextFamily(qk_norm=True, head_dim=128, mrope=True, mrope_interleaved=True)
TEXT_FAMILIES = {
    "llama": LLAMA,
    "qwen2": QWEN2,
    "qwen2_vl_text": QWEN2_VL,
    "qwen2_vl": QWEN2_VL,  # published configurations are flat: the fields of the text model are at the top
    "qwen2_5_vl_text": QWEN2_VL,
    "qwen2_5_vl": QWEN2_VL,
    "qwen3": QWEN3,
    "qwen3_vl_text": QWEN3_VL,
}


@dataclass(frozen=True, slots=True)
class Experts:
    """The mixtures that stand in the place of the SwiGLUs from layer `first_layer` on.

    num:        of experts, of which each position chooses `num_chosen`
    inner_size: of one expert; the `num_shared` that all positions have are one SwiGLU of as many times that
    scale:      of the chosen experts' shares
    """

    num: int
    num_chosen: int
    num_shared: int
    inner_size: int
    first_layer: int
    scale: float


@dataclass(frozen=True, slots=True)
class DecoderSpec:
    """The shape of a language model.

    tensors: what the names of its tensors begin with, e.g. "model."
    head:    the matrix that makes logits; the embedding itself where the two are tied
    mrope:   how many rope frequencies follow the time, row and column position; empty for plain positions
    experts: None where all layers have one SwiGLU
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
    family: TextFamily
    experts: Experts | None = None

    @property
    def embedding(self) -> str:
        return embedding_name(self.tensors)

    @property
    def kv_dim(self) -> int:
        return self.num_kv_heads * self.head_dim


def embedding_name(tensors: str) -> str:
    return f"{tensors}embed_tokens.weight"


def read_decoder(text: Section, tensors: str, tied: bool) -> DecoderSpec:
    """`text` is the part of config.json about the language model; ExportError if it asks for what no graph
    computes."""
    model_type = text.text("model_type")
    text.check(model_type in TEXT_FAMILIES, "model_type", f"one of {', '.join(TEXT_FAMILIES)}")
    family = TEXT_FAMILIES[model_type]
    text.require("hidden_act", "silu", default="silu")
    text.require("attention_bias", False, default=False)
    text.require("mlp_bias", False, default=False)
    text.require("use_sliding_window", False, default=False)
    num_heads = text.integer("num_attention_heads")
    num_kv_heads = text.integer("num_key_value_heads", num_heads)
    text.check(num_heads % num_kv_heads == 0, "num_key_value_heads", f"a divisor of {num_heads}")
    hidden_size = text.integer("hidden_size")
    head_dim = text.integer("head_dim", family.head_dim or hidden_size // num_heads)
    text.check(head_dim % 2 == 0, "head_dim", "an even number")
    rope_theta, mrope = _read_rope(text, family, head_dim // 2)
    return DecoderSpec(
        tensors=tensors,
        head=embedding_name(tensors) if tied else "lm_head.weight",
        num_layers=text.integer("num_hidden_layers"),
        vocab_size=text.integer("vocab_size"),
        hidden_size=hidden_size,
        intermediate_size=text.integer("intermediate_size"),
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=head_dim,
        norm_eps=text.number("rms_norm_eps", family.norm_eps),
        rope_theta=rope_theta,
        mrope=mrope,
        family=family,
    )


def _read_rope(text: Section, family: TextFamily, num_frequencies: int) -> tuple[float, tuple[int, ...]]:
    """Theta and mrope sections, from `rope_parameters` (transformers 5) or the older fields."""
    rope = text
    for key in ("rope_scaling", "rope_parameters"):
        if key in text:
            rope = text.section(key)
    field = "type" if "type" in rope and "rope_type" not in rope else "rope_type"
    kinds = ["default", "mrope"] if family.mrope else ["default"]
    rope.check(field not in rope or rope.text(field) in kinds, field, " or ".join(map(json.dumps, kinds)))
    theta = (rope if "rope_theta" in rope else text).number("rope_theta")
    if not family.mrope:
        return theta, ()
    mrope = rope.integers("mrope_section")
    fits = len(mrope) == 3 and sum(mrope) == num_frequencies
    rope.check(fits, "mrope_section", f"three integers that make {num_frequencies} together")
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
