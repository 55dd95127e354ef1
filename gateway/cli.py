"""The command `axgate`: serve, demo, chat, models, inspect, doctor, export, recipe, pull."""

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
from rich.table import Table

from backends.base import DeviceError, PackageError
from backends.export import ExportError
from gateway import __version__
from gateway.app import log_format
from gateway.demo.tour import invitation, tour
from gateway.doctor.command import doctor_arguments
from gateway.errors import GatewayError, printable
from gateway.exporting import export_arguments, recipe_arguments
from gateway.hub.errors import PullError
from gateway.inspection.command import inspect_arguments
from gateway.logs import configure_logging
from gateway.remote import Remote, RemoteError, image_part
from gateway.server import AddressError, serving
from gateway.settings import Settings, SettingsError, command_line, load
from gateway.terminal import KEYS, Terminal
from gateway.vision.registry import FAMILIES, RegistryError

if TYPE_CHECKING:  # at run time argparse does not take a parameter
    Commands = argparse._SubParsersAction[ArgumentParser]

DEFAULT_URL = "http://127.0.0.1:8080/v1"
FACTS = ("loaded", "context_length", "min_tokens_per_image", "max_tokens_per_image")
"""What `axgate models` tells of a model besides its limits."""

PUBLISHED = "The defaults are those of published Qwen3-VL packages."

log = logging.getLogger(__name__)

EXPECTED = (
    AddressError,
    DeviceError,
    ExportError,
    GatewayError,
    OSError,
    PackageError,
    PullError,
    RegistryError,
    RemoteError,
    SettingsError,
)
"""What can be wrong without a fault in the program: told in one sentence, exit status 2."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0 done, 1 the demo was wrong, a package cannot be served or a check failed, 2 not
    possible as asked, 130 interrupted."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options) or 0
    except EXPECTED as error:
        print(f"axgate: {printable(str(error))}", file=sys.stderr)
        return 2
    except asyncio.CancelledError:  # told to stop before it served, and everything is given back
        return 0
    except KeyboardInterrupt:
        return 130


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="axgate", description="Chat with pictures on AXERA AX650N cards.")
    parser.add_argument("--version", action="version", version=f"axgate {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in (
        _add_serve,
        _add_demo,
        _add_chat,
        _add_models,
        _add_inspect,
        _add_doctor,
        _add_export,
        _add_recipe,
        _add_pull,
    ):
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
        "start the built-in models on an emulated card, ask them about two pictures, and keep serving",
        "Settings other than these come from the environment and the TOML file.",
    )
    parser.add_argument("--once", action="store_true", help="leave after the questions instead of serving on")
    parser.add_argument("--port", help="TCP port; 0 takes a free one (default: 8080)")
    parser.set_defaults(run=lambda options: asyncio.run(_demo(options.once, options.port)))


async def _demo(once: bool, port: str | None) -> int:
    """The exit status."""
    fixed = {"model": (), "device": "emulator", "api_keys": (), "log_level": "warning"}
    settings = load(fixed if port is None else fixed | {"port": port})
    configure_logging(log_format(settings))
    console = Console(highlight=False)
    start_s = monotonic()
    console.print(f"axgate {__version__}: starting the demo models on an emulated card …")
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
    about = "list the published packages that `axgate pull` knows instead"
    parser.add_argument("--available", action="store_true", help=about)
    parser.set_defaults(run=_models)


def _models(options: Namespace) -> None:
    if options.available:
        from gateway.hub.command import show_available  # see _pull

        show_available(FAMILIES)
        return
    table = Table("model", "limit", "value")
    with Remote(options.url, options.key) as remote:
        models = remote.models()
    for model in models:
        facts = {name: model.get(name) for name in FACTS} | model.get("limits", {})
        for place, (name, value) in enumerate(facts.items()):
            table.add_row("" if place else printable(model["id"]), printable(name), _told(value))
    Console(highlight=False, markup=False, emoji=False).print(table)


def _told(value: bool | int | None) -> str:
    """What other servers do not have, and this one has not yet, is unknown."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "unknown" if value is None else f"{value:,}"


def _add_url(parser: ArgumentParser) -> None:
    parser.add_argument("--url", default=DEFAULT_URL, help="base URL of the server (default: %(default)s)")
    parser.add_argument("--key", help="API key, if the server wants one")


# --- inspect, doctor, export, recipe


def _add_inspect(commands: "Commands") -> None:
    inspect_arguments(_add(commands, "inspect", "tell what a model package holds and what it can do"))


def _add_doctor(commands: "Commands") -> None:
    about = "check the card, the way to it, and this machine, and say what helps"
    doctor_arguments(_add(commands, "doctor", about, "Exit status 1 where a check failed."))


def _add_export(commands: "Commands") -> None:
    about = "turn a Hugging Face checkpoint into a model package for the emulated card"
    export_arguments(_add(commands, "export", about, PUBLISHED))


def _add_recipe(commands: "Commands") -> None:
    about = "turn a Hugging Face checkpoint into what the vendor's compiler makes a package of"
    recipe_arguments(_add(commands, "recipe", about, PUBLISHED))


# --- pull


def _add_pull(commands: "Commands") -> None:
    parser = _add(
        commands,
        "pull",
        "download a published model package",
        "What was interrupted goes on when the same command is given again. Mirror, token and the like are "
        "settings of huggingface-hub: HF_ENDPOINT, HF_TOKEN, …",
    )
    add = parser.add_argument
    add("name", help="one of `axgate models --available`, or any repository as OWNER/NAME")
    add("--to", type=Path, metavar="DIR", help="package folder to make (default: ./NAME)")
    add("--folder", help="folder of the repository that holds the layers, where several do")
    add("--vision", metavar="FILE", help="vision graph to take, where there are several")
    about = "folder of the repository that holds the tokenizer, or the repository of the original model"
    add("--tokenizer", metavar="WHERE", help=about)
    add("--revision", help="branch, tag or commit of the repository (default: its main branch)")
    parser.set_defaults(run=_pull)


def _pull(options: Namespace) -> None:
    from gateway.hub.command import pull_package  # what it needs takes a third of a second to import

    pull_package(options, FAMILIES)
