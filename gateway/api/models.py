"""The models a client can choose from: one."""

from dataclasses import asdict, dataclass
from time import time

from starlette.requests import Request
from starlette.responses import Response

from gateway.api.answer import json_response
from gateway.api.protocol import MAX_MESSAGES, MAX_PARTS, MAX_TOOLS, ModelList, WireModel
from gateway.chat.model import ChatModel
from gateway.errors import ModelNotFound, cut


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may hold; published with the model."""

    max_body_bytes: int
    max_image_bytes: int
    max_image_pixels: int


class Models:
    """GET /v1/models and /v1/models/{name}."""

    def __init__(self, model: ChatModel, limits: Limits) -> None:
        self._model = model
        self._shown = WireModel(
            id=model.name,
            created=int(time()),
            owned_by="axgate",
            context_length=model.context_length,
            tokens_per_image=model.num_tokens_per_image,
            limits={
                **asdict(limits),
                "max_images": model.max_images,
                "image_reach": model.image_reach,
                "max_messages": MAX_MESSAGES,
                "max_parts": MAX_PARTS,
                "max_tools": MAX_TOOLS,
            },
        )

    async def list(self, request: Request) -> Response:
        return json_response(ModelList(data=[self._shown]))

    async def one(self, request: Request) -> Response:
        check_model(request.path_params["name"], self._model)
        return json_response(self._shown)


def check_model(name: str, model: ChatModel) -> None:
    """Raises ModelNotFound for any name but the model's; blanks around it do not matter."""
    if name.strip() != model.name:
        raise ModelNotFound(f"The model '{cut(name)}' does not exist. This server has '{model.name}'.")
