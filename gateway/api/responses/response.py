"""The wire: a response, whole or as far as it is."""

from typing import Any, Literal

from pydantic import Field

from gateway.api.feed import Totals
from gateway.api.responses.items import AnyItem
from gateway.api.responses.request import FunctionTool, Reasoning, ResponseRequest
from gateway.api.wire import Wire
from gateway.errors import GatewayError, InvalidRequest

TOLD_CODES = ("invalid_image_format", "invalid_image_url")
"""Of our error codes, those that a failed response may have too: OpenAI's list of them is closed."""


class InputDetails(Wire):
    cached_tokens: int
    cache_write_tokens: int


class OutputDetails(Wire):
    reasoning_tokens: int


class ResponseUsage(Wire):
    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails
    total_tokens: int

    @classmethod
    def of(cls, totals: Totals) -> "ResponseUsage":
        """What was not in the KV cache was written to it."""
        cached, written = totals.cached_tokens, totals.prompt_tokens - totals.cached_tokens
        return cls(
            input_tokens=totals.prompt_tokens,
            input_tokens_details=InputDetails(cached_tokens=cached, cache_write_tokens=written),
            output_tokens=totals.completion_tokens,
            output_tokens_details=OutputDetails(reasoning_tokens=totals.reasoning_tokens),
            total_tokens=totals.prompt_tokens + totals.completion_tokens,
        )


class ResponseError(Wire):
    code: str
    message: str

    @classmethod
    def of(cls, error: GatewayError) -> "ResponseError":
        if error.code in TOLD_CODES:
            return cls(code=error.code, message=error.message)
        code = "invalid_prompt" if isinstance(error, InvalidRequest) else "server_error"
        return cls(code=code, message=error.message)


class IncompleteDetails(Wire):
    reason: Literal["max_output_tokens"] = "max_output_tokens"


class WireResponse(Wire):
    """What was asked comes back with what it means where nothing was said; `temperature` and `top_p` are null
    where the model's own count."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    completed_at: int | None = None
    status: Literal["in_progress", "completed", "incomplete", "failed"] = "in_progress"
    background: Literal[False] = False
    error: ResponseError | None = None
    incomplete_details: IncompleteDetails | None = None
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: int | None
    model: str
    output: list[AnyItem] = Field(default=[])
    parallel_tool_calls: bool
    previous_response_id: str | None
    prompt_cache_key: str | None
    reasoning: Reasoning
    safety_identifier: str | None
    service_tier: Literal["default"] = "default"
    store: bool
    temperature: float | None
    text: dict[str, Any]
    tool_choice: str | dict[str, Any]
    tools: list[FunctionTool]
    top_logprobs: int
    top_p: float | None
    truncation: Literal["disabled"] = "disabled"
    usage: ResponseUsage | None = None
    user: str | None
    metadata: dict[str, Any]

    @classmethod
    def begun(cls, wanted: ResponseRequest, model: str, id: str, created_at: int) -> "WireResponse":
        return cls(
            id=id,
            created_at=created_at,
            instructions=wanted.instructions,
            max_output_tokens=wanted.max_output_tokens,
            max_tool_calls=wanted.max_tool_calls,
            model=model,
            parallel_tool_calls=wanted.parallel_tool_calls is not False,
            previous_response_id=wanted.previous_response_id,
            prompt_cache_key=wanted.prompt_cache_key,
            reasoning=wanted.reasoning,
            safety_identifier=wanted.safety_identifier,
            store=wanted.store,
            temperature=wanted.temperature,
            text=wanted.text.model_dump(by_alias=True, exclude_none=True),
            tool_choice=wanted.tool_choice.shown,
            tools=wanted.tools,
            top_logprobs=wanted.top_logprobs,
            top_p=wanted.top_p,
            user=wanted.user if isinstance(wanted.user, str) else None,
            metadata=wanted.metadata,
        )
