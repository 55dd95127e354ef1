"""The models a client can choose from."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass
from time import time
from typing import Literal

from starlette.requests import Request
from starlette.responses import Response

from backends.base import PackageError
from gateway.api.messages import MAX_MESSAGES, MAX_PARTS
from gateway.api.model_list import Architecture, Capabilities, ModelList, WireModel
from gateway.api.sampling import MAX_CHOICES
from gateway.api.tools import MAX_TOOLS
from gateway.api.wire import json_response
from gateway.chat.model import ChatModel
from gateway.engine.client import EngineClient
from gateway.engine.fleet import Fleet
from gateway.engine.messages import EngineInfo
from gateway.errors import EngineFailure, ModelNotFound, cut
from gateway.vision.video import MAX_DURATION_S


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may hold; published with the model."""

    max_body_bytes: int
    max_image_bytes: int
    max_image_pixels: int
    max_video_bytes: int


class Offer:
    """One of the models. What it can do is known when it has been loaded for the first time: then `build`
    makes `known`, which stays when the model is unloaded."""

    def __init__(self, name: str, fleet: Fleet, build: Callable[[EngineInfo], ChatModel]) -> None:
        self.name = name
        self.known: ChatModel | None = None
        self._fleet = fleet
        self._build = build
        self._building = asyncio.Lock()

    async def chat(self) -> ChatModel:
        """Raises what `Fleet.using` raises, where the model has to be loaded for it."""
        if self.known is None:
            info = await self._fleet.info(self.name)
            async with self._building:
                if self.known is None:
                    self.known = await self._built(info)
        return self.known

    def engine(self) -> AbstractAsyncContextManager[EngineClient]:
        """See `Fleet.using`."""
        return self._fleet.using(self.name)

    def close(self) -> None:
        if self.known:
            self.known.close()

    async def _built(self, info: EngineInfo) -> ChatModel:
        try:
            return await asyncio.to_thread(self._build, info)
        except (PackageError, ValueError) as reason:
            raise EngineFailure(f"The model {self.name} cannot be used: {reason}") from reason


class Models:
    """GET /v1/models and /v1/models/{name}."""

    def __init__(self, offers: Iterable[Offer], fleet: Fleet, limits: Limits) -> None:
        self._offers = {offer.name: offer for offer in offers}
        self._fleet = fleet
        self._limits = limits
        self._created = int(time())

    def find(self, name: str) -> Offer:
        """Raises ModelNotFound; blanks around the name do not matter."""
        offer = self._offers.get(name.strip())
        if offer is None:
            names = ", ".join(f"'{each}'" for each in self._offers)
            raise ModelNotFound(f"The model '{cut(name)}' does not exist. This server has {names}.")
        return offer

    async def list(self, request: Request) -> Response:
        return json_response(ModelList(data=[self._shown(offer) for offer in self._offers.values()]))

    async def one(self, request: Request) -> Response:
        return json_response(self._shown(self.find(request.path_params["name"])))

    def _shown(self, offer: Offer) -> WireModel:
        model = offer.known
        return WireModel(
            id=offer.name,
            created=self._created,
            owned_by="axgate",
            loaded=model is not None and self._fleet.status[offer.name].state == "ready",
            context_length=model.context_length if model else None,
            architecture=_architecture(model) if model else None,
            capabilities=_capabilities(model) if model else None,
            min_tokens_per_image=model.min_tokens_per_image if model else None,
            max_tokens_per_image=model.max_tokens_per_image if model else None,
            limits={
                **asdict(self._limits),
                "max_video_seconds": int(MAX_DURATION_S),
                "max_images": model.max_images if model else None,
                "max_videos": model.max_videos if model else None,
                "max_video_frames": model.max_video_frames if model else None,
                "image_reach": model.image_reach if model else None,
                "max_messages": MAX_MESSAGES,
                "max_parts": MAX_PARTS,
                "max_tools": MAX_TOOLS,
                "max_choices": MAX_CHOICES,
            },
        )


def _architecture(model: ChatModel) -> Architecture:
    seen: list[Literal["image", "video"]] = ["image"] if model.max_images else []
    seen += ["video"] if model.max_videos else []
    return Architecture(input_modalities=["text", *seen])


def _capabilities(model: ChatModel) -> Capabilities:
    return Capabilities(
        vision=model.max_images > 0,
        video=model.max_videos > 0,
        tools=model.takes_tools,
        structured_output=model.holds_grammars,
        reasoning=model.thinks,
    )
