"""`axgate inspect`: what a package folder holds, what its graphs can do, and whether it can be served."""

import json
import logging
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from backends.axcl.backend import AxclBackend, open_backend
from backends.axcl.description import Description
from backends.axcl.package import Package, open_package
from backends.base import DeviceError, Graph, PackageError, TensorSpec
from backends.emulator import Emulator
from backends.emulator.model import is_emulated
from gateway.chat.generation import GenerationDefaults
from gateway.chat.template import ChatTemplate
from gateway.chat.tokenizer import Tokenizer
from gateway.errors import printable
from gateway.settings import load
from gateway.vision.registry import AnyEncoder, Registry, RegistryError

UNREAD = "Its graphs are compiled for a card, and only a card can read them: give --device 0."

Value = str | int | float | list[int] | list[str] | None
Report = dict[str, dict[str, Value]]
"""Facts by name, by what they are about. Names of sizes in bytes end with _bytes."""


def inspect_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="package folder")
    about = "read the graphs with this card, counted from 0; without it, those for the emulated card only"
    parser.add_argument("--device", type=int, metavar="INDEX", help=about)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.set_defaults(run=inspect)


def inspect(options: Namespace) -> int:
    """`options`: folder, device, json. The exit status: 0, or 1 for a package that cannot be served. Raises
    PackageError where it is broken, DeviceError, OSError, SettingsError, and RegistryError for a broken
    registry."""
    settings = load({})
    registry = Registry.load(settings.vision_models, settings.vision_entries)
    try:
        package, report = _inspected(options, registry)
    except (PackageError, DeviceError, OSError) as error:
        if options.json:
            served = "no" if isinstance(error, PackageError) else "unknown"
            print(json.dumps({"service": {"served": served, "reason": str(error)}}, indent=2))
        raise
    if options.json:
        print(json.dumps(report, indent=2))  # in ASCII: file names may hold what a terminal cannot take
    else:
        _print(package, report)
    return 1 if report["service"]["served"] == "no" else 0


def _inspected(options: Namespace, registry: Registry) -> tuple[Package, Report]:
    package = open_package(options.folder)
    with ExitStack() as undo:
        logging.disable()  # what cannot be read is told by the error
        undo.callback(logging.disable, logging.NOTSET)
        backend = _backend(package, options.device)
        if backend is not None:
            undo.callback(backend.close)
        description = None if backend is None else backend.describe(package)
        return package, _report(package, description, registry)


def _backend(package: Package, device_index: int | None) -> AxclBackend | None:
    """The card that was asked for, or else one that costs nothing, if it can read the graphs."""
    if device_index is not None:
        return open_backend("card", device_index, 0)
    return AxclBackend(Emulator()) if any(map(is_emulated, package.graphs)) else None


def _report(package: Package, description: Description | None, registry: Registry) -> Report:
    report = {"files": _files(package)}
    if description is not None:
        report["language_model"] = _language_model(description)
    obstacle = None
    try:
        registry.check(package.prefix, has_vision=package.vision is not None)
        tokenizer = Tokenizer.load(package.tokenizer)
        report["sampling"] = _sampling(package, tokenizer)
        encoder = None
        if description is not None and description.vision is not None:
            encoder = _encoder(description, description.vision, registry)
            report["pictures"] = _pictures(description.vision, encoder)
        if package.vision is None or (encoder is not None and encoder.spec.template is None):
            ChatTemplate.load(package.tokenizer, tokenizer.special_tokens)  # nothing is built in for it
    except (PackageError, RegistryError) as error:
        obstacle = str(error)
    report["memory"] = _memory(package, description)
    served = "no" if obstacle else "unknown" if description is None else "yes"
    report["service"] = {"served": served, "reason": obstacle or (UNREAD if description is None else None)}
    return report


def _files(package: Package) -> dict[str, Value]:
    sizes = [layer.stat().st_size for layer in package.layers]
    return {
        "folder": str(package.folder),
        **package.parts,
        "post_graph": package.post.name,
        "smallest_layer_bytes": min(sizes),
        "largest_layer_bytes": max(sizes),
        "config": "read" if package.config else "says nothing",
    }


def _language_model(description: Description) -> dict[str, Value]:
    info, layout = description.info, description.layout
    return {
        "num_layers": info.num_layers,
        "hidden_size": info.hidden_size,
        "kv_dim": info.kv_dim,
        "vocab_size": info.vocab_size,
        "index_rows": info.index_rows,
        "context_length": info.context_length,
        "decode_groups": [group.history for group in layout.decode],
        "prefill_chunk": info.prefill_chunk if layout.prefill else None,
        "prefill_histories": [group.history for group in layout.prefill],
        "max_prefill": layout.max_prefill,
    }


def _sampling(package: Package, tokenizer: Tokenizer) -> dict[str, Value]:
    """What a request gets that says nothing."""
    defaults = GenerationDefaults.load(package.tokenizer, tokenizer, package.sampling)
    return {
        "temperature": defaults.temperature,
        "top_k": defaults.top_k,
        "top_p": defaults.top_p,
        "min_p": defaults.min_p,
        "repetition_penalty": defaults.repetition_penalty,
        "stop_token_ids": sorted(defaults.stop_token_ids),
    }


def _encoder(description: Description, graph: Graph, registry: Registry) -> AnyEncoder:
    package = description.package
    encoder = registry.find(package.prefix, graph.inputs[0], package.added_tokens)
    encoder.load(package.folder)
    encoder.check(graph, description.info.hidden_size)
    return encoder


def _pictures(graph: Graph, encoder: AnyEncoder) -> dict[str, Value]:
    return {
        "entry": encoder.name,
        "inputs": [_told(tensor) for tensor in graph.inputs],
        "outputs": [_told(tensor) for tensor in graph.outputs],
        "min_tokens_per_image": encoder.smallest.num_tokens,
        "max_tokens_per_image": encoder.largest.num_tokens,
        "max_video_frames": encoder.spec.video.max_frames if encoder.spec.video else 0,
    }


def _memory(package: Package, description: Description | None) -> dict[str, Value]:
    """Of the device, but for the embedding table, of which the host keeps what is used."""
    memory: dict[str, Value] = {
        "graphs_bytes": package.graph_bytes,
        "while_loading_bytes": package.load_bytes,
        "embedding_table_bytes": package.embeddings.stat().st_size,
    }
    if description is not None:
        memory["each_session_bytes"] = description.info.cache_bytes
    return memory


def _told(tensor: TensorSpec) -> str:
    return f"{tensor.name} {tensor.dtype} {list(tensor.shape)}"


def _print(package: Package, report: Mapping[str, Mapping[str, Value]]) -> None:
    table = Table("", "fact", "value", title=printable(package.name))
    for section, facts in report.items():
        about = section.replace("_", " ")
        shown = {name: value for name, value in facts.items() if value is not None}
        for place, (name, value) in enumerate(shown.items()):
            words = name.removesuffix("_bytes").replace("_", " ")
            table.add_row(
                "" if place else about, words, _cell(name, value), end_section=place == len(shown) - 1
            )
    Console(highlight=False, markup=False, emoji=False).print(table)


def _cell(name: str, value: Value) -> str:
    match value:
        case list():
            return ", ".join(map(str, value)) or "none"
        case int() if name.endswith("_bytes"):
            return decimal(value)
        case int():
            return f"{value:,}"
        case _:
            return printable(str(value))
