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
from time import monotonic

from backends.axcl.backend import open_backend
from backends.axcl.package import open_package
from backends.base import DecoderInfo, DeviceError, PackageError
from gateway.engine.engine import Engine, Failed
from gateway.engine.messages import Broken, Cancel, Close, EngineInfo, Ready, Results, WorkerConfig
from gateway.engine.prompt import Request
from gateway.engine.session import SessionStore
from gateway.errors import GatewayError
from gateway.logs import configure_logging
from gateway.vision.cache import FeatureCache
from gateway.vision.registry import Registry, RegistryError

log = logging.getLogger("gateway.engine.worker")  # this module runs as __main__
HEARTBEAT_S = 1.0  # a step without results says nothing; this often something is said all the same


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
        except (PackageError, RegistryError, DeviceError, ValueError) as reason:
            # Before anything is given back, which may take long, or for ever, on a card that failed.
            connection.send(Broken(str(reason)))
            sys.exit(1)


def _build(config: WorkerConfig, undo: ExitStack) -> tuple[Engine, EngineInfo]:
    package = open_package(config.package)
    registry = Registry.load(config.vision_models)
    if package.vision is None and registry.sees(package.prefix):
        raise PackageError(f"{package.folder} lacks its vision graph, which a {package.prefix} model needs")
    backend = open_backend(config.device, config.device_index, config.emulated_bytes)
    undo.callback(backend.close)
    encode = vision_input = None
    decoder = backend.decoder(package, config.kv_write)
    if package.vision is not None:
        graph = backend.graph(package.vision)
        vision_input = graph.inputs[0]
        encoder = registry.find(package.prefix, vision_input)
        encoder.check(graph, decoder.info.hidden_size)
        encode = partial(encoder.encode, graph)
    max_sessions = _room(backend.free_bytes, config.max_sessions, decoder.info)
    sessions = SessionStore(decoder, max_sessions, config.max_saved_bytes)
    undo.callback(sessions.clear)
    info = EngineInfo(
        decoder.info, package.prefix, vision_input, decoder.kv_write, max_sessions, backend.emulated
    )
    return Engine(decoder, encode, sessions, FeatureCache(config.max_feature_bytes)), info


def _room(free_bytes: int | None, wanted: int, info: DecoderInfo) -> int:
    """How many KV caches there is room for, up to the wanted number; the wanted one where nobody knows."""
    if free_bytes is None:
        return wanted
    room = min(wanted, free_bytes // info.cache_bytes)
    if room < 1:
        raise ValueError(
            f"the device has {free_bytes >> 20} MiB left beside the model, "
            f"and one session's KV cache needs {info.cache_bytes >> 20} MiB"
        )
    if room < wanted:
        log.warning("room for %d sessions on the device, %d were asked for", room, wanted)
    return room


def _serve(connection: Connection, engine: Engine) -> None:
    told = monotonic()
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
        results = engine.step()
        if results or monotonic() > told + HEARTBEAT_S:
            connection.send(Results(tuple(results), engine.stats))
            told = monotonic()


def _submit(connection: Connection, engine: Engine, request: Request) -> None:
    try:
        engine.submit(request)
    except GatewayError as error:
        connection.send(Results((Failed(request.id, error),), engine.stats))


if __name__ == "__main__":
    os.set_inheritable(int(sys.argv[1]), False)
    main(int(sys.argv[1]))
