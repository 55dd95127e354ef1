"""The command `axgate`: serve, demo, chat, models, export."""

import argparse
import asyncio
import logging
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING
from uuid import uuid4

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from backends.base import PackageError
from backends.export import ExportError, ExportOptions, export_package
from gateway import __version__
from gateway.app import log_format
from gateway.demo.tour import invitation, tour
from gateway.errors import GatewayError
from gateway.logs import configure_logging
from gateway.remote import Remote, RemoteError, image_part
from gateway.server import AddressError, serving
from gateway.settings import Settings, SettingsError, command_line, load
from gateway.terminal import KEYS, Terminal
from gateway.vision.registry import RegistryError

if TYPE_CHECKING:  # at run time argparse does not take a parameter
    Commands = argparse._SubParsersAction[ArgumentParser]

DEFAULT_URL = "http://127.0.0.1:8080/v1"

log = logging.getLogger(__name__)

EXPECTED = (
    AddressError,
    ExportError,
    GatewayError,
    OSError,
    PackageError,
    RegistryError,
    RemoteError,
    SettingsError,
)
"""What can be wrong without a fault in the program: told in one sentence, exit status 2."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0 done, 1 the demo was wrong, 2 not possible as asked, 130 interrupted."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options) or 0
    except EXPECTED as error:
        print(f"axgate: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="axgate", description="Chat with pictures on AXERA AX650N cards.")
    parser.add_argument("--version", action="version", version=f"axgate {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in (_add_serve, _add_demo, _add_chat, _add_models, _add_export):
        add(commands)
    return parser


def _add(commands: "Commands", name: str, about: str, more: str = "") -> ArgumentParser:
    return commands.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}. {more}")


# --- serve and demo


def _add_serve(commands: "Commands") -> None:
    parser = _add(
        commands,
        "serve",
        "answer the OpenAI API over HTTP",
        "Every option can also be set in the environment (--max-sessions as AXGATE_MAX_SESSIONS) "
        "or in a TOML file (max_sessions = 8).",
    )
    given = command_line(parser)
    parser.set_defaults(run=lambda options: asyncio.run(_serve(load(given(parsed_args=options)()))))


async def _serve(settings: Settings) -> None:
    configure_logging(log_format(settings))
    async with serving(settings) as server:
        log.info("axgate %s answers; Ctrl-C stops it", __version__, extra={"facts": {"url": server.base_url}})
        await server.stopped


def _add_demo(commands: "Commands") -> None:
    parser = _add(
        commands,
        "demo",
        "start the built-in model on an emulated card, ask it about two pictures, and keep serving",
        "Settings other than these come from the environment and the TOML file.",
    )
    parser.add_argument("--once", action="store_true", help="leave after the questions instead of serving on")
    parser.add_argument("--port", help="TCP port; 0 takes a free one (default: 8080)")
    parser.set_defaults(run=lambda options: asyncio.run(_demo(options.once, options.port)))


async def _demo(once: bool, port: str | None) -> int:
    """The exit status."""
    fixed = {"model": None, "model_name": None, "device": "emulator", "api_keys": (), "log_level": "warning"}
    settings = load(fixed if port is None else fixed | {"port": port})
    configure_logging(log_format(settings))
    console = Console(highlight=False)
    start_s = monotonic()
    console.print(f"axgate {__version__}: starting the demo model on an emulated card …")
    async with serving(settings) as server:
        console.print(f"Ready after {monotonic() - start_s:.1f} s at {server.base_url}")
        all_right = await asyncio.to_thread(tour, server.base_url, console)
        if once:
            return 0 if all_right else 1
        console.print("\nStill serving; Ctrl-C stops it. To ask on, paste this into another shell:\n")
        print(invitation(server.base_url), flush=True)  # as it is, without line breaks of the console's
        await server.stopped
    return 0


# --- chat and models


def _add_chat(commands: "Commands") -> None:
    parser = _add(commands, "chat", "chat in the terminal with a running server", KEYS)
    _add_url(parser)
    parser.add_argument("--model", help="one of `axgate models` (default: the first)")
    parser.add_argument(
        "--image",
        type=Path,
        action="append",
        default=[],
        metavar="PATH",
        help="a picture for the first message",
    )
    parser.set_defaults(run=_chat)


def _chat(options: Namespace) -> None:
    images = [image_part(path) for path in options.image]
    with Remote(options.url, options.key, session=f"terminal-{uuid4().hex}") as remote:
        names = [model["id"] for model in remote.models()]
        if options.model not in (None, *names):
            raise RemoteError(f"There is no model {options.model} on this server, only {', '.join(names)}.")
        Terminal(remote, options.model or names[0], Console(highlight=False)).run(images)


def _add_models(commands: "Commands") -> None:
    parser = _add(commands, "models", "list the models of a running server and their limits")
    _add_url(parser)
    parser.set_defaults(run=_models)


def _models(options: Namespace) -> None:
    table = Table("model", "limit", "value")
    with Remote(options.url, options.key) as remote:
        models = remote.models()
    for model in models:
        facts = {name: model.get(name) for name in ("context_length", "tokens_per_image")}
        for place, (name, value) in enumerate((facts | model.get("limits", {})).items()):
            table.add_row("" if place else model["id"], name, "unknown" if value is None else f"{value:,}")
    Console(highlight=False).print(table)


def _add_url(parser: ArgumentParser) -> None:
    parser.add_argument("--url", default=DEFAULT_URL, help="base URL of the server (default: %(default)s)")
    parser.add_argument("--key", help="API key, if the server wants one")


# --- export


def _add_export(commands: "Commands") -> None:
    parser = _add(
        commands,
        "export",
        "turn a Hugging Face checkpoint into a model package for the emulated card",
        "The defaults are those of published Qwen3-VL packages.",
    )
    default = ExportOptions()
    histories = " ".join(str(rows) for rows in default.histories)
    add = parser.add_argument
    add("checkpoint", type=Path, help="folder with config.json, *.safetensors and tokenizer.json")
    add("out", type=Path, help="folder to make; its name becomes the model's")
    add(
        "--kv-cache-len",
        type=int,
        default=default.kv_cache_len,
        metavar="N",
        help="rows of a KV cache, the most tokens of a conversation (default: %(default)s)",
    )
    add(
        "--prefill-len",
        type=int,
        default=default.prefill_len,
        metavar="N",
        help="tokens of one prefill call (default: %(default)s)",
    )
    add(
        "--histories",
        type=int,
        nargs="+",
        default=default.histories,
        metavar="N",
        help=f"cache rows that prefill calls after the first can see, one group each (default: {histories})",
    )
    add(
        "--weights", choices=["keep", "int8", "int4"], default=default.weights, help="how matrices are stored"
    )
    add("--image-width", type=int, metavar="N", help="pixels (default: the checkpoint's, else 384)")
    add("--image-height", type=int, metavar="N", help="pixels (default: the checkpoint's, else 384)")
    parser.set_defaults(run=_export)


def _export(options: Namespace) -> None:
    chosen = ExportOptions(
        kv_cache_len=options.kv_cache_len,
        prefill_len=options.prefill_len,
        histories=tuple(options.histories),
        weights=options.weights,
        image_width=options.image_width,
        image_height=options.image_height,
    )
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("reading the checkpoint", total=None)

        def show(name: str, num_written: int, num_files: int) -> None:
            progress.update(task, description=name, completed=num_written, total=num_files)

        export_package(options.checkpoint, options.out, chosen, show)
    print(f"Serve it with: axgate serve --device emulator --model {options.out}", file=sys.stderr)
