"""The process that owns the device. `python -m gateway.engine.worker FD` talks pickled messages over FD.

One thread makes every device call, and between two steps of the engine it looks whether a message came in; a
second one makes grammars ready. The device lives in a process of its own because its calls have no time limit
and are not woken when the card dies; what can be killed can be restarted.
"""

import logging
import os
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from multiprocessing.connection import Connection

from backends.axcl.backend import AxclBackend, device_for, open_backend
from backends.axcl.cures import Host, cures, cures_of_full
from backends.axcl.package import Package, open_package
from backends.axcl.selftest import SelfTestError
from backends.base import Decoder, DeviceError, DeviceMemoryError, Graph, PackageError
from gateway.engine.colour_probe import settle_channels
from gateway.engine.engine import Encoder, Engine, Failed
from gateway.engine.grammar import Grammars
from gateway.engine.health import Level
from gateway.engine.messages import Broken, Cancel, Close, EngineInfo, Opened, Ready, Results, WorkerConfig
from gateway.engine.prompt import Request
from gateway.engine.pulse import Pulse
from gateway.engine.room import Need, NoRoom, num_sessions
from gateway.engine.session import SessionStore
from gateway.errors import GatewayError
from gateway.logs import configure_logging
from gateway.vision.cache import FeatureCache
from gateway.vision.registry import AnyEncoder, Registry, RegistryError

log = logging.getLogger("gateway.engine.worker")  # this module runs as __main__


def main(descriptor: int) -> None:
    # Signals reach the whole process group. The parent decides, and its end of the pipe tells.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    connection = Connection(descriptor)
    config: WorkerConfig = connection.recv()
    configure_logging(config.log_format)
    # A broken pipe means that the parent is gone, and nobody is left to tell.
    with suppress(EOFError, BrokenPipeError), ExitStack() as undo:
        try:
            engine, info = build_engine(config, undo, lambda: connection.send(Opened()))
            connection.send(Ready(info))
            _serve(connection, engine)
        except (PackageError, RegistryError, DeviceError, NoRoom, ValueError) as reason:
            # Before anything is given back, which may take long, or for ever, on a card that failed.
            words = ". ".join([str(reason), *getattr(reason, "__notes__", ()), *cures(reason, Host.look())])
            connection.send(Broken(words, _level(reason), isinstance(reason, NoRoom | DeviceMemoryError)))
            sys.exit(1)


def _level(reason: Exception) -> Level:
    if isinstance(reason, SelfTestError):
        return "self_test"
    return "card" if isinstance(reason, DeviceError | NoRoom) else "worker"


def build_engine(
    config: WorkerConfig, undo: ExitStack, opened: Callable[[], None]
) -> tuple[Engine, EngineInfo]:
    """All that is asked for, loaded; `undo` gives it back. `opened` is called once the device has answered.
    Raises what `main` tells as Broken."""
    package, place = open_package(config.package), config.place
    registry = Registry.load(config.vision_models, config.vision_entries)
    registry.check(package.prefix, has_vision=package.vision is not None)
    size = place.part_of(config.emulated_bytes)
    kind = device_for(package, place.device)
    backend = open_backend(kind, config.device_index, size, config.emulated_clock)
    undo.callback(backend.close)
    opened()
    free_bytes = None if backend.free_bytes is None else place.part_of(backend.free_bytes)
    emulated_bytes = config.emulated_bytes if backend.emulated else None
    need = Need.of(package, backend.layout(package))
    try:
        need.check(free_bytes, emulated_bytes)
    except NoRoom as reason:
        if not backend.emulated:
            for advice in cures_of_full(Host.look()):
                reason.add_note(advice)
        raise
    try:
        return _load(config, undo, package, registry, backend, need)
    except (DeviceMemoryError, NoRoom) as reason:
        reason.add_note(f"It takes {need}. {need.advice(free_bytes, emulated_bytes)}")
        raise


def _load(
    config: WorkerConfig,
    undo: ExitStack,
    package: Package,
    registry: Registry,
    backend: AxclBackend,
    need: Need,
) -> tuple[Engine, EngineInfo]:
    free_bytes = backend.free_bytes
    vision = None if package.vision is None else _vision(registry, package, backend.graph(package.vision))
    decoder = backend.decoder(package, config.kv_write)
    encode = None if vision is None else _encode(package, *vision, decoder)
    left_bytes, max_sessions = backend.free_bytes, config.max_sessions
    if free_bytes is not None and left_bytes is not None:
        need = need.loaded(free_bytes - left_bytes)
        max_sessions = _num_sessions(config, need, config.place.part_of(free_bytes))
    decoder.new_cache().free()  # what is left may lie in pieces, too small for the one session promised
    sessions = SessionStore(decoder, max_sessions, config.max_saved_bytes)
    undo.callback(sessions.clear)
    grammars = Grammars(package.tokenizer, decoder.info.vocab_size)
    undo.callback(grammars.close)
    info = EngineInfo(
        decoder=decoder.info,
        prefix=package.prefix,
        vision_input=None if vision is None else vision[0].inputs[0],
        kv_write=decoder.kv_write,
        max_sessions=max_sessions,
        device="emulator" if backend.emulated else "card",
        need=need,
        free_bytes=free_bytes,
        holds_grammars=grammars.usable,
        trials=decoder.trials,
    )
    return Engine(decoder, encode, sessions, FeatureCache(config.max_feature_bytes), grammars), info


def _vision(registry: Registry, package: Package, graph: Graph) -> tuple[Graph, AnyEncoder]:
    """The vision graph and what it is for. It is loaded before the layers because it is larger than one: see
    Package.load_bytes."""
    encoder = registry.find(package.prefix, graph.inputs[0], package.added_tokens)
    encoder.load(package.folder)
    return graph, encoder


def _encode(package: Package, graph: Graph, encoder: AnyEncoder, decoder: Decoder) -> Encoder:
    """What runs the vision graph."""
    encoder.check(graph, decoder.info.hidden_size)
    settle_channels(encoder, graph, decoder, package.tokenizer)
    return partial(encoder.encode, graph)


def _num_sessions(config: WorkerConfig, need: Need, free_bytes: int) -> int:
    """Raises NoRoom."""
    assert need.cache_bytes is not None
    left_bytes, peak_bytes = free_bytes - need.model_bytes, need.load_bytes - need.model_bytes
    found = num_sessions(left_bytes, need.cache_bytes, config.max_sessions, config.place.others, peak_bytes)
    if found < config.max_sessions:
        log.warning("room for %d sessions on the device, %d were asked for", found, config.max_sessions)
    return found


def _serve(connection: Connection, engine: Engine) -> None:
    pulse = Pulse(connection, engine)
    while True:
        while connection.poll(None if engine.idle else 0):
            match connection.recv():
                case Request() as request:
                    _submit(connection, engine, request)
                case Cancel(request_id):
                    engine.cancel(request_id)
                    connection.send(Results((), engine.stats))
                case Close():
                    return
        pulse.end(engine.step(pulse.begin))


def _submit(connection: Connection, engine: Engine, request: Request) -> None:
    try:
        engine.submit(request)
    except GatewayError as error:
        connection.send(Results((Failed(request.id, error),), engine.stats))


if __name__ == "__main__":
    os.set_inheritable(int(sys.argv[1]), False)
    main(int(sys.argv[1]))
