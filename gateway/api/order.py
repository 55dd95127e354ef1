"""What one request asks of a model, whichever endpoint it came by."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from starlette.requests import Request

from gateway.api.models import Offer
from gateway.api.wire import MAX_NAME
from gateway.chat.conversation import Turn
from gateway.chat.generation import GenerationDefaults
from gateway.chat.model import ChatModel
from gateway.engine.prompt import Identity, SamplingParams
from gateway.errors import InvalidRequest

NAMING = ("x-session-id", "x-openwebui-chat-id")
"""Headers that name the conversation, the first one first."""


@dataclass(frozen=True, slots=True)
class Order:
    """`num_choices` continuations of each turn that `prepare` makes; `sampling` is told what the model's
    makers recommend and how many tokens fit behind the prompt."""

    offer: Offer
    prepare: Callable[[ChatModel], Awaitable[Sequence[Turn]]]
    sampling: Callable[[GenerationDefaults, int], SamplingParams]
    identity: Identity
    stop: Sequence[str] = ()
    num_choices: int = 1


def identity(request: Request, cache_key: str | None) -> Identity:
    """Whose conversation it is, from the headers and `prompt_cache_key`. Raises InvalidRequest."""
    headers = request.headers
    for header in NAMING:
        if len(headers.get(header, "")) > MAX_NAME:
            raise InvalidRequest(f"The header {header} is longer than {MAX_NAME} characters.", param=header)
    named = [headers[header] for header in NAMING if headers.get(header)]
    return Identity(
        owner=request.scope["owner"],
        name=named[0] if named else cache_key or None,
        ephemeral=bool(headers.get("x-openwebui-task")),  # which is sent with chats as well, and empty
    )
