"""DeepSeek-OCR: a page in one square, in its modes of one view (Base, Small, Tiny).

Its features stand in lines, each ended by a learned newline, and after the last line stands a learned
separator: the vision graph gives both among its rows, so that the host needs no weights. The tiled mode needs
two sizes of picture, and so two vision graphs, of which a package has one.

Source: deepseek-ai/DeepSeek-OCR, modeling_deepseekocr.py (`infer` without crop mode, `forward`).
"""

from typing import ClassVar

from PIL import Image, ImageOps

from gateway.vision.layout import Layout, Tile
from gateway.vision.spec import VisionSpec
from gateway.vision.square import Square, SquareSpec


class DeepseekOCRSpec(SquareSpec):
    """`stretched`: whether the page fills the square whatever its shape."""

    stretched: bool


class DeepseekOCR(Square[DeepseekOCRSpec]):
    family: ClassVar[str] = "deepseek_ocr"
    spec_type: ClassVar[type[VisionSpec]] = DeepseekOCRSpec

    @property
    def smallest(self) -> Layout:
        size = self.spec.grid_size
        return Layout(self.spec.placeholder, (Tile((1, size * (size + 1) + 1)),))

    def fit(self, image: Image.Image) -> Image.Image:
        size = self.spec.image_size
        if self.spec.stretched:
            return self.resized(image, size, size)
        filter = Image.Resampling[self.spec.resample.upper()]
        return ImageOps.pad(image, (size, size), filter, self.spec.background)
