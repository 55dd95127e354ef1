"""A package with the schedule of a recorded model and none of its weights: as many layers, the same shape
groups, the same tensors up and down, and graphs that compute next to nothing.
"""

import shutil
from pathlib import Path

import numpy as np

from backends.axcl.package import Package, open_package
from backends.emulator import Recorded
from backends.export.decoder import QWEN3, QWEN3_VL, DecoderSpec, layer_groups
from backends.export.graph import GraphBuilder
from gateway.demo import CHECKPOINTS

PREFIX = "schedule"


def write_schedule(recorded: Recorded, folder: Path) -> Package:
    """The package of `recorded`, in a new folder. Its embeddings are zero and take no room on disk."""
    folder.mkdir()
    spec = _spec(recorded)
    histories = tuple(history for history in sorted(recorded.prefill_ms) if history)
    groups = layer_groups(spec, recorded.kv_cache_len, recorded.prefill_len, histories)
    for index in range(recorded.num_layers):
        _layer(spec).save(folder / f"{PREFIX}_p{recorded.prefill_len}_l{index}_together.axmodel", groups)
    _head(spec).save(folder / f"{PREFIX}_post.axmodel")
    with (folder / "model.embed_tokens.weight.bfloat16.bin").open("wb") as table:
        table.truncate(2 * recorded.vocab_size * recorded.hidden_size)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(next(iter(CHECKPOINTS.values())) / name, folder)
    return open_package(folder)


def _spec(recorded: Recorded) -> DecoderSpec:
    """What the shape groups are made from; the rest plays no part."""
    axes = recorded.index_rows > 1
    return DecoderSpec(
        tensors="",
        head="",
        num_layers=recorded.num_layers,
        vocab_size=recorded.vocab_size,
        hidden_size=recorded.hidden_size,
        intermediate_size=0,
        num_heads=1,
        num_kv_heads=1,
        head_dim=recorded.kv_dim,
        norm_eps=0.0,
        rope_theta=1.0,
        mrope=(1, 1, 1) if axes else (),
        family=QWEN3_VL if axes else QWEN3,
    )


def _layer(spec: DecoderSpec) -> GraphBuilder:
    """Its output is its input, and its K and V rows are the first values of it."""
    graph = GraphBuilder("layer")
    for name in ("K_cache", "V_cache"):
        graph.input(name, "bfloat16", [1, "history", spec.kv_dim])
    graph.input("indices", "uint32", ["axes", "chunk"])
    hidden = graph.load("input", "bfloat16", [1, "chunk", spec.hidden_size])
    graph.input("mask", "bfloat16", [1, "chunk", "total"])
    bounds = [graph.constant(name, np.array([n])) for name, n in (("from", 0), ("to", spec.kv_dim))]
    rows = graph.node("Slice", hidden, *bounds, graph.constant("axis", np.array([2])), name="rows")
    for name in ("K_cache_out", "V_cache_out"):
        graph.bfloat16(rows, name)
        graph.output(name, "bfloat16", [1, "chunk", spec.kv_dim])
    graph.bfloat16(hidden, "output")
    graph.output("output", "bfloat16", [1, "chunk", spec.hidden_size])
    return graph


def _head(spec: DecoderSpec) -> GraphBuilder:
    """All logits are the first hidden value."""
    graph = GraphBuilder("post")
    hidden = graph.load("input", "bfloat16", [1, 1, spec.hidden_size])
    first = [graph.constant(name, np.array([n])) for name, n in (("from", 0), ("to", 1), ("axis", 2))]
    value = graph.node("Slice", hidden, *first, name="value")
    sizes = graph.constant("sizes", np.array([1, 1, spec.vocab_size]))
    graph.bfloat16(graph.node("Expand", value, sizes, name="logits"), "output")
    graph.output("output", "bfloat16", [1, 1, spec.vocab_size])
    return graph
