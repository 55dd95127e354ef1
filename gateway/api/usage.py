"""The wire: what an answer took, in tokens."""

from gateway.api.feed import Totals
from gateway.api.wire import Wire


class PromptTokensDetails(Wire):
    cached_tokens: int
    image_tokens: int


class CompletionTokensDetails(Wire):
    reasoning_tokens: int


class WireUsage(Wire):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails

    @classmethod
    def of(cls, totals: Totals) -> "WireUsage":
        return cls(
            prompt_tokens=totals.prompt_tokens,
            completion_tokens=totals.completion_tokens,
            total_tokens=totals.prompt_tokens + totals.completion_tokens,
            prompt_tokens_details=PromptTokensDetails(
                cached_tokens=totals.cached_tokens, image_tokens=totals.image_tokens
            ),
            completion_tokens_details=CompletionTokensDetails(reasoning_tokens=totals.reasoning_tokens),
        )
