"""/v1/responses and /v1/completions of a real gateway, by the openai package: pictures, right answers, and
conversations that keep their cache."""

from collections.abc import Iterator
from itertools import islice
from typing import Any, Literal

import pytest
from openai import OpenAI
from pydantic import BaseModel

from tests.served import data_url, served, user
from training.examples import Example, examples

MODEL = "axgate-demo"
SEED = 78


@pytest.fixture(scope="module")
def client() -> Iterator[OpenAI]:
    with (
        served() as gateway,
        OpenAI(
            base_url=gateway.base_url,
            api_key="sk-test",
            max_retries=0,
            _strict_response_validation=True,
        ) as client,
    ):
        yield client


def pairs(number: int) -> list[Example]:
    return list(islice(examples(SEED, "pair"), number))


def said(text: str, *pictures: Any) -> Any:
    shown = [{"type": "input_image", "image_url": data_url(each), "detail": "auto"} for each in pictures]
    return {"role": "user", "content": [*shown, {"type": "input_text", "text": text}]}


def test_a_response_says_what_a_chat_completion_says(client: OpenAI) -> None:
    for example in pairs(3):
        question = example.questions[0].text
        messages = [user(question, *example.pictures)]
        chat = client.chat.completions.create(model=MODEL, messages=messages, temperature=0)
        asked = [said(question, *example.pictures)]
        whole = client.responses.create(model=MODEL, input=asked, temperature=0)
        with client.responses.stream(model=MODEL, input=asked, temperature=0) as stream:
            streamed = stream.get_final_response()
        assert whole.output_text == streamed.output_text == chat.choices[0].message.content
        assert whole.usage is not None
        assert chat.usage is not None
        assert whole.usage.input_tokens == chat.usage.prompt_tokens


def test_a_response_that_follows_finds_the_one_before_in_the_cache(client: OpenAI) -> None:
    example = pairs(1)[0]
    one, other = (question.text for question in example.questions[:2])
    first = client.responses.create(model=MODEL, input=[said(one, *example.pictures)], temperature=0)
    second = client.responses.create(model=MODEL, input=other, previous_response_id=first.id, temperature=0)
    assert first.usage is not None
    assert second.usage is not None
    assert second.usage.input_tokens_details.cached_tokens >= first.usage.input_tokens


class Colour(BaseModel):
    name: Literal["red", "green", "blue"]


def test_an_answer_is_of_the_callers_own_type_whatever_the_model_would_say(client: OpenAI) -> None:
    parsed = client.responses.parse(model=MODEL, input="Hello.", text_format=Colour)
    assert isinstance(parsed.output_parsed, Colour)


def test_a_text_is_continued(client: OpenAI) -> None:
    prompt = "The quick brown fox"
    text = client.completions.create(model=MODEL, prompt=prompt, temperature=0, max_tokens=5)
    again = client.completions.create(model=MODEL, prompt=prompt, temperature=0, max_tokens=5, echo=True)
    assert again.choices[0].text == prompt + text.choices[0].text
    assert text.usage is not None
    assert text.usage.completion_tokens <= 5
