"""The process that owns the device. `python -m gateway.engine.worker FD` talks pickled messages over FD.

It has one thread, and every device call is made by it: between two steps of the engine it looks whether a
message came in. The device lives in a process of its own because its calls have no time limit and are not
woken when the card dies; what can be killed can be restarted.
"""

import logging
import os
import signal
import sys
from contextlib import ExitStack
from functools import partial
from multiprocessing.connection import Connection

from backends.axcl.backend import AxclBackend, open_backend
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

log = logging.getLogger(__name__)


def main(descriptor: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    connection = Connection(descriptor)
    config: WorkerConfig = connection.recv()
    configure_logging(config.log_format)
    try:
        with ExitStack() as undo:
            engine, info = _build(config, undo)
            connection.send(Ready(info))
            _serve(connection, engine)
    except (PackageError, RegistryError, DeviceError, ValueError) as reason:
        log.error("the engine stops: %s", reason)
        connection.send(Broken(str(reason)))
        sys.exit(1)


def _build(config: WorkerConfig, undo: ExitStack) -> tuple[Engine, EngineInfo]:
    package = open_package(config.package)
    registry = Registry.load(config.vision_models)
    backend = open_backend(config.device, config.device_index, config.emulated_bytes)
    undo.callback(backend.close)
    encode = vision_input = None
    if package.vision is not None:
        graph = backend.graph(package.vision)
        vision_input = graph.inputs[0]
        encode = partial(registry.find(package.prefix, vision_input).encode, graph)
    decoder = backend.decoder(package, config.kv_write)
    max_sessions = _room(backend, config.max_sessions, decoder.info)
    sessions = SessionStore(decoder, max_sessions, config.max_saved_bytes)
    undo.callback(sessions.clear)
    info = EngineInfo(decoder.info, package.prefix, vision_input, decoder.kv_write, max_sessions)
    return Engine(decoder, encode, sessions, FeatureCache(config.max_feature_bytes)), info


def _room(backend: AxclBackend, wanted: int, info: DecoderInfo) -> int:
    """How many KV caches there is room for, up to the wanted number; the wanted one where nobody knows."""
    memory = backend.memory()
    if memory is None:
        return wanted
    room = min(wanted, memory.free // info.cache_bytes)
    if room < 1:
        raise ValueError(
            f"the device has {memory.free >> 20} MiB left beside the model, "
            f"and one session's KV cache needs {info.cache_bytes >> 20} MiB"
        )
    if room < wanted:
        log.warning("room for %d sessions on the device, %d were asked for", room, wanted)
    return room


def _serve(connection: Connection, engine: Engine) -> None:
    while True:
        while connection.poll(None if engine.idle else 0):
            try:
                message = connection.recv()
            except EOFError:  # the parent is gone
                return
            match message:
                case Request():
                    _submit(connection, engine, message)
                case Cancel(request_id):
                    engine.cancel(request_id)
                case Close():
                    return
        results = engine.step()
        if results:
            connection.send(Results(tuple(results), engine.stats))


def _submit(connection: Connection, engine: Engine, request: Request) -> None:
    try:
        engine.submit(request)
    except GatewayError as error:
        connection.send(Results((Failed(request.id, error),), engine.stats))


if __name__ == "__main__":
    os.set_inheritable(int(sys.argv[1]), False)
    main(int(sys.argv[1]))
