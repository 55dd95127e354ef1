"""FastVLM and MobileVLM V2: a picture is put into a square as large as its longer edge, then resized.

Sources: transformers 5.23, llava/image_processing_pil_llava.py, which is the processor of FastVLM;
Meituan-AutoML/MobileVLM, mobilevlm/utils.py and model/vision_encoder.py; the AX650N packages of FastVLM as
described in public (uint8 pixels in 0…255 with the channels last, black around the picture).
"""

from typing import ClassVar

from PIL import Image

from gateway.errors import InvalidImage
from gateway.vision.spec import VisionSpec
from gateway.vision.square import Square, SquareSpec

MAX_EDGE = 1 << 14
"""Pixels of the longer edge. What is made of a longer one would take seconds and hundreds of megabytes."""

STRIP_HEIGHT = 64
"""Rows that are resized at a time."""


class Llava(Square[SquareSpec]):
    family: ClassVar[str] = "llava"
    spec_type: ClassVar[type[VisionSpec]] = SquareSpec

    def fit(self, image: Image.Image) -> Image.Image:
        """As if the square were made and then resized, without making it: around a long strip it would take
        gigabytes. Pillow resizes all rows first and then all columns, so the rows can be taken a few at a
        time, and those above and below the picture are left out."""
        size, edge = self.spec.image_size, max(image.size)
        if edge > MAX_EDGE:
            raise InvalidImage(
                f"The image is too long: its longer edge is {edge} pixels, and this model takes at most "
                f"{MAX_EDGE}."
            )
        left, top = (edge - image.width) // 2, (edge - image.height) // 2
        narrow = Image.new("RGB", (size, edge), self.spec.background)
        for start in range(0, image.height, STRIP_HEIGHT):
            rows = image.crop((0, start, image.width, min(start + STRIP_HEIGHT, image.height)))
            strip = Image.new("RGB", (edge, rows.height), self.spec.background)
            strip.paste(rows, (left, 0))
            narrow.paste(self.resized(strip, size, strip.height), (0, top + start))
        return self.resized(narrow, size, size)
