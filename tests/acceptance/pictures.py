"""Picture files, good and bad."""

import struct
import zlib
from base64 import b64encode
from functools import cache
from io import BytesIO

from PIL import Image, ImageDraw

from tests.vision.pictures import encoded, png


@cache
def picture(width: int = 64, height: int = 48, mode: str = "RGB", file_format: str = "PNG") -> bytes:
    """A yellow disc on blue; in 16 bits of grey, a ramp."""
    if mode == "I;16":
        row = b"".join(struct.pack("<H", x * 517 % 65536) for x in range(width))
        return encoded(Image.frombytes(mode, (width, height), row * height), file_format)
    drawn = Image.new("RGB", (width, height), (30, 120, 220))
    disc = (width // 4, height // 4, 3 * width // 4, 3 * height // 4)
    ImageDraw.Draw(drawn).ellipse(disc, fill=(250, 200, 30))
    return encoded(drawn.convert(mode), file_format)


def lying_jpeg() -> bytes:
    """One that says that it lies on its side."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(Image.open(BytesIO(picture())), "JPEG", exif=exif)


def claimed_png(width: int, height: int, num_rows: int = 0) -> bytes:
    """A PNG of one bit a pixel that says it is so large, with so many rows of zeros in it."""
    packed = zlib.compressobj(9)
    row = bytes(1 + (width + 7) // 8)
    body = b"".join(packed.compress(row) for _ in range(num_rows)) + packed.flush()
    return png(width, height, depth=1, colour=0, body=body)


def data_url(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{b64encode(data).decode()}"


PNG = data_url(picture())
JPEG = data_url(picture(file_format="JPEG"), "image/jpeg")
