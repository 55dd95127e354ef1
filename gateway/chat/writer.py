"""Messages -> a prompt of one model: its template, its tokens, its placeholders, and whether they fit."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backends.base import PackageError
from gateway.chat.content import ImagePart, Link, Message, TextPart, VideoPart
from gateway.chat.conversation import Tool
from gateway.chat.expand import expand, lay_out, repeat, spans
from gateway.chat.shown import Shown
from gateway.chat.template import ChatTemplate
from gateway.chat.tokenizer import Tokenizer
from gateway.chat.tool_text import END_OF_RESULT, RESULT
from gateway.engine.prompt import Prompt
from gateway.errors import ContextLengthExceeded, InvalidRequest, cut
from gateway.vision.encoder import VisionEncoder, Visual
from gateway.vision.layout import Layout
from gateway.vision.positions import text_positions
from gateway.vision.spec import VisionSpec


@dataclass(frozen=True, slots=True)
class Draft:
    """Messages whose pictures and videos are not there yet: the rendered text, cut at the markers of `parts`,
    and the tokens it would be if each of them took as few as it can; `num_tokens` counts all of these."""

    pieces: tuple[str, ...]
    parts: tuple[ImagePart | VideoPart, ...]
    token_ids: list[int]
    num_tokens: int


class PromptWriter:
    """`encoder` is None for a model that sees nothing; `context_length` counts prompt and reply together;
    `image_reach` is how many tokens from the beginning pictures have to end within. Raises PackageError
    where the tokenizer does not know a placeholder of the encoder's."""

    def __init__(
        self,
        name: str,
        tokenizer: Tokenizer,
        template: ChatTemplate,
        encoder: VisionEncoder[VisionSpec] | None,
        context_length: int,
        image_reach: int,
    ) -> None:
        self._name = name
        self._tokenizer = tokenizer
        self._template = template
        self._encoder = encoder
        self._video = encoder.spec.video if encoder else None
        self._context_length = context_length
        self._image_reach = image_reach
        seen = [each for each in (encoder and encoder.spec, self._video) if each]
        self._markers = tuple(each.marker for each in seen)
        # The longest first, for one may begin with another.
        self._marker = re.compile("|".join(map(re.escape, sorted(self._markers, key=len, reverse=True))))
        self._placeholders = frozenset(self._placeholder(each.placeholder) for each in seen)
        # What no message may write. A tokenizer need not call its placeholder a special token.
        self._ours = (*self._markers, *(each.placeholder for each in seen), *template.dialect.markers)
        self._ours += (RESULT, END_OF_RESULT)

    def draft(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool] = (),
        variables: Mapping[str, Any] | None = None,
        hint: str = "",
    ) -> Draft:
        """Raises InvalidRequest, also when the messages do not fit however small their pictures and videos
        turn out; `hint` is a sentence for that case."""
        for index, message in enumerate(messages):
            self._check(message, f"messages[{index}]")
        text = self._template.render(messages, self._plain, tools, variables)
        markers = self._marker.findall(text) if self._markers else []
        pieces = tuple(self._marker.split(text)) if self._markers else (text,)
        parts = self._in_order(messages, markers)
        layouts = [self._smallest(part) for part in parts]
        token_ids = self._encode(pieces, parts, layouts, hint)
        num_more = sum(layout.num_tokens - len(layout.tiles) for layout in layouts)
        return Draft(pieces, parts, token_ids, len(token_ids) + num_more)

    def finish(self, draft: Draft, visuals: Sequence[Visual]) -> Prompt:
        """The prompt, once the draft's parts are there. Raises InvalidRequest where it does not fit after
        all."""
        if self._encoder is None:
            ids = np.array(draft.token_ids, dtype=np.int64)
            return Prompt(ids, text_positions(len(ids)), ())
        layouts = [visual.layout for visual in visuals]
        as_drafted = layouts == [self._smallest(part) for part in draft.parts]
        token_ids = draft.token_ids if as_drafted else self._encode(draft.pieces, draft.parts, layouts)
        return expand(token_ids, self._placeholders, visuals, self._encoder)

    def token_ids(self, draft: Draft) -> list[int] | None:
        """The token ids of the prompt where they are known without its pictures and videos, else None."""
        if self._encoder is None or not draft.parts:
            return draft.token_ids
        videos = any(isinstance(part, VideoPart) for part in draft.parts)
        if videos or self._encoder.smallest != self._encoder.largest:
            return None
        return repeat(draft.token_ids, self._placeholders, self._encoder.smallest.tiles * len(draft.parts))

    def text(self, written: str | Sequence[int]) -> Prompt:
        """Of a text as it is, in which special tokens are parsed, or of its token ids. Raises InvalidRequest
        for an id without a token and for a text that does not fit, with the param `prompt`."""
        least = self._tokenizer.least(written) if isinstance(written, str) else len(written)
        if least >= self._context_length:
            raise self._too_long(least, at_least=isinstance(written, str))
        token_ids = self._tokenizer.encode(written) if isinstance(written, str) else list(written)
        for place, token_id in enumerate(token_ids):
            if not self._tokenizer.has(token_id):
                raise invalid("prompt", f"{cut(str(token_id))} (at {place}) is no token of '{self._name}'.")
        if not token_ids:
            raise invalid("prompt", "Expected at least one token.")
        if len(token_ids) >= self._context_length:
            raise self._too_long(len(token_ids))
        return Prompt(np.array(token_ids, np.int64), text_positions(len(token_ids)), ())

    def most(self, part: ImagePart | VideoPart) -> int:
        """The most pictures, or videos, that a message with a word beside them can hold, each as small as it
        can be."""
        if self._encoder is None or (self._video is None and isinstance(part, VideoPart)):
            return 0
        for number in range(self._context_length // self._smallest(part).num_tokens, 0, -1):
            try:
                self.draft([Message("user", (*[part] * number, TextPart("?")))])
            except InvalidRequest:
                continue
            return number
        return 0

    def _too_long(self, num_tokens: int, at_least: bool = False) -> ContextLengthExceeded:
        error = ContextLengthExceeded(self._context_length, num_tokens, at_least=at_least)
        error.param = "prompt"
        return error

    def _plain(self, text: str) -> str:
        return self._tokenizer.plain(text, *self._ours)

    def _placeholder(self, token: str) -> int:
        token_id = self._tokenizer.token_id(token)
        if token_id is None:
            raise PackageError(f"The tokenizer of {self._name} has no token {token}, the images' own.")
        return token_id

    def _smallest(self, part: ImagePart | VideoPart) -> Layout:
        """Of a list of frames it is known how many are taken."""
        assert self._encoder is not None
        if isinstance(part, ImagePart):
            return self._encoder.smallest
        if self._video is None or isinstance(part.source, Link):
            return self._encoder.smallest_video()
        num_frames = part.pace.num_taken(len(part.source), self._video.max_frames)
        return self._encoder.smallest_video(num_frames)

    def _in_order(
        self, messages: Sequence[Message], markers: Sequence[str]
    ) -> tuple[ImagePart | VideoPart, ...]:
        """The pictures and videos in the order of their markers. Raises InvalidRequest unless there is a
        marker for each."""
        images: list[ImagePart | VideoPart] = [each for message in messages for each in message.images]
        videos: list[ImagePart | VideoPart] = [each for message in messages for each in message.videos]
        waiting = {}
        for held, noun, marker in zip((images, videos), ("image", "video"), self._markers, strict=False):
            if len(held) != markers.count(marker):
                raise InvalidRequest(
                    f"The messages hold {len(held)} {noun}s, but the model's chat template made "
                    f"{markers.count(marker)} {noun} markers of them.",
                    param="messages",
                )
            waiting[marker] = iter(held)
        return tuple(next(waiting[marker]) for marker in markers)

    def _encode(
        self,
        pieces: Sequence[str],
        parts: Sequence[ImagePart | VideoPart],
        layouts: Sequence[Layout],
        hint: str = "",
    ) -> list[int]:
        """The tokens, with one placeholder for each tile. Raises InvalidRequest where they do not fit."""
        text = lay_out(pieces, layouts)
        num_image = sum(layout.num_tokens for layout in layouts)
        num_tiles = sum(len(layout.tiles) for layout in layouts)
        least = self._tokenizer.least(text)
        shown = Shown.of(parts, layouts)
        if least >= self._context_length:  # so that a text of megabytes is not made into tokens to no avail
            raise ContextLengthExceeded(
                self._context_length, least, num_image, shown.nouns, hint, at_least=True
            )
        token_ids = self._tokenizer.encode(text)
        num_found = sum(token_id in self._placeholders for token_id in token_ids)
        if num_found != num_tiles:  # as where letters without a token become <unk>, MobileVLM's placeholder
            raise InvalidRequest(
                f"The pictures of these messages take {num_tiles} placeholders, but the prompt has "
                f"{num_found}: the text has letters that the model's tokenizer takes for one.",
                param="messages",
            )
        num_text = len(token_ids) - num_tiles
        if num_text + num_image >= self._context_length:
            num_words = self._num_words(layouts)
            room = self._context_length - 1 - (num_text - sum(num_words))
            fitting = shown.how_many_fit(room, num_words) + hint
            raise ContextLengthExceeded(self._context_length, num_text, num_image, shown.nouns, fitting)
        ends = self._ends(token_ids, layouts)
        num_reached = sum(end <= self._image_reach for end in ends)
        if num_reached < len(ends):
            raise InvalidRequest(shown.out_of_reach(self._image_reach, num_reached), param="messages")
        return token_ids

    def _num_words(self, layouts: Sequence[Layout]) -> list[int]:
        """The tokens of each layout beside its placeholders, such as those that count rows and columns."""
        lengths = {text: len(self._tokenizer.encode(text)) for text in {layout.text for layout in layouts}}
        return [lengths[layout.text] - len(layout.tiles) for layout in layouts]

    def _ends(self, token_ids: Sequence[int], layouts: Sequence[Layout]) -> list[int]:
        """The position after the last placeholder of each layout."""
        places = iter(spans(token_ids, self._placeholders, [tile for each in layouts for tile in each.tiles]))
        return [max(next(places).stop for _ in layout.tiles) for layout in layouts]

    def _check(self, message: Message, path: str) -> None:
        if message.images and message.role != "user":
            raise invalid(
                path,
                "Image URLs are only allowed for messages with role 'user', but this message with role "
                f"'{message.role}' contains an image URL.",
            )
        if message.images and self._encoder is None:
            raise invalid(path, f"The model '{self._name}' takes no images, but this message contains one.")
        for video in message.videos:
            self._check_video(video, message)
        try:
            message.text.encode()
        except UnicodeEncodeError as error:
            raise invalid(f"{path}.content", "The text contains half of a surrogate pair.") from error

    def _check_video(self, video: VideoPart, message: Message) -> None:
        if message.role != "user":
            raise invalid(
                video.param,
                "Videos are only allowed for messages with role 'user', but this message has the role "
                f"'{message.role}'.",
            )
        if self._video is None:
            raise invalid(f"{video.param}.type", f"The model '{self._name}' takes no videos.")
        asked = video.pace.num_frames
        if asked is not None and asked > self._video.max_frames:
            raise invalid(
                f"{video.param}.num_frames",
                f"The model '{self._name}' takes at most {self._video.max_frames} frames of a video, but "
                f"{asked} are asked for.",
            )


def invalid(param: str, sentence: str) -> InvalidRequest:
    """A value of the request that cannot be used, with OpenAI's code for it."""
    return InvalidRequest(f"Invalid '{param}'. {sentence}", param=param, code="invalid_value")
