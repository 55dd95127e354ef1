"""Pictures made by a formula, and files made of them."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

from backends.base import Array


def pattern(width: int, height: int) -> Image.Image:
    """RGB, every channel and corner different, with enough detail for a resize to show."""
    rows, columns = np.indices((height, width))
    channels = [rows * 7 + columns * 13, rows * columns + 61, rows * 3 + columns * columns]
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))


def encoded(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def pixels(image: Image.Image) -> list[list[tuple[int, ...]]]:
    values: Array = np.asarray(image)
    return [[tuple(pixel) for pixel in row] for row in values.tolist()]


def png(width: int, height: int, *, depth: int, colour: int, body: bytes, extra: bytes = b"") -> bytes:
    """A PNG file of rows that Pillow does not write itself; `colour` is 0 for grey and 2 for RGB."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + extra
        + png_chunk(b"IDAT", body)
        + png_chunk(b"IEND", b"")
    )


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
