"""What a package can do, as its graphs tell."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from backends.axcl.embeddings import EmbeddingTable
from backends.axcl.handles import Model
from backends.axcl.head import read_head
from backends.axcl.hints import check_window
from backends.axcl.kvcache import CacheShape
from backends.axcl.layout import LayerLayout, read_layout
from backends.axcl.loading import load
from backends.axcl.package import Package
from backends.axcl.rt import Runtime
from backends.axcl.signature import check_same
from backends.base import DecoderInfo, Graph


@dataclass(frozen=True)
class Description:
    """`vision` is None for a model without a vision graph."""

    package: Package
    layout: LayerLayout
    vocab_size: int
    vision: Graph | None

    @cached_property
    def info(self) -> DecoderInfo:
        """What the decoder would say of itself if it were loaded."""
        num_layers = len(self.package.layers)
        cache_bytes = CacheShape.of(self.layout, num_layers).nbytes
        return self.layout.info(num_layers, self.vocab_size, cache_bytes)


def read_graphs(runtime: Runtime, package: Package) -> tuple[LayerLayout, int]:
    """The layout of the layers and the size of the vocabulary, after the checks that loading makes, with one
    graph on the device at a time. Raises PackageError naming the file, or DeviceError, and leaves nothing
    behind."""
    first, layout = _first(runtime, package)
    for path in package.layers[1:]:
        check_same(_read(runtime, path), first)
    table = EmbeddingTable(package.embeddings, layout.hidden_size)
    vocab_size = read_head(_read(runtime, package.post), layout.hidden_size).vocab_size(len(table))
    table.check(vocab_size)
    return layout, vocab_size


def read_first(runtime: Runtime, package: Package) -> LayerLayout:
    """The layout as the first layer alone tells it, so that what cannot be served is known before a minute of
    loading. Raises as `read_graphs`."""
    _, layout = _first(runtime, package)
    EmbeddingTable(package.embeddings, layout.hidden_size)
    return layout


def _first(runtime: Runtime, package: Package) -> tuple[Model, LayerLayout]:
    first = _read(runtime, package.layers[0])
    layout = read_layout(first)
    check_window(package.config, layout.context_length)
    return first, layout


def _read(runtime: Runtime, path: Path) -> Model:
    """What a graph says of itself. It is not loaded any more."""
    model = load(runtime, path)
    runtime.unload(model)
    return model
