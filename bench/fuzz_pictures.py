"""Picture and video files, nearly right: what is cut, turned, mixed or lied about in one that can be read."""

import random
import struct
from base64 import b64encode
from collections.abc import Mapping
from functools import cache

from PIL import Image

from tests.vision.pictures import encoded, pattern
from tests.vision.videos import animation, greys, video_file

HEADS = {
    "application/pdf": b"%PDF-1.7\n1 0 obj\n<</Type/Catalog>>\nendobj\ntrailer<</Root 1 0 R>>\n%%EOF",
    "image/svg+xml": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect/></svg>',
    "image/avif": b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf",
    "image/x-icon": b"\0\0\1\0\1\0\x10\x10\0\0\1\0\x20\0\x68\4\0\0\x16\0\0\0",
    "image/x-portable-pixmap": b"P6\n9 9\n255\n" + bytes(243),
    "application/zip": b"PK\3\4\x14\0\0\0\0\0",
}
NUMBERS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)


@cache
def files() -> Mapping[str, bytes]:
    """One of each kind that can be read, and the beginnings of some that cannot."""
    picture, frames = pattern(48, 40), greys(4)
    stills = {
        f"image/{name.lower()}": encoded(picture, name) for name in ("PNG", "JPEG", "WEBP", "TIFF", "BMP")
    }
    odd = {
        "image/png;grey": encoded(Image.new("I;16", (9, 9), 999), "PNG"),
        "image/jpeg;cmyk": encoded(picture.convert("CMYK"), "JPEG"),
        "image/gif": encoded(picture.convert("P"), "GIF"),
    }
    moving = {
        "image/gif;moving": animation(frames),
        "image/webp;moving": animation(frames, "WEBP"),
        "image/apng": animation(frames, "PNG"),
        "video/mp4": video_file(frames),
    }
    return stills | odd | moving | HEADS


def picture_url(chance: random.Random) -> str:
    """A data URL of a file that was broken, or was not."""
    kind, data = chance.choice(list(files().items()))
    for _ in range(chance.choice((0, 1, 1, 2, 5))):
        data = broken(chance, data)
    if chance.random() < 0.2:
        kind = chance.choice([*files(), "", "image/*", "text/html", "image/png;charset=utf-8"])
    text = b64encode(data).decode()
    if chance.random() < 0.1:
        place = chance.randrange(len(text) + 1)
        text = text[:place] + chance.choice(("\n", " ", "=", "-_", "é", "%2B", "\0")) + text[place:]
    return f"data:{kind.split(';')[0]};base64,{text}"


def broken(chance: random.Random, data: bytes) -> bytes:
    """Most of what decides about a file stands in its beginning, so most blows go there."""
    if not data:
        return data
    place = (
        min(int(chance.expovariate(1 / 40)), len(data) - 1)
        if chance.random() < 0.7
        else chance.randrange(len(data))
    )
    match chance.randrange(7):
        case 0:
            return data[:place]
        case 1:
            return data[:place] + bytes([data[place] ^ 1 << chance.randrange(8)]) + data[place + 1 :]
        case 2:
            number = struct.pack(chance.choice("<>") + "I", chance.choice(NUMBERS))
            return data[:place] + number + data[place + 4 :]
        case 3:
            return data[:place] + chance.randbytes(chance.randrange(1, 64)) + data[place:]
        case 4:
            return data[:place] + data[place + chance.randrange(1, 64) :]
        case 5:
            other = chance.choice(list(files().values()))
            return data[:place] + other[place:]
        case _:
            return data + data[place:]
