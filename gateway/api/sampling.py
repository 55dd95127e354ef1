"""The wire: how a reply is drawn, in the fields that several endpoints share."""

from typing import Annotated

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from gateway.api.wire import MAX_NAME, OneOrList, Wire
from gateway.chat.generation import GenerationDefaults
from gateway.engine.prompt import SamplingParams

MAX_BIASES, MAX_CHOICES, MAX_STOPS, MAX_TOP_LOGPROBS = 1024, 16, 4, 20


def _token_id(value: object) -> int:
    """JSON has no integer keys, so ids come as text."""
    if isinstance(value, str) and value.isdecimal() and len(value) < 10:
        return int(value)
    raise PydanticCustomError("no_token_id", "Expected a token id.")


Penalty = Annotated[float, Field(ge=-2, le=2)]
TokenId = Annotated[int, BeforeValidator(_token_id)]


class StreamOptions(Wire):
    include_usage: bool = False


class SamplingFields(Wire):
    """What is asked for; where nothing is, what the model's makers recommend."""

    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    top_k: int | None = Field(None, ge=-1)
    min_p: float | None = Field(None, ge=0, le=1)
    frequency_penalty: Penalty = 0
    presence_penalty: Penalty = 0
    repetition_penalty: float | None = Field(None, ge=0.01, le=2)  # dividing by less would leave no numbers
    logit_bias: dict[TokenId, Annotated[float, Field(ge=-100, le=100)]] = Field({}, max_length=MAX_BIASES)
    seed: int | None = Field(None, ge=-(2**63), le=2**63 - 1)
    stop: Annotated[
        list[Annotated[str, Field(min_length=1)]], Field(fail_fast=True, max_length=MAX_STOPS), OneOrList
    ] = Field([])
    n: int = Field(1, ge=1, le=MAX_CHOICES)
    stream: bool = False
    stream_options: StreamOptions | None = None
    prompt_cache_key: str | None = Field(None, max_length=MAX_NAME)

    @property
    def includes_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage

    def params(
        self, defaults: GenerationDefaults, max_tokens: int, num_top_logprobs: int | None
    ) -> SamplingParams:
        return SamplingParams(
            max_tokens=max_tokens,
            temperature=defaults.temperature if self.temperature is None else self.temperature,
            top_k=defaults.top_k if self.top_k is None else max(self.top_k, 0),
            top_p=defaults.top_p if self.top_p is None else self.top_p,
            min_p=defaults.min_p if self.min_p is None else self.min_p,
            frequency_penalty=self.frequency_penalty,
            presence_penalty=self.presence_penalty,
            repetition_penalty=self.repetition_penalty or defaults.repetition_penalty,
            logit_bias=tuple(self.logit_bias.items()),
            num_top_logprobs=num_top_logprobs,
            seed=None if self.seed is None else self.seed % 2**64,
            stop_token_ids=defaults.stop_token_ids,
        )


def check_top_logprobs(number: int, others: ValidationInfo) -> int:
    """Raises an error of pydantic's where log probabilities are not asked for at all."""
    if number and not others.data.get("logprobs", True):
        raise PydanticCustomError("needs_another", "It needs logprobs.", {"other": "logprobs"})
    return number


class ChatSampling(SamplingFields):
    max_completion_tokens: int | None = Field(None, ge=1)
    max_tokens: int | None = Field(None, ge=1)
    logprobs: bool = False
    top_logprobs: int = Field(0, ge=0, le=MAX_TOP_LOGPROBS)

    _needs_logprobs = field_validator("top_logprobs")(check_top_logprobs)

    def sampling(self, defaults: GenerationDefaults, room: int) -> SamplingParams:
        """`room` is how many tokens fit. The newer name of `max_tokens` wins where a client sends both."""
        asked = self.max_completion_tokens or self.max_tokens or room
        return self.params(defaults, min(asked, room), self.top_logprobs if self.logprobs else None)
