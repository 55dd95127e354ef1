import numpy as np

from gateway.chat.expand import expand
from gateway.engine.prompt import Prompt
from gateway.vision.encoder import Pixels, Visual
from gateway.vision.layout import Layout, Span, Tile
from tests.vision.entries import encoder

PICTURE, FRAME = 5, 6  # placeholders
ENCODER = encoder("axgate-demo-96")


def visual(*tiles: Tile) -> Visual:
    pixels = tuple(Pixels(np.zeros(1, dtype=np.uint8), b"digest of %d" % tile.num_tokens) for tile in tiles)
    return Visual(Layout("", tiles), pixels)


def expanded(token_ids: list[int], *visuals: Visual) -> Prompt:
    return expand(token_ids, {PICTURE, FRAME}, visuals, ENCODER)


def test_every_placeholder_is_repeated_for_its_tile() -> None:
    first, second = visual(Tile((1, 2))), visual(Tile((2, 2)))
    prompt = expanded([1, PICTURE, 2, 3, PICTURE, 4], first, second)
    assert prompt.token_ids.tolist() == [1, 5, 5, 2, 3, 5, 5, 5, 5, 4]
    assert prompt.token_ids.dtype == np.int64
    assert [(image.span, image.pixels) for image in prompt.images] == [
        (Span(1, Tile((1, 2))), first.pixels[0]),
        (Span(5, Tile((2, 2))), second.pixels[0]),
    ]


def test_a_video_has_placeholders_of_its_own_and_a_tile_for_each_of_them() -> None:
    picture, video = visual(Tile((1, 2))), visual(Tile((1, 2)), Tile((1, 3)))
    prompt = expanded([FRAME, 1, FRAME, PICTURE], video, picture)
    assert prompt.token_ids.tolist() == [6, 6, 1, 6, 6, 6, 5, 5]
    assert [(image.span.start, image.pixels) for image in prompt.images] == [
        (0, video.pixels[0]),
        (3, video.pixels[1]),
        (6, picture.pixels[0]),
    ]


def test_positions_are_the_encoders() -> None:
    prompt = expanded([1, PICTURE, 2], visual(Tile((2, 3))))
    np.testing.assert_array_equal(
        prompt.positions, ENCODER.positions(8, [Span(1, Tile((2, 3)))]), strict=True
    )
    assert prompt.next_position == 5


def test_without_pictures_the_ids_stay() -> None:
    prompt = expanded([1, 2, 3])
    assert (prompt.token_ids.tolist(), prompt.images, prompt.next_position) == ([1, 2, 3], (), 3)
