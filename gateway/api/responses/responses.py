"""POST /v1/responses."""

import asyncio
from collections.abc import Iterable, Sequence
from time import time
from uuid import uuid4

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from gateway.api.body import read_request
from gateway.api.delivery import deliver
from gateway.api.messages import MAX_MESSAGES
from gateway.api.models import Models
from gateway.api.order import Order, identity
from gateway.api.responses.answer import ResponseAnswer
from gateway.api.responses.conversation import conversation, placed_messages, renamed
from gateway.api.responses.items import AnyItem, ItemReference
from gateway.api.responses.request import ResponseRequest
from gateway.api.responses.response import WireResponse
from gateway.api.responses.store import Kept, KeptItem, ResponseStore
from gateway.chat.conversation import Turn
from gateway.chat.model import ChatModel
from gateway.errors import InvalidRequest, NotFound, PreviousResponseNotFound, cut


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
        items = self._items(owner, previous, wanted.input or [])
        # There may be many, and large ones, and others are served in the meantime.
        before = await asyncio.to_thread(_read, previous.said if previous else [])
        told = placed_messages(wanted.instructions, before, items)
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
                self._store.keep(owner, Kept.of(response, items, previous))

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

    def _items(
        self, owner: str, previous: Kept | None, wanted: Sequence[AnyItem | ItemReference]
    ) -> list[AnyItem]:
        """What is asked, with what it refers to in the place of references. Raises InvalidRequest and
        NotFound."""
        number = len(wanted) + (previous.num_items if previous else 0)
        if number > MAX_MESSAGES:
            raise InvalidRequest(
                f"Invalid 'input': with the previous response, the conversation has {number} items, and "
                f"there can be {MAX_MESSAGES}.",
                param="input",
                code="array_above_max_length",
            )
        return [self._referred(owner, item) if isinstance(item, ItemReference) else item for item in wanted]

    def _referred(self, owner: str, reference: ItemReference) -> AnyItem:
        kept = self._store.find_item(owner, reference.id)
        if kept is None:
            raise NotFound(
                f"Item with id '{cut(reference.id)}' not found. Items are kept with their responses, and not "
                "where 'store' is false; send the item itself instead.",
                param="input",
            )
        return kept.read()


def _read(items: Iterable[KeptItem]) -> list[AnyItem]:
    return [item.read() for item in items]
