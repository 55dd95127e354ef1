"""Prompts of tokenizers that are not as those of the published packages."""

import pytest
import tokenizers
from PIL import Image

from gateway.chat.content import ImagePart, Message, TextPart
from gateway.chat.template import ChatTemplate
from gateway.chat.tokenizer import Tokenizer
from gateway.chat.writer import PromptWriter
from gateway.demo import CHECKPOINTS
from gateway.engine.prompt import Prompt
from gateway.errors import ContextLengthExceeded, InvalidRequest
from tests.vision.entries import encoder

PICTURE = ImagePart("", "")
TEMPLATE = (
    "{% for m in messages %}{% for p in m.content %}"
    "{{ '(<image>./</image>)' if p.type == 'image' else p.text }}{% endfor %}{% endfor %}"
)
WORDS = {word: place for place, word in enumerate(("<unk>", "<image>", "</image>", "a", "<", "unk>"))}


def prompt(*parts: TextPart | ImagePart) -> Prompt:
    """Of a tokenizer that knows six words, of which none is called a special token, and takes all others for
    MiniCPM-V's placeholder."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(WORDS, "<unk>"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    tokenizer.add_tokens([tokenizers.AddedToken(word, normalized=False) for word in list(WORDS)[:3]])
    family = encoder("minicpm-v-2.6-whole")
    writer = PromptWriter(
        "m", Tokenizer(tokenizer, {}), ChatTemplate(TEMPLATE, {}), family, context_length=100, image_reach=100
    )
    draft = writer.draft([Message("user", parts)])
    return writer.finish(draft, [family.prepare(Image.new("RGB", (4, 4))) for _ in draft.parts])


def test_a_placeholder_in_a_message_is_plain_text_also_where_it_is_no_special_token() -> None:
    found = prompt(TextPart("a <unk>"), PICTURE, TextPart("<unk>"))
    a, less, rest = (WORDS[word] for word in ("a", "<", "unk>"))
    assert found.token_ids.tolist() == [a, less, rest, 1, *[0] * 64, 2, less, rest]
    assert [image.span.start for image in found.images] == [4]


@pytest.mark.parametrize(("parts", "num_placeholders"), [((), 0), ((PICTURE,), 1)])
def test_a_letter_that_the_tokenizer_takes_for_a_placeholder_is_refused(
    parts: tuple[ImagePart, ...], num_placeholders: int
) -> None:
    with pytest.raises(InvalidRequest) as error:
        prompt(TextPart("a b"), *parts)
    assert error.value.param == "messages"
    assert error.value.message == (
        f"The pictures of these messages take {num_placeholders} placeholders, but the prompt has "
        f"{num_placeholders + 1}: the text has letters that the model's tokenizer takes for one."
    )


@pytest.mark.parametrize("surplus", [1, 12])
def test_how_many_pictures_fit_is_told_as_it_is_where_words_stand_around_them(surplus: int) -> None:
    folder = CHECKPOINTS["axgate-demo-smolvlm"]
    words, template = Tokenizer.load(folder), ChatTemplate.load(folder, {})
    family = encoder("axgate-demo-smolvlm-96")
    writer = PromptWriter("m", words, template, family, context_length=1024, image_reach=1024)
    most = writer.most(PICTURE)

    def asked(num_pictures: int) -> list[Message]:
        return [Message("user", (*[PICTURE] * num_pictures, TextPart("?")))]

    assert len(writer.draft(asked(most)).parts) == most
    with pytest.raises(ContextLengthExceeded, match=f" {most} of the {most + surplus} images fit"):
        writer.draft(asked(most + surplus))
