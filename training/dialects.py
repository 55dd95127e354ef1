"""Dialects: how each family of models writes a conversation down."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Dialect:
    """The strings of one family's chat template, and how its pictures count in positions.

    A conversation is `opening`, then messages: the header of its role (`system`, `user`, `assistant`), the
    message, `end`, and `gap` before the next. `lead` stands between the header and a message that begins
    with text. A picture is `before_picture`, `placeholder` once per picture token, `after_picture`. With
    `square_positions` a picture moves the positions on by its side and its tokens have a row and a column;
    else they count like text.
    """

    system: str
    user: str
    assistant: str
    end: str
    before_picture: str
    placeholder: str
    after_picture: str
    square_positions: bool = False
    opening: str = ""
    lead: str = ""
    gap: str = "\n"


QWEN3_VL = Dialect(
    system="<|im_start|>system\n",
    user="<|im_start|>user\n",
    assistant="<|im_start|>assistant\n",
    end="<|im_end|>",
    before_picture="<|vision_start|>",
    placeholder="<|image_pad|>",
    after_picture="<|vision_end|>",
    square_positions=True,
)

INTERNVL = Dialect(
    system="<|im_start|>system\n",
    user="<|im_start|>user\n",
    assistant="<|im_start|>assistant\n",
    end="<|im_end|>",
    before_picture="<img>",
    placeholder="<IMG_CONTEXT>",
    after_picture="</img>\n",
)

SMOLVLM = Dialect(
    opening="<|im_start|>",
    system="System:",
    user="User:",
    assistant="Assistant:",
    lead=" ",
    end="<end_of_utterance>",
    before_picture="<fake_token_around_image><global-img>",
    placeholder="<image>",
    after_picture="<fake_token_around_image>",
)
