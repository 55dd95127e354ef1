"""What a text or a conversation is in tokens, and back, without running the model."""

from typing import Annotated

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from gateway.api.body import read_request
from gateway.api.chat_request import ConversationFields
from gateway.api.conversation import conversation
from gateway.api.messages import Messages
from gateway.api.models import Models
from gateway.api.wire import Wire, json_response
from gateway.errors import InvalidRequest


class TokenizeRequest(ConversationFields):
    """Either of the two: a conversation, as a chat completion of it would be prompted, or a text as it is."""

    messages: Messages = Field([])
    text: str | None = None


class Tokenized(Wire):
    """Placeholders of images count and are among the tokens."""

    tokens: list[int]
    count: int
    context_length: int


class DetokenizeRequest(Wire):
    model: str
    tokens: Annotated[list[int], Field(fail_fast=True)]


class Detokenized(Wire):
    text: str


class Tokens:
    """POST /v1/tokenize and /v1/detokenize."""

    def __init__(self, models: Models, max_body_bytes: int) -> None:
        self._models = models
        self._max_body_bytes = max_body_bytes

    async def tokenize(self, request: Request) -> Response:
        wanted = await read_request(request, TokenizeRequest, self._max_body_bytes)
        offer = self._models.find(wanted.model)
        if bool(wanted.messages) == (wanted.text is not None):
            raise InvalidRequest("Expected either 'messages' or 'text'.", param="messages")
        model = await offer.chat()
        if wanted.text is not None:
            token_ids = await model.tokenize_text(wanted.text)
        else:
            token_ids = await model.tokenize(conversation(wanted))
        length = model.context_length
        return json_response(Tokenized(tokens=token_ids, count=len(token_ids), context_length=length))

    async def detokenize(self, request: Request) -> Response:
        wanted = await read_request(request, DetokenizeRequest, self._max_body_bytes)
        model = await self._models.find(wanted.model).chat()
        return json_response(Detokenized(text=await model.detokenize(wanted.tokens)))
