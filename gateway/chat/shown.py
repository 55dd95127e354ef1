"""What a client is told of pictures and videos that do not fit."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import add

from gateway.chat.content import ImagePart, VideoPart
from gateway.vision.layout import Layout


@dataclass(frozen=True, slots=True)
class Shown:
    """The pictures and videos of a prompt: what they are called, and the tokens of each."""

    noun: str
    nouns: str
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, parts: Sequence[ImagePart | VideoPart], layouts: Sequence[Layout]) -> "Shown":
        found = {type(part) for part in parts}
        kinds = [noun for kind, noun in ((ImagePart, "image"), (VideoPart, "video")) if kind in found]
        plural = " and ".join(f"{noun}s" for noun in kinds)
        return cls(" or ".join(kinds), plural, tuple(layout.num_tokens for layout in layouts))

    def how_many_fit(self, room: int, num_words: Sequence[int]) -> str:
        """In so many tokens, as a sentence; empty where there are none. `num_words` are the tokens that each
        layout has beside its placeholders."""
        if not self.sizes:
            return ""
        num_fitting = sum(used <= room for used in accumulate(map(add, self.sizes, num_words)))
        return (
            f"Each {self.noun} is {self._range} tokens: beside this text, {num_fitting} of the "
            f"{len(self.sizes)} {self.nouns} fit. {self._hint}"
        )

    def out_of_reach(self, reach: int, num_reached: int) -> str:
        """Where all have to end within `reach` tokens, and only so many do."""
        return (
            f"This model takes {self.nouns} within the first {reach} tokens of a conversation, and each "
            f"{self.noun} is {self._range} tokens: of the {len(self.sizes)} {self.nouns} of these messages, "
            f"{num_reached} fit. {self._hint}"
        ).rstrip()

    @property
    def _range(self) -> str:
        least, most = min(self.sizes), max(self.sizes)
        return f"{least}" if least == most else f"{least} to {most}"

    @property
    def _hint(self) -> str:
        return "A video takes fewer tokens with fewer frames (num_frames). " if "video" in self.noun else ""
