"""How pictures stand in a prompt: as placeholders, in tiles."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tile:
    """A run of placeholders: `grid` rows and columns of them.

    first:     the row of its pixels' features that the run begins with, where one run of the graph makes
               the features of several tiles
    time:      steps of time after the first tile of its block
    continues: whether it belongs to the block of the tile before it, as the moments of one video do
    """

    grid: tuple[int, int]
    first: int = 0
    time: int = 0
    continues: bool = False

    @property
    def num_tokens(self) -> int:
        return self.grid[0] * self.grid[1]


@dataclass(frozen=True, slots=True)
class Layout:
    """What the marker of one picture or video becomes: `text`, in which one placeholder stands for each of
    `tiles`."""

    text: str
    tiles: tuple[Tile, ...]

    @property
    def num_tokens(self) -> int:
        """Placeholders in all; the rest of the text is not counted."""
        return sum(tile.num_tokens for tile in self.tiles)


@dataclass(frozen=True, slots=True)
class Span:
    """The placeholders of a tile, from position `start` of the prompt on."""

    start: int
    tile: Tile

    @property
    def num_tokens(self) -> int:
        return self.tile.num_tokens

    @property
    def stop(self) -> int:
        return self.start + self.num_tokens
