"""SmolVLM's prompts beyond what all families are asked: system prompts, videos, and user text that looks like
tokens, as text and against transformers."""

from collections.abc import Sequence

import pytest
from PIL import Image

from gateway.chat.content import Link, Message, TextPart, VideoPart
from gateway.chat.template import ChatTemplate
from gateway.chat.tokenizer import Tokenizer
from gateway.chat.writer import PromptWriter
from gateway.vision.encoder import Visual
from gateway.vision.video import Frame, Pace, Video
from tests.families.cases import CASES
from tests.families.conversations import PICTURE, user
from tests.families.expected import spec
from tests.families.path import ROOM, checkpoint, chosen
from tests.vision.pictures import pattern
from tests.vision.smolvlm_reference import video_text

ONE, TILED = "smolvlm-u8", "smolvlm-tiled-two"
IMAGES = "<image>" * 4
WHOLE = f"<fake_token_around_image><global-img>{IMAGES}<fake_token_around_image>"
VIDEO = VideoPart(Link("", ""), "", Pace())
SYSTEM = Message("system", (TextPart("Answer in one word."),))
CONVERSATIONS: dict[str, tuple[Message, ...]] = {
    "a system prompt": (SYSTEM, user("what is red?")),
    "a system prompt and a picture": (SYSTEM, user(PICTURE, "what is it?")),
    "a picture in the middle": (
        SYSTEM,
        user("this ", PICTURE, " is?"),
        Message("assistant", (TextPart("red"),)),
    ),
}


def token_ids(name: str, messages: Sequence[Message], pictures: Sequence[Image.Image | Video]) -> list[int]:
    case, folder = CASES[name], checkpoint(name)
    encoder = chosen(case, "llama", spec(case).inputs[0])
    words = Tokenizer.load(folder)
    writer = PromptWriter("tiny", words, ChatTemplate.load(folder, words.special_tokens), encoder, ROOM, ROOM)
    visuals: list[Visual] = [
        encoder.prepare_video(each) if isinstance(each, Video) else encoder.prepare(each) for each in pictures
    ]
    found: list[int] = writer.finish(writer.draft(messages), visuals).token_ids.tolist()
    return found


def told(name: str, messages: Sequence[Message], pictures: Sequence[Image.Image | Video]) -> str:
    return Tokenizer.load(checkpoint(name)).decode_all(token_ids(name, messages, pictures))


def video() -> Video:
    frames = tuple(Frame(pattern(30 + place, 20), 4.0 * place) for place in range(3))
    return Video(frames, 12.5)


def test_a_picture_follows_the_colon_at_once_and_text_after_a_blank() -> None:
    messages = (
        SYSTEM,
        user(PICTURE, "what?"),
        Message("assistant", (TextPart("red"),)),
        user("and ", PICTURE, "?"),
    )
    assert told(ONE, messages, [pattern(50, 40)] * 2) == (
        "<|im_start|>System: Answer in one word.<end_of_utterance>\n"
        f"User:{WHOLE}what?<end_of_utterance>\n"
        "Assistant: red<end_of_utterance>\n"
        f"User: and {WHOLE}?<end_of_utterance>\n"
        "Assistant:"
    )


def test_rows_and_columns_stand_before_their_tiles() -> None:
    start = "<fake_token_around_image>"
    row = "".join(f"{start}<row_1_col_{column}>{IMAGES}" for column in (1, 2, 3))
    assert told(TILED, (user(PICTURE, "what?"),), [pattern(90, 20)]) == (
        f"<|im_start|>User:{row}\n\n{WHOLE}what?<end_of_utterance>\nAssistant:"
    )


def test_words_of_a_user_that_look_like_tokens_are_words() -> None:
    plain = token_ids(ONE, (user("<image> <row_1_col_1> <video>"),), [])
    words = Tokenizer.load(checkpoint(ONE))
    assert not {words.token_id(token) for token in ("<image>", "<row_1_col_1>")} & set(plain)


@pytest.mark.parity
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("name", [ONE, TILED])
def test_system_prompts_are_those_of_transformers(name: str, conversation: str) -> None:
    messages, reference = CONVERSATIONS[conversation], CASES[name].reference
    if messages[-1].role == "assistant":
        messages = (*messages, user("sure?"))
    pictures = [pattern(50, 40) for message in messages for _ in message.images]
    text = reference.text(checkpoint(name), messages)
    theirs = reference.inputs(checkpoint(name), text, pictures)["input_ids"][0].tolist()
    assert token_ids(name, messages, pictures) == theirs


@pytest.mark.parity
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("before", ["", "look: "])
def test_videos_are_those_of_transformers(before: str) -> None:
    words = CASES[TILED].reference.tokenizer(checkpoint(TILED))
    described = video_text(video()).replace("<image>", IMAGES)
    text = f"<|im_start|>User: {before}{described}what happens?<end_of_utterance>\nAssistant:"
    message = Message("user", (TextPart(before), VIDEO, TextPart("what happens?")))
    assert token_ids(TILED, (message,), [video()]) == words(text)["input_ids"]
