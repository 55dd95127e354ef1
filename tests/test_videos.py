"""Videos by the normal path: a real gateway, a real socket, the openai package."""

import base64
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import pytest
from openai import BadRequestError, OpenAI
from PIL import Image, ImageDraw

from gateway.chat.tokenizer import Tokenizer
from gateway.demo import CHECKPOINT
from tests.served import Gateway, data_url, served
from tests.vision.videos import animation, video_file

MODEL = "axgate-demo"
TOKENS_PER_PAIR = 36
QUESTION = "What color is the background?"


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with served() as running:
        yield running


@pytest.fixture(scope="module")
def client(gateway: Gateway) -> Iterator[OpenAI]:
    with OpenAI(base_url=gateway.base_url, api_key="sk-test", max_retries=0) as client:
        yield client


def moving(background: str, *places: int) -> list[Image.Image]:
    """A disc that is somewhere else, and larger, in every frame."""
    frames = []
    for number, place in enumerate(places):
        frame = Image.new("RGB", (96, 96), background)
        ImageDraw.Draw(frame).ellipse((place, place, place + 20 + number, place + 20 + number), "yellow")
        frames.append(frame)
    return frames


BLUE, RED = moving("blue", 8, 30, 60), moving("red", 8, 30, 60)


def gif(frames: Sequence[Image.Image]) -> dict[str, Any]:
    data = base64.b64encode(animation(frames)).decode()
    return {"type": "video_url", "video_url": {"url": f"data:image/gif;base64,{data}"}}


def mp4(file: bytes) -> dict[str, Any]:
    data = base64.b64encode(file).decode()
    return {"type": "video_url", "video_url": {"url": f"data:video/mp4;base64,{data}"}}


def user(question: str, *parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": [*parts, {"type": "text", "text": question}]}


def ask(client: OpenAI, messages: list[Any], **more: Any) -> Any:
    return client.chat.completions.create(model=MODEL, messages=messages, temperature=0, **more)


def num_encodes(gateway: Gateway) -> int:
    engines = httpx.get(gateway.base_url.replace("/v1", "/health")).json()["engines"]
    number: int = engines[MODEL]["stats"]["num_encodes"]
    return number


def prompt(question: str, *times: str) -> str:
    blocks = "".join(f"<{time} seconds><|vision_start|><|video_pad|><|vision_end|>" for time in times)
    return f"<|im_start|>user\n{blocks}{question}<|im_end|>\n<|im_start|>assistant\n"


def num_tokens(text: str) -> int:
    """With the tokens of a pair of frames for each placeholder."""
    tokens = len(Tokenizer.load(CHECKPOINT).encode(text))
    return tokens + text.count("<|video_pad|>") * (TOKENS_PER_PAIR - 1)


def test_a_video_is_answered_counted_and_found_again(client: OpenAI, gateway: Gateway) -> None:
    ask(client, [user("Hi")])  # so that there are numbers of the engine's
    before = num_encodes(gateway)
    messages = [user(QUESTION, gif(BLUE))]
    first = ask(client, messages)
    answer = first.choices[0].message.content
    assert answer == "blue"
    # Three frames at two a second are a pair and a half, whose last frame counts twice.
    assert first.usage.prompt_tokens == num_tokens(prompt(QUESTION, "0.2", "1.0"))
    assert num_encodes(gateway) == before + 2

    messages += [{"role": "assistant", "content": answer}, user("Describe the image.")]
    second = ask(client, messages)
    assert second.usage.prompt_tokens_details.cached_tokens >= first.usage.prompt_tokens - 1
    assert num_encodes(gateway) == before + 2

    streamed = ""
    for chunk in ask(client, messages[:1], stream=True):
        streamed += "".join(choice.delta.content or "" for choice in chunk.choices)
    assert streamed == answer


def test_another_video_with_the_same_words_shares_nothing(client: OpenAI, gateway: Gateway) -> None:
    answers = [
        ask(client, [user(QUESTION, gif(frames))], extra_headers={"X-Session-Id": "same"})
        for frames in (BLUE, RED)
    ]
    assert [answer.choices[0].message.content for answer in answers] == ["blue", "red"]
    start = prompt(QUESTION, "0.2").partition("<|video_pad|>")[0]
    assert answers[1].usage.prompt_tokens_details.cached_tokens <= num_tokens(start)


def test_what_changes_late_is_seen_and_what_came_before_is_found(client: OpenAI, gateway: Gateway) -> None:
    """Two videos with the same first pair: the second computes what comes after it."""
    same = {"X-Session-Id": "late"}
    ask(client, [user(QUESTION, listed([*BLUE, BLUE[2]]))], extra_headers=same)
    before = num_encodes(gateway)
    other = ask(client, [user(QUESTION, listed([*BLUE[:2], *RED[1:]]))], extra_headers=same)
    shared = prompt(QUESTION, "0.2", "1.2").split("<|vision_end|>")[0]
    assert num_encodes(gateway) == before + 1
    cached = other.usage.prompt_tokens_details.cached_tokens
    assert num_tokens(shared) <= cached < other.usage.prompt_tokens - TOKENS_PER_PAIR


def listed(frames: Sequence[Image.Image], **more: Any) -> dict[str, Any]:
    return {"type": "video", "video": [data_url(frame) for frame in frames], **more}


def test_a_file_and_its_frames_say_the_same(client: OpenAI) -> None:
    file = mp4(video_file([frame for frame in BLUE for _ in range(5)], fps=10)) | {"num_frames": 3}
    whole, apart = (ask(client, [user(QUESTION, part)]) for part in (file, listed(BLUE)))
    assert whole.choices[0].message.content == apart.choices[0].message.content == "blue"
    assert whole.usage.prompt_tokens == num_tokens(prompt(QUESTION, "0.3", "1.4"))
    assert apart.usage.prompt_tokens == num_tokens(prompt(QUESTION, "0.2", "1.0"))


def test_tokens_of_a_video_are_told_without_an_answer(client: OpenAI, gateway: Gateway) -> None:
    told = httpx.post(
        f"{gateway.base_url}/tokenize", json={"model": MODEL, "messages": [user(QUESTION, gif(BLUE))]}
    ).json()
    assert told["count"] == num_tokens(prompt(QUESTION, "0.2", "1.0"))


@pytest.mark.parametrize(
    ("part", "code", "param"),
    [
        (
            {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,"}},
            "invalid_value",
            "video_url.url",
        ),
        (
            {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AAAA"}},
            "invalid_video_format",
            None,
        ),
        ({"type": "video", "video": []}, "empty_array", "video"),
        (listed(BLUE, num_frames=17), "invalid_value", "num_frames"),
        (mp4(video_file(BLUE[:2], [0, 36000], fps=1)), "invalid_video_format", None),
        (
            {"type": "video_url", "video_url": {"url": "http://127.0.0.1:1/a.mp4"}},
            "invalid_video_url",
            None,
        ),
    ],
    ids=["empty", "no video", "no frames", "too many frames", "ten hours", "private address"],
)
def test_bad_videos_are_refused_and_the_server_goes_on(
    client: OpenAI, part: dict[str, Any], code: str, param: str | None
) -> None:
    with pytest.raises(BadRequestError) as caught:
        ask(client, [user(QUESTION, part)])
    expected = param and f"messages[0].content[0].{param}"
    assert (caught.value.type, caught.value.code, caught.value.param) == (
        "invalid_request_error",
        code,
        expected,
    )
    assert ask(client, [user("Hi")]).choices[0].finish_reason == "stop"


@pytest.mark.parity
@pytest.mark.filterwarnings("default")
def test_the_answer_is_that_of_transformers(client: OpenAI) -> None:
    """The demo checkpoint, with what the video processor would make of the frames."""
    import torch
    from transformers import Qwen3VLForConditionalGeneration

    from tests.vision.qwen3_vl_reference import patches_of

    model = Qwen3VLForConditionalGeneration.from_pretrained(CHECKPOINT, dtype=torch.float32).eval()
    question = "Describe the image."
    text = prompt(question, "0.2", "1.0").replace("<|video_pad|>", "<|video_pad|>" * TOKENS_PER_PAIR)
    ids = torch.tensor([Tokenizer.load(CHECKPOINT).encode(text)])
    pixels = torch.cat([torch.from_numpy(each) for each in patches_of(BLUE, "axgate-demo-96")])
    given = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "mm_token_type_ids": 2 * (ids == model.config.video_token_id).int(),
        "pixel_values_videos": (pixels.float() - 127.5) / 127.5,
        "video_grid_thw": torch.tensor([[2, 12, 12]]),
    }
    with torch.no_grad():
        found = model.generate(**given, do_sample=False, max_new_tokens=60)
    expected = Tokenizer.load(CHECKPOINT).decode(found[0, ids.shape[1] :].tolist())
    assert ask(client, [user(question, gif(BLUE))]).choices[0].message.content == expected
