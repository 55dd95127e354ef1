"""POST /v1/responses."""

from time import time
from uuid import uuid4

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from gateway.api.body import read_request
from gateway.api.delivery import deliver
from gateway.api.models import Models
from gateway.api.order import Order, identity
from gateway.api.response import WireResponse
from gateway.api.response_answer import ResponseAnswer
from gateway.api.response_conversation import conversation, placed_messages, renamed
from gateway.api.response_request import ResponseRequest
from gateway.api.response_store import Kept, ResponseStore
from gateway.chat.conversation import Turn
from gateway.chat.model import ChatModel
from gateway.errors import InvalidRequest, PreviousResponseNotFound


class Responses:
    """An ASGI application of its own, because the generation must end with it."""

    def __init__(self, models: Models, store: ResponseStore, max_body_bytes: int) -> None:
        self._models = models
        self._store = store
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        wanted = await read_request(request, ResponseRequest, self._max_body_bytes)
        offer = self._models.find(wanted.model)
        owner: str = scope["owner"]
        previous = self._previous(owner, wanted.previous_response_id)
        told = placed_messages(wanted.instructions, previous.said if previous else [], wanted.input or [])
        asked = conversation(wanted, [placed.message for placed in told])

        async def prepare(model: ChatModel) -> list[Turn]:
            try:
                return [await model.prepare(asked)]
            except InvalidRequest as error:
                raise renamed(error, told) from error

        order = Order(
            offer=offer,
            prepare=prepare,
            sampling=wanted.sampling,
            identity=identity(request, wanted.prompt_cache_key),
            stop=wanted.stop,
        )
        begun = WireResponse.begun(wanted, offer.name, f"resp_{uuid4().hex}", int(time()))

        def keep(response: WireResponse) -> None:
            if wanted.store:
                self._store.keep(owner, Kept.of(response, wanted.input or [], previous))

        answer = ResponseAnswer(begun, wanted.num_top_logprobs is not None, keep)
        await deliver(scope, receive, send, order, answer, stream=wanted.stream)

    def _previous(self, owner: str, id: str | None) -> Kept | None:
        """Raises PreviousResponseNotFound."""
        if id is None:
            return None
        kept = self._store.find(owner, id)
        if kept is None:
            raise PreviousResponseNotFound(id)
        return kept
