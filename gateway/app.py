"""Puts the parts together: settings in, a running gateway out. Nothing is constructed anywhere else."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from starlette.types import ASGIApp

from backends.axcl.cures import Host
from backends.axcl.layers import KvWrite
from backends.axcl.monitor import Monitor, told_by_tool
from backends.axcl.package import Package, open_package
from backends.export import ExportOptions, export_package
from gateway.api.door import Door
from gateway.api.keys import ApiKey
from gateway.api.models import Limits, Offer
from gateway.api.routes import build_api
from gateway.chat.generation import GenerationDefaults
from gateway.chat.media import MediaFetcher, MediaLimits
from gateway.chat.model import ChatModel
from gateway.chat.template import ChatTemplate
from gateway.chat.tokenizer import Tokenizer
from gateway.demo import CHECKPOINTS
from gateway.engine.client import EngineClient
from gateway.engine.fleet import Fleet, Member
from gateway.engine.messages import EngineInfo, Place, WorkerConfig
from gateway.engine.room import Need
from gateway.errors import GatewayError
from gateway.logs import LogFormat
from gateway.settings import Settings, SettingsError
from gateway.vision.registry import AnyEncoder, Registry

MEGA = 10**6

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Gateway:
    """`app` is the ASGI application; `filling` loads the models that the first request need not wait for."""

    app: ASGIApp
    door: Door
    fleet: Fleet
    filling: asyncio.Task[None]

    async def close(self) -> None:
        """Every request ends with an error that says so: one without an answer yet at once, the others with
        the engines, whose end this waits for."""
        self.filling.cancel()
        self.door.close()
        await self.fleet.close()


@asynccontextmanager
async def open_gateway(settings: Settings) -> AsyncIterator[Gateway]:
    """A gateway with its first model loaded, as long as the block.

    Raises SettingsError, PackageError, RegistryError, ExportError or EngineFailure, each with a sentence for
    whoever starts the server.
    """
    registry = Registry.load(settings.vision_models, settings.vision_entries)
    async with AsyncExitStack() as undo:
        packages = _packages(settings) if settings.model else _demo_packages(settings, undo)
        fleet = _fleet(settings, packages)
        undo.push_async_callback(fleet.close)
        # Read now, so that a broken one is told to who starts the server and not to who asks the model.
        tokenizers = {name: Tokenizer.load(package.tokenizer) for name, package in packages.items()}
        offers = [
            Offer(name, fleet, partial(_chat_model, settings, name, package, tokenizers[name], registry))
            for name, package in packages.items()
        ]
        for offer in offers:
            undo.callback(offer.close)
        await fleet.start()
        await offers[0].chat()
        limits = Limits(
            max_body_bytes=settings.max_body_mb * MEGA,
            max_image_bytes=settings.max_image_mb * MEGA,
            max_image_pixels=settings.max_image_megapixels * MEGA,
            max_video_bytes=settings.max_video_mb * MEGA,
        )
        door = Door(lambda: fleet.num_sessions + settings.max_waiting)
        monitor = _monitor(settings, fleet)
        if monitor:
            undo.push_async_callback(monitor.close)
        app = build_api(offers, fleet, limits, door, _api_keys(settings), settings.cors_origins, monitor)
        filling = asyncio.create_task(_fill(fleet, offers[1:]))
        undo.callback(filling.cancel)
        yield Gateway(app, door, fleet, filling)


def _monitor(settings: Settings, fleet: Fleet) -> Monitor | None:
    """Of a card that the host sees; an emulated one has nothing to tell."""
    buses = Host.look().buses
    if fleet.device != "card" or settings.device_index >= len(buses):
        return None
    return Monitor(partial(told_by_tool, buses[settings.device_index]))


async def _fill(fleet: Fleet, offers: Sequence[Offer]) -> None:
    """Load the other models in order, as far as they fit, while the first one answers."""
    for offer in offers:
        if await fleet.fill(offer.name):
            try:
                await offer.chat()
            except GatewayError as reason:
                log.error("%s", reason)


def _api_keys(settings: Settings) -> list[ApiKey]:
    entries = [entry.split(":") for entry in settings.api_keys]
    return [ApiKey(name, bytes.fromhex(digest)) for name, digest in entries]


def log_format(settings: Settings) -> LogFormat:
    return LogFormat(settings.log_level, settings.log_json)


def _packages(settings: Settings) -> dict[str, Package]:
    """By the name of the model."""
    packages: dict[str, Package] = {}
    for entry in settings.model:
        given, separator, folder = entry.partition("=")
        named = separator and "/" not in given  # else the sign is part of a path
        package = open_package(Path(folder.strip() if named else entry))
        name = given.strip() if named else package.name
        if name in packages:
            raise SettingsError(
                f"Two models are called {name}: {packages[name].folder} and {package.folder}. "
                "Give one of them a name of its own with --model NAME=DIR."
            )
        packages[name] = package
    return packages


def _demo_packages(settings: Settings, undo: AsyncExitStack) -> dict[str, Package]:
    """The demo checkpoints as packages, for as long as they are needed: making one takes a tenth of a
    second."""
    if settings.device == "card":
        raise SettingsError(
            "The demo models run on the emulated card only; name a model for a card with --model."
        )
    folder = Path(undo.enter_context(TemporaryDirectory(prefix="axgate-")))
    for name, checkpoint in CHECKPOINTS.items():
        export_package(checkpoint, folder / name, ExportOptions(), lambda *_: None)
    return {name: open_package(folder / name) for name in CHECKPOINTS}


def _fleet(settings: Settings, packages: Mapping[str, Package]) -> Fleet:
    device = settings.device if settings.model else "emulator"
    members = []
    for name, package in packages.items():
        client = EngineClient(_worker_config(settings, package, Place(device), len(packages)))
        members.append(Member(name, client, Need.of(package)))
    return Fleet(members, device)


def _worker_config(settings: Settings, package: Package, place: Place, num_models: int) -> WorkerConfig:
    return WorkerConfig(
        package=package.folder,
        place=place,
        device_index=settings.device_index,
        kv_write=None if settings.kv_write == "auto" else KvWrite(settings.kv_write),
        emulated_bytes=settings.emulated_memory_mb * MEGA,
        emulated_clock=settings.emulated_clock,
        max_sessions=settings.max_sessions,
        max_saved_bytes=settings.host_cache_mb * MEGA // num_models,
        max_feature_bytes=settings.feature_cache_mb * MEGA // num_models,
        vision_models=settings.vision_models,
        vision_entries=settings.vision_entries,
        log_format=log_format(settings),
    )


def _chat_model(
    settings: Settings,
    name: str,
    package: Package,
    tokenizer: Tokenizer,
    registry: Registry,
    info: EngineInfo,
) -> ChatModel:
    media = MediaLimits(
        max_image_bytes=settings.max_image_mb * MEGA,
        max_video_bytes=settings.max_video_mb * MEGA,
        timeout_s=settings.media_timeout_s,
    )
    seen = info.vision_input
    encoder = registry.find(info.prefix, seen, package.added_tokens) if seen else None
    return ChatModel(
        name=name,
        tokenizer=tokenizer,
        template=_template(package.tokenizer, tokenizer.special_tokens, encoder),
        encoder=encoder,
        media=MediaFetcher(media, settings.allow_private_media),
        max_pixels=settings.max_image_megapixels * MEGA,
        context_length=info.decoder.context_length,
        image_reach=info.decoder.image_reach,
        defaults=GenerationDefaults.load(package.tokenizer, tokenizer, package.sampling),
        holds_grammars=info.holds_grammars,
    )


def _template(folder: Path, variables: Mapping[str, str], encoder: AnyEncoder | None) -> ChatTemplate:
    if encoder is None or encoder.spec.template is None:
        return ChatTemplate.load(folder, variables)
    return ChatTemplate.for_pictures(folder, variables, encoder.spec.marker, encoder.spec.template)
