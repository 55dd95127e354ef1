"""A chat model whose replies are given: what takes the place of templates, tools and reasoning in these
tests, which are about what clients get to see of them."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, cast

from gateway.chat.conversation import Conversation, Turn
from gateway.chat.model import ChatModel
from gateway.chat.reply import Delta, FinishReason, Usage
from gateway.engine.prompt import Output
from tests.api.service import model


class ScriptedChat:
    """Choice by choice `replies`, a delta for each output of the engine, the last one again for all further
    choices; `ends` are the finish reasons of those whose script is told to its end. `turn` is what else is
    said of the turn. With `gate`, prompts wait for it. `asked` are the conversations."""

    def __init__(
        self,
        *replies: Sequence[Delta],
        ends: FinishReason = "stop",
        gate: asyncio.Event | None = None,
        **turn: Any,
    ) -> None:
        self._replies = replies or ((),)
        self._ends: FinishReason = ends
        self._gate = gate
        self._turn = turn
        self.asked: list[Conversation] = []
        self.num_read = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(model(), name)

    async def prepare(self, conversation: Conversation) -> Turn:
        self.asked.append(conversation)
        if self._gate:
            await self._gate.wait()
        turn = await model().prepare(Conversation(conversation.messages))
        return replace(turn, **self._turn)

    async def read_reply(
        self, turn: Turn, outputs: AsyncGenerator[Output], stop: Sequence[str]
    ) -> AsyncGenerator[Delta]:
        script = list(self._replies[min(self.num_read, len(self._replies) - 1)])
        self.num_read += 1
        num_thought = sum(bool(delta.reasoning) for delta in script)
        async with aclosing(outputs):
            async for output in outputs:
                if script:
                    yield script.pop(0)
                elif output.finish_reason:
                    count, cached = output.num_completion_tokens, output.cached_tokens
                    usage = Usage(turn.prompt.num_tokens, count, cached, num_thought)
                    yield Delta(finish_reason=self._ends, usage=usage)


def scripted(*replies: Sequence[Delta], **turn: Any) -> ChatModel:
    return cast(ChatModel, ScriptedChat(*replies, **turn))
