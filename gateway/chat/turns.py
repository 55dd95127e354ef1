"""Conversations -> turns: what the model is told, and what its reply must be."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gateway.chat.conversation import Conversation, ToolUse, Turn
from gateway.chat.grammar import GrammarWriter, Reasoning
from gateway.chat.segments import END_OF_THINK, THINK
from gateway.chat.template import ChatTemplate, opens_reply
from gateway.chat.writer import Draft, PromptWriter
from gateway.errors import ContextLengthExceeded, InvalidRequest
from gateway.vision.encoder import Visual

MIN_REPLY = 256
"""Tokens that tools must leave for a reply, or an eighth of the context where that is more, lest they are
left out: they are of no use to a model that has no room to call them."""


@dataclass(frozen=True, slots=True)
class TurnDraft:
    """A conversation whose pictures and videos are not there yet. `use` is None where the model is told of
    no tools."""

    conversation: Conversation
    draft: Draft
    use: ToolUse | None
    grammar: str | None = None


class TurnWriter:
    """`context_length` counts prompt and reply together. Without `grammars`, a model calls tools as it
    likes, and who must have a call or JSON is refused."""

    def __init__(
        self,
        writer: PromptWriter,
        template: ChatTemplate,
        grammars: GrammarWriter | None,
        context_length: int,
    ) -> None:
        self._writer = writer
        self._thinks = template.thinks
        self._grammars = grammars
        self._context_length = context_length
        self._room = max(MIN_REPLY, context_length // 8)

    def draft(self, conversation: Conversation) -> TurnDraft:
        """Raises InvalidRequest and its kinds, also when the conversation does not fit however small its
        pictures and videos turn out. Tools that do not fit, or that the chat template refuses, are left out
        unless the model must call one."""
        return self._constrained(self._fitting(conversation))

    def finish(self, drafted: TurnDraft, visuals: Sequence[Visual]) -> Turn:
        """With its pictures and videos. Raises InvalidRequest where it does not fit after all."""
        optional = drafted.use is not None and not drafted.use.required
        try:
            prompt = self._writer.finish(drafted.draft, visuals)
            if optional and prompt.num_tokens + self._room > self._context_length:
                raise ContextLengthExceeded(self._context_length, prompt.num_tokens)
        except InvalidRequest:
            if not optional:
                raise
            return self.finish(self._constrained(self._without_tools(drafted.conversation)), visuals)
        return Turn(
            prompt,
            opens=opens_reply(drafted.conversation.messages),
            thinks=self._reasoning(drafted) == "begun",
            tools=drafted.conversation.tools if drafted.use else (),
            use=drafted.use,
            grammar=drafted.grammar,
            tools_left_out=drafted.use is None and bool(drafted.conversation.tools),
        )

    def _fitting(self, conversation: Conversation) -> TurnDraft:
        if not conversation.tools:
            return self._without_tools(conversation)
        if conversation.use.required:
            bare = self._without_tools(conversation).draft
            hint = f"Without the tools, of which one must be called, they are {bare.num_tokens} tokens. "
            return self._with_tools(conversation, hint)
        try:
            told = self._with_tools(conversation)
        except InvalidRequest:
            return self._without_tools(conversation)
        fits = told.draft.num_tokens + self._room <= self._context_length
        return told if fits else self._without_tools(conversation)

    def _with_tools(self, conversation: Conversation, hint: str = "") -> TurnDraft:
        messages, tools = conversation.messages, conversation.tools
        draft = self._writer.draft(messages, tools, conversation.variables, hint)
        return TurnDraft(conversation, draft, conversation.use)

    def _without_tools(self, conversation: Conversation) -> TurnDraft:
        draft = self._writer.draft(conversation.messages, variables=conversation.variables)
        return TurnDraft(conversation, draft, None)

    def _constrained(self, drafted: TurnDraft) -> TurnDraft:
        asked = drafted.conversation
        # What goes on with a message that is begun is no JSON of its own.
        reply = asked.json if opens_reply(asked.messages) else None
        if self._grammars is None:
            if reply or (drafted.use and drafted.use.required):
                raise InvalidRequest(
                    "Replies of this model cannot be made to call a tool or to be JSON: its tokenizer is of "
                    "a kind that is not known.",
                    param=reply.param if reply else "tool_choice",
                )
            return drafted
        grammar = self._grammars.grammar(asked.tools, drafted.use, reply, self._reasoning(drafted))
        return replace(drafted, grammar=grammar)

    def _reasoning(self, drafted: TurnDraft) -> Reasoning:
        end = drafted.draft.pieces[-1].rstrip()
        if not opens_reply(drafted.conversation.messages) or end.endswith(END_OF_THINK):
            return "none"
        if end.endswith(THINK):
            return "begun"
        return "possible" if self._thinks else "none"
