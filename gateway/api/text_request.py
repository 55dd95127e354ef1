"""The wire: what a request to /v1/completions, OpenAI's older endpoint, looks like in JSON."""

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator

from gateway.api.sampling import MAX_CHOICES, SamplingFields
from gateway.api.wire import Ignored, only, wrong
from gateway.chat.generation import GenerationDefaults
from gateway.engine.prompt import SamplingParams

DEFAULT_MAX_TOKENS = 16
MAX_TOP_TOKENS = 5

Prompt = str | list[int]


def _as_list(value: object) -> object:
    """One prompt, of letters or of token ids, is a list of one."""
    if isinstance(value, str):
        return [value]
    return [value] if isinstance(value, list) and value and not isinstance(value[0], str | list) else value


def _check_prompts(prompts: list[Any]) -> list[Any]:
    for prompt in prompts:
        if not (isinstance(prompt, str) or _are_ids(prompt)):
            raise wrong(
                "Expected a string, an array of strings, an array of token ids, or an array of these."
            )
    return prompts


def _are_ids(prompt: object) -> bool:
    return isinstance(prompt, list) and bool(prompt) and all(type(id) is int and id >= 0 for id in prompt)


class TextRequest(SamplingFields):
    """Of several faults the one in the first of these fields is reported, those of sampling before the
    others."""

    model: str
    prompt: Annotated[
        list[Any],
        Field(min_length=1, max_length=MAX_CHOICES),
        BeforeValidator(_as_list),
        AfterValidator(_check_prompts),
    ]
    suffix: Annotated[Any, only(None, "")] = None
    max_tokens: int = Field(default=DEFAULT_MAX_TOKENS, ge=1)
    logprobs: int | None = Field(default=None, ge=0, le=MAX_TOP_TOKENS)
    echo: bool = False
    best_of: int | None = Field(default=None, ge=1)
    user: Ignored = None

    @field_validator("prompt")
    @classmethod
    def _are_not_too_many(cls, prompts: list[Prompt], others: ValidationInfo) -> list[Prompt]:
        number = len(prompts) * others.data.get("n", 1)
        if number > MAX_CHOICES:
            raise wrong(
                f"{len(prompts)} prompts with {others.data['n']} continuations each are {number} choices, "
                f"and there can be {MAX_CHOICES}."
            )
        return prompts

    @field_validator("echo")
    @classmethod
    def _tells_no_logprobs(cls, echo: bool, others: ValidationInfo) -> bool:
        if echo and others.data.get("logprobs") is not None:
            raise wrong(
                "The log probabilities of a prompt are not computed: it cannot be asked for together with "
                "'logprobs'."
            )
        return echo

    @field_validator("best_of")
    @classmethod
    def _chooses_none(cls, number: int, others: ValidationInfo) -> int:
        if number != others.data.get("n", number):
            raise wrong("As many as 'n' are made, and all of them are told.")
        return number

    def sampling(self, defaults: GenerationDefaults, room: int) -> SamplingParams:
        """`room` is how many tokens fit."""
        return self.params(defaults, min(self.max_tokens, room), self.logprobs)
