"""docs/api.md on responses and text completions: every field, with what it may hold, and every limit."""

import pytest
from pydantic import BaseModel

from gateway.api.responses.request import (
    MAX_METADATA,
    MAX_METADATA_VALUE,
    ResponseRequest,
)
from gateway.api.responses.store import MAX_KEPT, MAX_KEPT_BYTES, MAX_KEPT_S
from gateway.api.sampling import MAX_CHOICES, SamplingFields
from gateway.api.text_request import DEFAULT_MAX_TOKENS, TextRequest
from tests.api.fields import fields
from tests.api.test_docs import PAGE, table

RESPONSES = PAGE.partition("\n## Responses\n")[2]
AS_TOLD = ("annotations", "logprobs")
"""What a client may send back as it was told."""


def own_fields(model: type[BaseModel]) -> list[tuple[str, str]]:
    """Those that chat completions do not have; the parts of a call's output are those of a message."""
    return [
        (path, accepted)
        for path, accepted in fields(model)
        if path.split(".")[0] not in SamplingFields.model_fields
        and not any(f"[].{unread}" in path for unread in AS_TOLD)
        and (not path.startswith("input[].output[].") or path.endswith(".type"))
    ]


@pytest.mark.parametrize(
    ("title", "model"),
    [("field of a response", ResponseRequest), ("field of a text completion", TextRequest)],
)
def test_every_field_has_its_row_with_what_it_may_hold(title: str, model: type[BaseModel]) -> None:
    rows = table(f"{title} | accepted")
    assert [(path.strip("`| "), accepted) for path, accepted, *_ in rows] == own_fields(model)


def test_the_fields_of_a_chat_completion_that_a_response_has_are_named() -> None:
    named = RESPONSES.partition("in the fields\n")[2].partition("The others are")[0]
    assert [word for word in named.split("`")[1::2]] == [
        *(name for name in SamplingFields.model_fields if name != "n"),
        "n",
    ]


def test_limits_are_as_written() -> None:
    assert (
        f"for {MAX_KEPT_S / 3600:.0f} hours; beyond {MAX_KEPT} responses or {MAX_KEPT_BYTES // 10**6} MB"
        in RESPONSES
    )
    assert f"up to {MAX_METADATA} strings of up to {MAX_METADATA_VALUE} characters" in RESPONSES
    assert f"{DEFAULT_MAX_TOKENS} without it" in RESPONSES
    assert f"in order, {MAX_CHOICES} in all" in RESPONSES
