import struct
import time
import warnings
import zlib
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gateway.errors import InvalidImage
from gateway.vision.image import MAX_EDGE, open_image
from tests.vision.pictures import encoded, pattern, pixels, png, png_chunk

MAX_PIXELS = 50_000_000
RED, GREEN, WHITE = (255, 0, 0), (0, 128, 0), (255, 255, 255)


def opened(data: bytes) -> Image.Image:
    image = open_image(data, MAX_PIXELS)
    assert image.mode == "RGB"
    return image


def refusal(data: bytes, max_pixels: int = MAX_PIXELS) -> str:
    with pytest.raises(InvalidImage) as error:
        open_image(data, max_pixels)
    assert (error.value.status, error.value.code, error.value.param) == (400, "invalid_image_format", None)
    return error.value.message


UNSUPPORTED = (
    "You uploaded an unsupported image. Please make sure your image is valid and has one of the "
    "following formats: ['png', 'jpeg', 'gif', 'webp']."
)


def exif(orientation: int) -> Image.Exif:
    data = Image.Exif()
    data[0x0112] = orientation
    return data


def bomb(width: int, height: int, num_rows: int) -> bytes:
    """A black 1-bit PNG whose header promises `height` rows and that holds `num_rows`."""
    packer = zlib.compressobj(9)
    row = bytes(1 + (width + 7) // 8)
    body = b"".join(packer.compress(row) for _ in range(num_rows)) + packer.flush()
    return png(width, height, depth=1, colour=0, body=body)


@pytest.mark.parametrize(("format", "options"), [("PNG", {}), ("WEBP", {"lossless": True})])
def test_lossless_files_give_their_pixels(format: str, options: dict[str, bool]) -> None:
    assert pixels(opened(encoded(pattern(5, 4), format, **options))) == pixels(pattern(5, 4))


def test_a_jpeg_gives_its_pixels() -> None:
    found = np.asarray(opened(encoded(Image.new("RGB", (9, 7), RED), "JPEG", quality=95))).astype(int)
    assert found.shape == (7, 9, 3)
    assert np.abs(found - RED).max() <= 2


@pytest.mark.parametrize("format", ["PNG", "GIF"])
def test_palettes_are_resolved(format: str) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *GREEN])
    image.putpixel((1, 0), 1)
    assert pixels(opened(encoded(image, format))) == [[RED, GREEN]]


@pytest.mark.parametrize("mode", ["1", "L"])
def test_grey_becomes_three_equal_channels(mode: str) -> None:
    assert pixels(opened(encoded(Image.new(mode, (1, 1), 255)))) == [[WHITE]]


def test_sixteen_bit_grey_is_scaled_and_not_clipped() -> None:
    levels = np.array([[0, 128, 129, 257, 32768, 65407, 65535]], dtype=np.uint16)
    found = [pixel[0] for pixel in pixels(opened(encoded(Image.fromarray(levels))))[0]]
    assert found == [0, 0, 1, 1, 128, 255, 255]


def test_sixteen_bit_colour_keeps_its_high_bytes() -> None:
    body = zlib.compress(b"\0" + struct.pack(">HHH", 0xFF00, 0x80FF, 0x0012))
    assert pixels(opened(png(1, 1, depth=16, colour=2, body=body))) == [[(255, 128, 0)]]


def test_cmyk_becomes_rgb() -> None:
    found = np.asarray(opened(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"))).astype(int)
    assert np.abs(found - RED).max() <= 3


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("RGBA", (255, 0, 0, 0), WHITE),
        ("RGBA", (255, 0, 0, 255), RED),
        ("RGBA", (0, 0, 0, 51), (204, 204, 204)),
        ("LA", (0, 0), WHITE),
    ],
)
def test_transparency_shows_white(mode: str, colour: tuple[int, ...], expected: tuple[int, int, int]) -> None:
    assert pixels(opened(encoded(Image.new(mode, (1, 1), colour)))) == [[expected]]


@pytest.mark.parametrize("transparency", [1, bytes([255, 0])])
def test_transparent_palette_entries_show_white(transparency: int | bytes) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *GREEN])
    image.putpixel((1, 0), 1)
    assert pixels(opened(encoded(image, transparency=transparency))) == [[RED, WHITE]]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_pictures_are_turned_upright(orientation: int, format: str) -> None:
    """The EXIF values say how the camera was held; here the stored picture is turned the other way first."""
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    upright = pattern(5, 3)
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    data = encoded(stored, format, exif=exif(orientation), lossless=True)
    assert pixels(opened(data)) == pixels(upright)


@pytest.mark.parametrize(
    "damage", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\0\x05\1"]
)
def test_damaged_exif_does_not_spoil_a_picture(damage: bytes) -> None:
    assert opened(encoded(pattern(6, 4), "JPEG", exif=damage)).size == (6, 4)


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
def test_an_animation_shows_its_first_frame(format: str) -> None:
    frames = [Image.new("RGB", (3, 2), colour) for colour in (RED, GREEN, WHITE)]
    data = encoded(frames[0], format, save_all=True, append_images=frames[1:], duration=20, lossless=True)
    assert pixels(opened(data)) == [[RED] * 3] * 2


def test_the_bytes_decide_the_format() -> None:
    multi_picture = encoded(pattern(8, 8), "MPO", save_all=True, append_images=[pattern(8, 8)])
    assert opened(multi_picture).size == (8, 8)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "WEBP"])
@pytest.mark.parametrize("part", [0.02, 0.5, 0.9])
def test_a_truncated_picture_is_refused(format: str, part: float) -> None:
    data = encoded(pattern(64, 48), format)
    assert refusal(data[: int(len(data) * part)]) == UNSUPPORTED


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(range(256)) * 8,
        b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        b"%PDF-1.4\n%%EOF",
        b"<!doctype html><b>hi</b>",
        encoded(pattern(4, 4), "BMP"),
        encoded(pattern(4, 4), "TIFF"),
        encoded(pattern(4, 4), "PPM"),
    ],
    ids=["nothing", "noise", "svg", "pdf", "html", "bmp", "tiff", "ppm"],
)
def test_other_formats_are_refused(data: bytes) -> None:
    assert refusal(data) == UNSUPPORTED


@pytest.mark.parametrize(
    "data",
    [bomb(30_000, 30_000, 30_000), bomb(2**31 - 1, 2**31 - 1, 0), bomb(10_000, 5_001, 5_001)],
    ids=["900 megapixels", "absurd header", "just over the limit"],
)
def test_too_many_pixels_are_refused_before_they_are_decoded(data: bytes) -> None:
    start = time.process_time()
    assert refusal(data).startswith("The image is too large: ")
    assert time.process_time() - start < 0.2


def test_the_limit_itself_is_allowed_and_the_refusal_has_the_numbers() -> None:
    data = encoded(pattern(5, 4))
    assert open_image(data, 20).size == (5, 4)
    assert refusal(data, 19) == "The image is too large: 5 x 4 is 20 pixels, more than 19."


@pytest.mark.parametrize("size", [(1, MAX_EDGE + 1), (MAX_EDGE + 1, 1)])
def test_a_picture_that_is_a_line_is_refused_before_it_is_decoded(size: tuple[int, int]) -> None:
    width, height = size
    assert refusal(bomb(width, height, 1)) == (
        f"The image is too large: {width} x {height} has an edge of more than 65535 pixels."
    )
    assert opened(encoded(Image.new("RGB", (MAX_EDGE, 1)))).size == (MAX_EDGE, 1)


def test_a_gif_frame_larger_than_its_screen_counts() -> None:
    data = bytearray(encoded(Image.new("P", (4, 4)), "GIF"))
    frame = data.index(b",\0\0\0\0\4\0\4\0")
    data[frame + 5 : frame + 9] = struct.pack("<HH", 60_000, 60_000)
    assert refusal(bytes(data)).startswith("The image is too large: ")


def test_oddities_that_pillow_warns_about_stay_inside() -> None:
    """Warnings are errors here: a picture with a broken animation header has to come through all the same."""
    body = zlib.compress(b"\0" + bytes(RED))
    data = png(1, 1, depth=8, colour=2, body=body, extra=png_chunk(b"acTL", struct.pack(">II", 0, 0)))
    assert pixels(opened(data)) == [[RED]]


def test_the_filters_of_warnings_are_as_before() -> None:
    filters = list(warnings.filters)
    opened(encoded(pattern(5, 4)))
    refusal(b"")
    assert list(warnings.filters) == filters


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["PNG", "JPEG", "GIF", "WEBP"]),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=20),
)
def test_damaged_bytes_give_a_picture_or_a_refusal(format: str, damage: list[tuple[float, int]]) -> None:
    data = bytearray(encoded(pattern(16, 12), format))
    for place, value in damage:
        data[int(place * len(data))] = value
    with suppress(InvalidImage):
        assert open_image(bytes(data), 1_000_000).mode == "RGB"
