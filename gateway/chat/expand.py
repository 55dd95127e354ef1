"""Markers of pictures -> the placeholders that their features fill."""

from collections.abc import Iterable, Sequence, Set

import numpy as np

from gateway.engine.prompt import Prompt, PromptImage
from gateway.vision.encoder import VisionEncoder, Visual
from gateway.vision.layout import Layout, Span, Tile
from gateway.vision.spec import VisionSpec


def lay_out(pieces: Sequence[str], layouts: Iterable[Layout]) -> str:
    """The text whose `pieces` markers part, with each marker's layout in its place."""
    text = pieces[0]
    for layout, piece in zip(layouts, pieces[1:], strict=True):
        text += layout.text + piece
    return text


def spans(token_ids: Sequence[int], placeholders: Set[int], tiles: Iterable[Tile]) -> list[Span]:
    """Where the tiles will stand once each placeholder in `token_ids`, one a tile, is as many as it has
    tokens."""
    found: list[Span] = []
    waiting, more = iter(tiles), 0
    for place, token_id in enumerate(token_ids):
        if token_id in placeholders:
            found.append(Span(place + more, next(waiting)))
            more += found[-1].num_tokens - 1
    return found


def repeat(token_ids: Sequence[int], placeholders: Set[int], tiles: Iterable[Tile]) -> list[int]:
    """The same with each placeholder as many times as its tile has tokens."""
    waiting = iter(tiles)
    return [
        each
        for token_id in token_ids
        for each in [token_id] * (next(waiting).num_tokens if token_id in placeholders else 1)
    ]


def expand(
    token_ids: Sequence[int],
    placeholders: Set[int],
    visuals: Sequence[Visual],
    encoder: VisionEncoder[VisionSpec],
) -> Prompt:
    """The prompt of `token_ids`, in which one placeholder stands for each tile of the pictures, in order."""
    tiles = [tile for visual in visuals for tile in visual.layout.tiles]
    pixels = [each for visual in visuals for each in visual.pixels]
    places = spans(token_ids, placeholders, tiles)
    ids = repeat(token_ids, placeholders, tiles)
    images = tuple(PromptImage(span, each) for span, each in zip(places, pixels, strict=True))
    return Prompt(np.array(ids, dtype=np.int64), encoder.positions(len(ids), places), images)
