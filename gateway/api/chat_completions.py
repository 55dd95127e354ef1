"""POST /v1/chat/completions."""

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from gateway.api.body import read_request
from gateway.api.chat_answer import ChatAnswer
from gateway.api.chat_request import ChatRequest
from gateway.api.conversation import conversation
from gateway.api.delivery import deliver
from gateway.api.models import Models
from gateway.api.order import Order, identity
from gateway.chat.conversation import Turn
from gateway.chat.model import ChatModel


class ChatCompletions:
    """An ASGI application of its own, because the generation must end with it."""

    def __init__(self, models: Models, max_body_bytes: int) -> None:
        self._models = models
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        wanted = await read_request(request, ChatRequest, self._max_body_bytes)
        offer = self._models.find(wanted.model)
        asked = conversation(wanted)

        async def prepare(model: ChatModel) -> list[Turn]:
            return [await model.prepare(asked)]

        order = Order(
            offer=offer,
            prepare=prepare,
            sampling=wanted.sampling,
            identity=identity(request, wanted.prompt_cache_key),
            stop=wanted.stop,
            num_choices=wanted.n,
        )
        answer = ChatAnswer(offer.name, wanted.logprobs, wanted.includes_usage)
        await deliver(scope, receive, send, order, answer, stream=wanted.stream)
