"""Janus-Pro: a picture is resized until its longer edge is that of the square.

Sources: transformers 5.23, janus/image_processing_pil_janus.py and processing_janus.py; the published AX650N
package (AXERA-TECH/Janus-Pro-1B.axera: normalised pixels, channels first).
"""

from typing import ClassVar

from PIL import Image

from gateway.vision.spec import Edge, VisionSpec
from gateway.vision.square import Square, SquareSpec


class JanusSpec(SquareSpec):
    """`min_edge` is what the shorter edge has at least, in pixels."""

    min_edge: Edge


class Janus(Square[JanusSpec]):
    family: ClassVar[str] = "janus"
    spec_type: ClassVar[type[VisionSpec]] = JanusSpec

    def fit(self, image: Image.Image) -> Image.Image:
        """In the middle of the square; where there is none, half a pixel up or left of it."""
        size = self.spec.image_size
        scale = size / max(image.size)
        width, height = (max(round(edge * scale), self.spec.min_edge) for edge in image.size)
        square = Image.new("RGB", (size, size), self.spec.background)
        square.paste(self.resized(image, width, height), ((size - width) // 2, (size - height) // 2))
        return square
