"""Bytes from a stranger -> an upright RGB picture, or a clear refusal."""

import io
import warnings

import numpy as np
from PIL import Image, ImageOps

from gateway.errors import InvalidImage

FORMATS = ("PNG", "JPEG", "GIF", "WEBP")

MAX_EDGE = 65_535
"""Pixels, as many as a JPEG file can have. Pillow spends some bytes on every row beside its pixels: a PNG
file of 60 kB with 32 million rows of one pixel would take more than a gigabyte."""


def open_image(data: bytes, max_pixels: int) -> Image.Image:
    """The first frame of a PNG, JPEG, GIF or WebP file, turned upright (EXIF), as RGB. The bytes decide what
    it is, not what the client called it. Nothing is decoded before the size in the header is found not to
    have any `excess`. Raises InvalidImage. For one thread at a time: Pillow reports damaged metadata through
    `warnings`, whose filters belong to the whole process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                too_much = excess(*image.size, max_pixels)
                if not too_much:
                    image.load()
                    return upright_rgb(image)
        except Image.DecompressionBombError as error:
            raise InvalidImage(f"The image is too large: it has more than {max_pixels} pixels.") from error
        except Exception as error:  # on hostile input Pillow's readers raise about anything
            raise InvalidImage(
                "You uploaded an unsupported image. Please make sure your image is valid and has one of the "
                "following formats: ['png', 'jpeg', 'gif', 'webp']."
            ) from error
    raise InvalidImage(f"The image is too large: {too_much}.")


def excess(width: int, height: int, max_pixels: int) -> str:
    """What is too much about the size of a picture; empty where nothing is."""
    if width * height > max_pixels:
        return f"{width} x {height} is {width * height} pixels, more than {max_pixels}"
    if max(width, height) > MAX_EDGE:
        return f"{width} x {height} has an edge of more than {MAX_EDGE} pixels"
    return ""


def upright_rgb(image: Image.Image) -> Image.Image:
    """A picture that has been loaded, as it is meant to be seen."""
    return _rgb(_upright(image))


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # EXIF data that cannot be read says nothing about the pixels
        return image


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # 16-bit grey. Pillow's own conversion clips at 255, which turns most of the picture white.
        levels = np.asarray(image).astype(np.float32)
        return Image.fromarray(np.rint(levels / 257).astype(np.uint8)).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    # White is what transparent drawings are made for, and what the vision models' own tools put behind them;
    # the colours stored under transparent pixels are arbitrary.
    layer = image.convert("RGBA")
    picture = Image.new("RGB", layer.size, (255, 255, 255))
    picture.paste(layer, mask=layer)
    return picture
