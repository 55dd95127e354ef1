"""What a package holds and can do, as its files and graphs tell."""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from backends.axcl.backend import AxclBackend, device_for, open_backend
from backends.axcl.decoder import AxclDecoder
from backends.axcl.description import Description
from backends.axcl.layers import KvWrite
from backends.axcl.package import Package, open_package
from backends.axcl.rt import import_axcl
from backends.axcl.selftest import choose_kv_write
from backends.base import DeviceError, DeviceMemoryError, Graph, PackageError, TensorSpec
from backends.emulator import Emulator
from gateway.chat.generation import GenerationDefaults
from gateway.chat.template import ChatTemplate
from gateway.chat.tokenizer import Tokenizer
from gateway.engine.room import Need, NoRoom, num_sessions
from gateway.settings import Settings, load
from gateway.vision.registry import AnyEncoder, Registry, RegistryError

MEGA = 10**6
UNREAD = "Its graphs are compiled for a card, and only a card can read them: give --device."
OPEN_S, READ_S, LOAD_S, TEST_S = 60.0, 600.0, 900.0, 120.0
"""How long the device may take for each. Large models were seen to load in a minute and a half."""

Begin = Callable[[str, float], None]
"""Told what comes next, and how many seconds it may take."""

Value = str | int | float | list[int] | list[str] | None
Report = dict[str, dict[str, Value]]
"""Facts by name, by what they are about. Names of sizes in bytes end with _bytes, of times in milliseconds
with _ms."""


def inspected(folder: Path) -> Report:
    """Without a card: graphs for the emulated one are read. Raises PackageError where the package is broken,
    DeviceError where a graph is, OSError, SettingsError, and RegistryError for a broken registry."""
    registry = _registry(load({}))
    package = open_package(folder)
    with _silence(), ExitStack() as undo:
        description = None
        if device_for(package) == "emulator":
            backend = AxclBackend(Emulator())
            undo.callback(backend.close)
            description = backend.describe(package)
        return _report(package, description, registry, {})


def inspected_on(folder: Path, device_index: int, begin: Begin) -> Report:
    """On a card, or on the emulated one where pyAXCL is not there and the package is for that: all of it is
    loaded, and the ways of writing K/V rows are tested. What has no room is read graph by graph. Raises as
    `inspected`, and SelfTestError."""
    settings = load({})
    registry = _registry(settings)
    package = open_package(folder)
    with _silence():
        begin("opening the device", OPEN_S)
        backend = _backend(package, device_index, settings)
        device: dict[str, Value] = {
            "kind": "emulated card" if backend.emulated else f"card {device_index}",
            "free_bytes": backend.free_bytes,
        }
        try:
            description, sessions, self_test = _tested(backend, package, settings.max_sessions, begin)
            sections: Report = {"device": {**device, "sessions": sessions}, "self_test": self_test}
            return _report(package, description, registry, sections)
        except NoRoom as reason:
            obstacle = str(reason)
        finally:
            backend.close()
        begin("reading the graphs one by one", READ_S)
        backend = _backend(package, device_index, settings)
        try:
            return _report(package, backend.describe(package), registry, {"device": device}, obstacle)
        finally:
            backend.close()


def _tested(
    backend: AxclBackend, package: Package, max_sessions: int, begin: Begin
) -> tuple[Description, int | None, dict[str, Value]]:
    """What all of it says of itself once it is loaded, for how many sessions there is room, as far as anybody
    can tell, and what the self-test found. Raises NoRoom."""
    free_bytes = backend.free_bytes
    begin("reading the first layer", READ_S)
    need = Need.of(package, backend.layout(package))
    emulated_bytes = free_bytes if backend.emulated else None
    need.check(free_bytes, emulated_bytes)
    try:
        begin("loading the vision graph", LOAD_S)
        vision = None if package.vision is None else backend.graph(package.vision)
        begin("loading the language model", LOAD_S)
        decoder = backend.decoder(package, KvWrite.VENDOR)
        begin("testing it", TEST_S)
        choose_kv_write(decoder)
    except DeviceMemoryError as reason:
        raise NoRoom(f"{reason}. It takes {need}. {need.advice(free_bytes, emulated_bytes)}") from None
    description = Description(package, decoder.layout, decoder.info.vocab_size, vision)
    sessions, left_bytes, cache_bytes = None, backend.free_bytes, description.info.cache_bytes
    if free_bytes is not None and left_bytes is not None:
        peak_bytes = need.load_bytes - need.model_bytes
        sessions = num_sessions(left_bytes, cache_bytes, max_sessions, (), peak_bytes)
    return description, sessions, _self_test(decoder)


@contextmanager
def _silence() -> Iterator[None]:
    """What cannot be read is told by the error."""
    logging.disable()
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _registry(settings: Settings) -> Registry:
    return Registry.load(settings.vision_models, settings.vision_entries)


def _backend(package: Package, device_index: int, settings: Settings) -> AxclBackend:
    try:
        import_axcl()
    except DeviceError:
        if device_for(package) == "card":
            raise
        return open_backend("emulator", 0, settings.emulated_memory_mb * MEGA, settings.emulated_clock)
    return open_backend("card", device_index, 0)


def _self_test(decoder: AxclDecoder) -> dict[str, Value]:
    agree = [trial.kv_write.value for trial in decoder.trials if trial.agrees]
    differ = [trial.kv_write.value for trial in decoder.trials if not trial.agrees]
    times: dict[str, Value] = {
        f"{trial.kv_write.value}_ms": None if trial.ms is None else round(trial.ms, 3)
        for trial in decoder.trials
    }
    return {"kv_write": decoder.kv_write.value, "same_bits": agree, "other_bits": differ, **times}


def _report(
    package: Package,
    description: Description | None,
    registry: Registry,
    sections: Report,
    obstacle: str | None = None,
) -> Report:
    """`sections` are told beside those that every package has; `obstacle` is why it cannot be served, if that
    is known already."""
    report: Report = {"files": _files(package)}
    if description is not None:
        report["language_model"] = _language_model(description)
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
    report |= sections
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
