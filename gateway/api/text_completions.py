"""POST /v1/completions."""

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from gateway.api.body import read_request
from gateway.api.delivery import deliver
from gateway.api.models import Models
from gateway.api.order import Order, identity
from gateway.api.text_answer import TextAnswer
from gateway.api.text_request import TextRequest
from gateway.chat.conversation import Turn
from gateway.chat.model import ChatModel


class TextCompletions:
    """An ASGI application of its own, because the generation must end with it."""

    def __init__(self, models: Models, max_body_bytes: int) -> None:
        self._models = models
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        wanted = await read_request(request, TextRequest, self._max_body_bytes)
        offer = self._models.find(wanted.model)
        echoed: list[str] = []

        async def prepare(model: ChatModel) -> list[Turn]:
            turns = [await model.prepare_text(prompt) for prompt in wanted.prompt]
            if wanted.echo:
                echoed.extend([await _as_text(model, prompt) for prompt in wanted.prompt])
            return turns

        order = Order(
            offer=offer,
            prepare=prepare,
            sampling=wanted.sampling,
            identity=identity(request, wanted.prompt_cache_key),
            stop=wanted.stop,
            num_choices=wanted.n,
        )
        answer = TextAnswer(offer.name, echoed, wanted.logprobs is not None, wanted.includes_usage)
        await deliver(scope, receive, send, order, answer, stream=wanted.stream)


async def _as_text(model: ChatModel, prompt: str | list[int]) -> str:
    return prompt if isinstance(prompt, str) else await model.detokenize(prompt)
