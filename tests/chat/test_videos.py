"""Videos in a conversation: what the model is given of them, and what is refused."""

import asyncio
import base64
from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image

from gateway.chat.content import ImagePart, Link, Message, VideoPart
from gateway.chat.conversation import Conversation
from gateway.chat.model import ChatModel
from gateway.engine.prompt import Prompt
from gateway.errors import ContextLengthExceeded, InvalidImage, InvalidImageUrl, InvalidRequest, InvalidVideo
from gateway.vision.qwen2_vl import Qwen2VL
from gateway.vision.qwen3_vl import Qwen3VL
from gateway.vision.video import Frame, Pace, Video
from tests.chat.conversations import message, user
from tests.chat.models import ENCODER, TOKENIZER, model
from tests.chat.web import Page, serve
from tests.vision.entries import encoder
from tests.vision.pictures import encoded, pattern
from tests.vision.videos import animation, greys, video_file

PARAM = "messages[0].content[0]"
FRAMES = [pattern(20 + place, 15) for place in range(4)]
PAIR = "<|vision_start|><|video_pad|><|vision_end|>"


def url(file: bytes, mime: str = "image/png") -> str:
    return f"data:{mime};base64,{base64.b64encode(file).decode()}"


def frames(
    urls: Sequence[str], fps: float | None = None, number: int | None = None, param: str = PARAM
) -> VideoPart:
    links = tuple(Link(each, f"{param}.video[{place}]") for place, each in enumerate(urls))
    return VideoPart(links, param, Pace(fps, number))


def file(url: str, fps: float | None = None, number: int | None = None, param: str = PARAM) -> VideoPart:
    return VideoPart(Link(url, f"{param}.video_url.url"), param, Pace(fps, number))


def image(picture: Image.Image) -> ImagePart:
    return ImagePart(url(encoded(picture)), f"{PARAM}.image_url.url")


def listed(pictures: Sequence[Image.Image], fps: float | None = None, number: int | None = None) -> VideoPart:
    return frames([url(encoded(picture)) for picture in pictures], fps, number)


def built(messages: Sequence[Message], chat: ChatModel | None = None) -> Prompt:
    turn = asyncio.run((chat or model()).prepare(Conversation(tuple(messages))))
    return turn.prompt


def refusal(messages: Sequence[Message], chat: ChatModel | None = None) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as error:
        built(messages, chat)
    return error.value


def expected_ids(text: str) -> list[int]:
    """With each placeholder as often as a picture or a pair of frames has tokens."""
    for placeholder in ("<|image_pad|>", "<|video_pad|>"):
        text = text.replace(placeholder, placeholder * 36)
    return TOKENIZER.encode(text)


def digests(prompt: Prompt) -> list[bytes]:
    return [each.pixels.digest for each in prompt.images]


def pair_digests(pictures: Sequence[Image.Image]) -> list[bytes]:
    video = Video(tuple(Frame(picture, 0.0) for picture in pictures), 1.0)
    return [pixels.digest for pixels in ENCODER.prepare_video(video).pixels]


def test_frames_become_pairs_behind_their_times() -> None:
    prompt = built([user(listed(FRAMES), "What happens?")])
    assert prompt.token_ids.tolist() == expected_ids(
        f"<|im_start|>user\n<0.2 seconds>{PAIR}<1.2 seconds>{PAIR}What happens?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert digests(prompt) == pair_digests(FRAMES)
    spans = [each.span for each in prompt.images]
    assert all(span.num_tokens == 36 for span in spans)
    np.testing.assert_array_equal(prompt.positions, ENCODER.positions(prompt.num_tokens, spans))


def test_pictures_and_videos_stand_in_the_order_of_the_messages() -> None:
    first, second = FRAMES[:2], FRAMES[2:]
    prompt = built(
        [
            user(image(pattern(5, 5)), listed(first), image(pattern(6, 6)), "One"),
            message("assistant", "Yes."),
            user(listed(second), "Two"),
        ]
    )
    picture = "<|vision_start|><|image_pad|><|vision_end|>"
    pair = f"<0.2 seconds>{PAIR}"
    assert prompt.token_ids.tolist() == expected_ids(
        f"<|im_start|>user\n{picture}{pair}{picture}One<|im_end|>\n<|im_start|>assistant\nYes.<|im_end|>\n"
        f"<|im_start|>user\n{pair}Two<|im_end|>\n<|im_start|>assistant\n"
    )
    pictures = [ENCODER.prepare(pattern(edge, edge)).pixels[0].digest for edge in (5, 6)]
    one, two = pair_digests(first), pair_digests(second)
    assert digests(prompt) == [pictures[0], *one, pictures[1], *two]


def test_a_template_may_put_videos_before_pictures() -> None:
    swapped = (
        "{% for m in messages %}"
        "{% for p in m.content if p.type == 'video' %}<|vision_start|><|video_pad|><|vision_end|>{% endfor %}"
        "{% for p in m.content if p.type == 'image' %}<|image_pad|>{% endfor %}{% endfor %}"
    )
    shown = user(image(pattern(5, 5)), listed(FRAMES[:2]), image(pattern(6, 6)))
    pictures = [ENCODER.prepare(pattern(edge, edge)).pixels[0].digest for edge in (5, 6)]
    assert digests(built([shown], model(template=swapped))) == [*pair_digests(FRAMES[:2]), *pictures]


@pytest.mark.parity
def test_the_token_ids_are_those_of_transformers() -> None:
    """The template by transformers, what stands for a video by its processor, the tokens by its tokenizer. As
    the model was trained, the time stands before <|vision_start|>: the processor of transformers 5.23 leaves
    the marker's own <|vision_start|> and <|vision_end|> around it, which those before 5 did not."""
    from transformers import PreTrainedTokenizerFast

    from tests.chat import reference
    from tests.chat.conversations import DEMO
    from tests.vision import qwen3_vl_reference

    asked = [user(listed(FRAMES[:3], fps=4.0), "What happens?")]
    text = reference.rendered_one("demo", asked)
    groups = qwen3_vl_reference.text([0, 1, 2], 4.0).replace("<|video_pad|>", "<|video_pad|>" * 36)
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(DEMO / "tokenizer.json"))
    expected = tokenizer(text.replace(PAIR, groups), add_special_tokens=False)["input_ids"]
    assert built(asked).token_ids.tolist() == expected


def test_the_frames_per_second_of_a_list_give_its_times() -> None:
    def said(fps: float) -> str:
        text = TOKENIZER.decode(built([user(listed(FRAMES, fps))]).token_ids.tolist())
        return text.removeprefix("user\n").removesuffix("\nassistant\n")

    assert [said(fps) for fps in (1, 2, 10)] == [
        "<0.5 seconds><2.5 seconds>",
        "<0.2 seconds><1.2 seconds>",
        "<0.1 seconds><0.2 seconds>",
    ]


def test_frames_in_one_data_url_are_frames() -> None:
    jpegs = [base64.b64encode(encoded(picture, "JPEG")).decode() for picture in FRAMES]
    together = built([user(file("data:video/jpeg;base64," + ",".join(jpegs)))])
    apart = built([user(frames([f"data:image/jpeg;base64,{jpeg}" for jpeg in jpegs]))])
    assert together.keys == apart.keys


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP"])
def test_an_animated_picture_is_a_video(format: str) -> None:
    data = animation(greys(3), format, [500, 1500, 100], lossless=True)
    prompt = built([user(file(url(data, f"image/{format.lower()}")))])
    assert len(prompt.images) == 2
    assert TOKENIZER.decode(prompt.token_ids.tolist()).startswith("user\n<0.2 seconds><2.0 seconds>\n")


def test_a_video_file_is_a_video() -> None:
    data = video_file(greys(20), fps=10)
    prompt = built([user(file(url(data, "video/mp4")))])
    times = TOKENIZER.decode(prompt.token_ids.tolist()).removeprefix("user\n").removesuffix("\nassistant\n")
    assert times == "<0.3 seconds><1.6 seconds>"  # frames 0, 6, 13 and 19: two a second, and 4 at least


def test_a_file_is_sampled_as_the_request_says() -> None:
    data = url(video_file(greys(20), fps=10), "video/mp4")
    for asked, number in (((None, None), 4), ((5.0, None), 10), ((None, 2), 2), ((240.0, None), 16)):
        assert len(built([user(file(data, *asked))]).images) == number // 2


def test_a_list_of_one_frame_is_encoded_as_the_picture_is() -> None:
    one, pictured = (built([user(part)]) for part in (listed(FRAMES[:1]), image(FRAMES[0])))
    assert digests(one) == digests(pictured)


def test_a_still_picture_is_no_video_and_is_told_its_place() -> None:
    with pytest.raises(InvalidVideo, match="The video is a still picture: send it as an image_url") as caught:
        built([user(file(url(encoded(FRAMES[0]))))])
    assert (caught.value.code, caught.value.param) == ("invalid_value", "messages[0].content[0].type")


def test_videos_are_downloaded_once_and_of_frames_only_those_that_are_taken() -> None:
    pages = {f"/{place}": Page(encoded(pattern(9, 9))) for place in range(40)}
    pages["/video"] = Page(video_file(greys(6)))

    async def run() -> None:
        async with serve(pages) as base:
            shown = file(f"{base}/video", number=2)
            many = frames([f"{base}/{place}" for place in range(40)], number=4)
            turn = await model().prepare(Conversation((user(shown, many, shown),)))
            assert len(turn.prompt.images) == 1 + 2 + 1

    asyncio.run(run())
    asked = [path for path, page in pages.items() for _ in page.requests]
    assert asked == ["/0", "/13", "/26", "/39", "/video"]


def test_the_same_file_at_another_pace_is_another_video() -> None:
    data = url(video_file(greys(20)), "video/mp4")
    prompt = built([user(file(data, number=2), file(data, number=4))])
    assert len(prompt.images) == 3


def test_tokens_are_counted_as_they_are() -> None:
    asked = [user(listed(FRAMES), "What?")]
    assert asyncio.run(model().tokenize(Conversation(tuple(asked)))) == built(asked).token_ids.tolist()


def test_another_video_has_other_keys_from_its_first_frame_on() -> None:
    one, other = built([user(listed(FRAMES))]), built([user(listed([FRAMES[0], *FRAMES[:3]]))])
    start = one.images[0].span.start
    assert one.token_ids.tolist() == other.token_ids.tolist()
    assert one.keys[:start] == other.keys[:start]
    assert one.keys[start] != other.keys[start]


# --- limits


def test_the_limits_of_a_model_are_known() -> None:
    chat = model()
    assert (chat.max_video_frames, model(encoder=None).max_video_frames) == (16, 0)
    assert model(encoder=None).max_videos == 0
    most = [listed(FRAMES[:1])] * chat.max_videos
    assert len(built([user(*most, "?")], chat).images) == chat.max_videos
    error = refusal([user(*most, most[0], "?")], chat)
    assert isinstance(error, ContextLengthExceeded)


def test_a_template_that_knows_no_videos_takes_none() -> None:
    silent = "{% for m in messages %}{% for p in m.content %}{{ p.text }}{% endfor %}{% endfor %}"
    chat = model(template=silent)
    assert chat.max_videos == 0
    assert refusal([user(listed(FRAMES))], chat).message == (
        "The messages hold 1 videos, but the model's chat template made 0 video markers of them."
    )


def test_too_many_videos_are_refused_before_any_is_fetched() -> None:
    page = Page(video_file(greys(2)))

    async def run() -> str:
        async with serve({"/": page}) as base:
            with pytest.raises(ContextLengthExceeded) as error:
                await model(context_length=100).prepare(Conversation((user(*[file(base + "/")] * 3),)))
            return error.value.message

    assert "108 of them for videos" in asyncio.run(run())
    assert page.requests == []


def test_frames_that_cannot_fit_are_refused_before_any_is_fetched() -> None:
    page = Page(encoded(FRAMES[0]))

    async def run() -> str:
        async with serve({"/": page}) as base:
            with pytest.raises(ContextLengthExceeded) as error:
                await model(context_length=100).prepare(
                    Conversation((user(frames([f"{base}/?{n}" for n in range(6)])),))
                )
            return error.value.message

    assert "108 of them for videos" in asyncio.run(run())
    assert page.requests == []


def test_a_video_that_turns_out_too_long_is_refused_with_the_numbers() -> None:
    error = refusal([user(listed([*FRAMES, *FRAMES]), image(FRAMES[0]))], model(context_length=200))
    assert isinstance(error, ContextLengthExceeded)
    assert ", 180 of them for images and videos (" in error.message
    assert (
        "Each image or video is 36 to 144 tokens: beside this text, 1 of the 2 images and videos fit. A "
        "video takes fewer tokens with fewer frames (num_frames). Please reduce" in error.message
    )
    assert len(built([user(listed([*FRAMES, *FRAMES], number=2))], model(context_length=200)).images) == 1


def test_videos_end_within_the_reach_of_the_model() -> None:
    assert refusal([user(listed(FRAMES))], model(image_reach=80)).message == (
        "This model takes videos within the first 80 tokens of a conversation, and each video is 72 tokens: "
        "of the 1 videos of these messages, 0 fit. A video takes fewer tokens with fewer frames (num_frames)."
    )


def test_more_frames_than_the_model_takes_are_refused_by_the_name_of_the_field() -> None:
    error = refusal([user(listed(FRAMES, number=17))])
    assert (error.code, error.param) == ("invalid_value", f"{PARAM}.num_frames")
    assert error.message == (
        f"Invalid '{PARAM}.num_frames'. The model 'demo' takes at most 16 frames of a video, but 17 are "
        "asked for."
    )


def blind() -> Qwen3VL:
    """Sees pictures only."""
    return Qwen3VL("pictures", ENCODER.spec.model_copy(update={"video": None}), ENCODER.graph_input)


@pytest.mark.parametrize("eyes", [None, blind()])
def test_a_model_that_takes_no_videos_names_the_part(eyes: Qwen3VL | None) -> None:
    error = refusal([user(listed(FRAMES))], model(encoder=eyes))
    assert (error.code, error.param) == ("invalid_value", f"{PARAM}.type")
    assert error.message == f"Invalid '{PARAM}.type'. The model 'demo' takes no videos."


def test_only_users_show_videos() -> None:
    error = refusal([message("assistant", listed(FRAMES)), user("?")])
    assert (error.code, error.param) == ("invalid_value", PARAM)
    assert "only allowed for messages with role 'user'" in error.message


@pytest.mark.parametrize(
    ("part", "kind", "message"),
    [
        (
            frames([url(encoded(FRAMES[0])), url(b"no")]),
            InvalidImage,
            f"unsupported image.*({PARAM}.video[1])",
        ),
        (file(url(b"no", "video/mp4")), InvalidVideo, f"unsupported video.*({PARAM}.video_url.url)"),
        (file(url(b"", "video/mp4")), InvalidRequest, f"Invalid video URL: '{PARAM}.video_url.url'"),
        (file("data:video/jpeg;base64,"), InvalidRequest, "got empty base64-encoded bytes."),
        (
            file("data:video/jpeg;base64," + "," * 1024),
            InvalidVideo,
            f"has more than 1024 frames..*({PARAM}.video_url.url)",
        ),
        (file(url(b"x", "text/html")), InvalidVideo, "Invalid MIME type 'text/html'"),
        (frames(["http://10.0.0.1/a"]), InvalidImageUrl, "no public address"),
        (frames(["data:image/png;base64,AAAA"] * 5, fps=0.001), InvalidVideo, "too long: 5000 seconds"),
    ],
    ids=["frame", "file", "empty file", "no frames", "frames without end", "page", "address", "days"],
)
def test_bad_videos_are_named(part: VideoPart, kind: type[InvalidRequest], message: str) -> None:
    error = refusal([user(part)], model(allow_private=False))
    assert type(error) is kind
    words = [error.message.find(words) for words in message.split(".*")]
    assert -1 not in words
    assert words == sorted(words)


# --- texts that look like markers

WRITTEN = "{% for m in messages %}{% for p in m.content %}{{ '<video>' if p.type == 'video' else p.text }}"


def worded() -> Qwen2VL:
    """Whose marker is no token of the tokenizer's, as in InternVL and SmolVLM."""
    entry = encoder("qwen2-vl-448")
    video = entry.spec.video.model_copy(update={"marker": "<video>"})
    return Qwen2VL("worded", entry.spec.model_copy(update={"video": video}), entry.graph_input)


@pytest.mark.parametrize("texts", [["<video>"], ["<vid", "eo> b"], ["<", "video>"], ["<vi<video>deo>"]])
def test_a_marker_in_a_message_is_plain_text(texts: list[str]) -> None:
    chat = model(encoder=worded(), template=WRITTEN + "{% endfor %}{% endfor %}")
    prompt = built([user(*texts, listed(FRAMES[:2]), *texts)], chat)
    assert len(prompt.images) == 1
    assert TOKENIZER.decode(prompt.token_ids.tolist()) == "".join(texts) * 2
