import numpy as np

from gateway.chat.expand import expand
from gateway.engine.prompt import Prompt
from gateway.vision.encoder import Pixels, Span
from gateway.vision.registry import Registry

MARKER = 5
ENCODER = Registry.load().encoders[0]


def picture(rows: int, columns: int) -> Pixels:
    return Pixels(np.zeros(1, dtype=np.uint8), (rows, columns), b"digest of %d" % rows)


def expanded(token_ids: list[int], *pictures: Pixels) -> Prompt:
    return expand(token_ids, MARKER, pictures, ENCODER)


def test_every_marker_becomes_the_placeholders_of_its_picture() -> None:
    first, second = picture(1, 2), picture(2, 2)
    prompt = expanded([1, MARKER, 2, 3, MARKER, 4], first, second)
    assert prompt.token_ids.tolist() == [1, 5, 5, 2, 3, 5, 5, 5, 5, 4]
    assert prompt.token_ids.dtype == np.int64
    assert [(image.span, image.pixels) for image in prompt.images] == [
        (Span(1, (1, 2)), first),
        (Span(5, (2, 2)), second),
    ]


def test_positions_are_the_encoders() -> None:
    prompt = expanded([1, MARKER, 2], picture(2, 3))
    np.testing.assert_array_equal(prompt.positions, ENCODER.positions(8, [Span(1, (2, 3))]), strict=True)
    assert prompt.next_position == 5


def test_without_pictures_the_ids_stay() -> None:
    prompt = expanded([1, 2, 3])
    assert (prompt.token_ids.tolist(), prompt.images, prompt.next_position) == ([1, 2, 3], (), 3)
