"""Puts the parts together: settings in, a running gateway out. Nothing is constructed anywhere else."""

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from starlette.types import ASGIApp

from backends.axcl.layers import KvWrite
from backends.axcl.package import Package, open_package
from backends.base import DecoderInfo
from backends.export import ExportOptions, export_package
from gateway.api.door import Door
from gateway.api.keys import ApiKey
from gateway.api.models import Limits
from gateway.api.routes import build_api
from gateway.chat.generation import GenerationDefaults
from gateway.chat.media import MediaFetcher, MediaLimits
from gateway.chat.model import ChatModel
from gateway.chat.template import ChatTemplate
from gateway.chat.tokenizer import Tokenizer
from gateway.demo import CHECKPOINT, MODEL_NAME
from gateway.engine.client import EngineClient
from gateway.engine.messages import EngineInfo, WorkerConfig
from gateway.logs import LogFormat
from gateway.settings import Settings, SettingsError
from gateway.vision.registry import Registry

MEGA = 10**6

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Gateway:
    """`app` is the ASGI application."""

    app: ASGIApp
    door: Door
    client: EngineClient

    async def close(self) -> None:
        """Every request ends with an error that says so: one without an answer yet at once, the others with
        the engine, whose end this waits for."""
        self.door.close()
        await self.client.close()


@asynccontextmanager
async def open_gateway(settings: Settings) -> AsyncIterator[Gateway]:
    """A gateway with its engine running, as long as the block.

    Raises SettingsError, PackageError, RegistryError, ExportError or EngineFailure, each with a sentence for
    whoever starts the server.
    """
    registry = Registry.load(settings.vision_models)
    async with AsyncExitStack() as undo:
        package = open_package(settings.model or _demo_package(settings, undo))
        log.info("loading", extra={"facts": {"package": package.folder}})
        client = EngineClient(_worker_config(settings, package), settings.max_waiting)
        undo.push_async_callback(client.close)
        await client.start()
        model = _chat_model(settings, package, registry, client.info)
        undo.callback(model.close)
        limits = Limits(
            max_body_bytes=settings.max_body_mb * MEGA,
            max_image_bytes=settings.max_image_mb * MEGA,
            max_image_pixels=settings.max_image_megapixels * MEGA,
        )
        door = Door(client.max_requests)
        app = build_api(model, client, limits, door, _api_keys(settings), settings.cors_origins)
        yield Gateway(app, door, client)


def _api_keys(settings: Settings) -> list[ApiKey]:
    entries = [entry.split(":") for entry in settings.api_keys]
    return [ApiKey(name, bytes.fromhex(digest)) for name, digest in entries]


def log_format(settings: Settings) -> LogFormat:
    return LogFormat(settings.log_level, settings.log_json)


def _demo_package(settings: Settings, undo: AsyncExitStack) -> Path:
    """The demo checkpoint as a package, for as long as it is needed: making it takes a tenth of a second."""
    if settings.device == "card":
        raise SettingsError(
            "The demo model runs on the emulated card only; name a model for a card with --model."
        )
    folder = Path(undo.enter_context(TemporaryDirectory(prefix="axgate-"))) / MODEL_NAME
    export_package(CHECKPOINT, folder, ExportOptions(), lambda *_: None)
    return folder


def _worker_config(settings: Settings, package: Package) -> WorkerConfig:
    return WorkerConfig(
        package=package.folder,
        device="emulator" if settings.model is None else settings.device,
        device_index=settings.device_index,
        kv_write=None if settings.kv_write == "auto" else KvWrite(settings.kv_write),
        emulated_bytes=settings.emulated_memory_mb * MEGA,
        max_sessions=settings.max_sessions,
        max_saved_bytes=settings.host_cache_mb * MEGA,
        max_feature_bytes=settings.feature_cache_mb * MEGA,
        vision_models=settings.vision_models,
        log_format=log_format(settings),
    )


def _chat_model(settings: Settings, package: Package, registry: Registry, info: EngineInfo) -> ChatModel:
    tokenizer = Tokenizer.load(package.tokenizer)
    media = MediaLimits(settings.max_image_mb * MEGA, settings.media_timeout_s)
    return ChatModel(
        name=settings.model_name or package.name,
        tokenizer=tokenizer,
        template=ChatTemplate.load(package.tokenizer, tokenizer.special_tokens, tokenizer.plain),
        encoder=None if info.vision_input is None else registry.find(info.prefix, info.vision_input),
        media=MediaFetcher(media, settings.allow_private_media),
        max_pixels=settings.max_image_megapixels * MEGA,
        context_length=info.decoder.context_length,
        image_reach=_image_reach(info.decoder),
        defaults=GenerationDefaults.load(package.tokenizer, tokenizer),
    )


def _image_reach(info: DecoderInfo) -> int:
    """Where a model has three rows of positions, pictures need them all, and only prefill takes them."""
    if info.index_rows == 1:
        return info.context_length
    return min(info.prefill_history + info.prefill_chunk, info.context_length)
