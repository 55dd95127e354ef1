"""The process that owns the device. `python -m gateway.engine.worker FD` talks pickled messages over FD.

It has one thread, and every device call is made by it: between two steps of the engine it looks whether a
message came in. The device lives in a process of its own because its calls have no time limit and are not
woken when the card dies; what can be killed can be restarted.
"""

import logging
import os
import signal
import sys
from contextlib import ExitStack, suppress
from functools import partial
from multiprocessing.connection import Connection

from backends.axcl.backend import open_backend
from backends.axcl.cures import Host, cures
from backends.axcl.package import Package, open_package
from backends.axcl.selftest import SelfTestError
from backends.base import Decoder, DecoderInfo, DeviceError, DeviceMemoryError, Graph, PackageError
from gateway.engine.colour_probe import settle_channels
from gateway.engine.engine import Encoder, Engine, Failed
from gateway.engine.health import Level
from gateway.engine.messages import Broken, Cancel, Close, EngineInfo, Ready, Results, WorkerConfig
from gateway.engine.prompt import Request
from gateway.engine.pulse import Pulse
from gateway.engine.room import Need, NoRoom, check_fits, num_sessions
from gateway.engine.session import SessionStore
from gateway.errors import GatewayError
from gateway.logs import configure_logging
from gateway.vision.cache import FeatureCache
from gateway.vision.registry import Registry, RegistryError

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
            engine, info = _build(config, undo)
            connection.send(Ready(info))
            _serve(connection, engine)
        except (PackageError, RegistryError, DeviceError, NoRoom, ValueError) as reason:
            # Before anything is given back, which may take long, or for ever, on a card that failed.
            words = ". ".join([str(reason), *cures(reason, Host.look())])
            connection.send(Broken(words, _level(reason), isinstance(reason, NoRoom | DeviceMemoryError)))
            sys.exit(1)


def _level(reason: Exception) -> Level:
    if isinstance(reason, SelfTestError):
        return "self_test"
    return "card" if isinstance(reason, DeviceError | NoRoom) else "worker"


def _build(config: WorkerConfig, undo: ExitStack) -> tuple[Engine, EngineInfo]:
    package, place = open_package(config.package), config.place
    registry = Registry.load(config.vision_models, config.vision_entries)
    registry.check(package.prefix, has_vision=package.vision is not None)
    emulated_bytes = place.part_of(config.emulated_bytes)
    backend = open_backend(place.device, config.device_index, emulated_bytes, config.emulated_clock)
    undo.callback(backend.close)
    free_bytes = backend.free_bytes
    if free_bytes is not None:
        check_fits(package.load_bytes, place.part_of(free_bytes))
    decoder = backend.decoder(package, config.kv_write)
    graph = None if package.vision is None else backend.graph(package.vision)
    encode = None if graph is None else _encode(registry, package, graph, decoder)
    left_bytes, model_bytes, max_sessions = backend.free_bytes, package.graph_bytes, config.max_sessions
    if free_bytes is not None and left_bytes is not None:
        model_bytes = free_bytes - left_bytes
        max_sessions = _num_sessions(config, place.part_of(free_bytes) - model_bytes, decoder.info)
    decoder.new_cache().free()  # what is left may lie in pieces, too small for the one session promised
    sessions = SessionStore(decoder, max_sessions, config.max_saved_bytes)
    undo.callback(sessions.clear)
    info = EngineInfo(
        decoder=decoder.info,
        prefix=package.prefix,
        vision_input=None if graph is None else graph.inputs[0],
        kv_write=decoder.kv_write,
        max_sessions=max_sessions,
        device="emulator" if backend.emulated else "card",
        need=Need(
            model_bytes, decoder.info.cache_bytes, package.load_bytes + model_bytes - package.graph_bytes
        ),
        free_bytes=free_bytes,
    )
    return Engine(decoder, encode, sessions, FeatureCache(config.max_feature_bytes)), info


def _encode(registry: Registry, package: Package, graph: Graph, decoder: Decoder) -> Encoder:
    """What runs the vision graph."""
    encoder = registry.find(package.prefix, graph.inputs[0], package.added_tokens)
    encoder.load(package.folder)
    encoder.check(graph, decoder.info.hidden_size)
    settle_channels(encoder, graph, decoder, package.tokenizer)
    return partial(encoder.encode, graph)


def _num_sessions(config: WorkerConfig, free_bytes: int, info: DecoderInfo) -> int:
    found = num_sessions(free_bytes, info.cache_bytes, config.max_sessions, config.place.others)
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
