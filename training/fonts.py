"""The typefaces of the texts. They come with Python wheels, so that every machine draws the same."""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path

from PIL import ImageFont

BUILT_IN = "built-in"
TYPEFACES: tuple[str, ...] = (BUILT_IN, "DejaVuSans", "DejaVuSans-Bold", "DejaVuSansMono", "DejaVuSerif")
"""Pillow's own typeface and four that lie inside the matplotlib wheel."""

Font = ImageFont.FreeTypeFont


@lru_cache(maxsize=1)
def _folder() -> Path:
    spec = importlib.util.find_spec("matplotlib")  # finding does not import it
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("the pictures' typefaces come with matplotlib: pip install matplotlib")
    return Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf"


@lru_cache(maxsize=1024)
def font(typeface: str, size_px: float) -> Font:
    """The typeface at a size in pixels; raises `ModuleNotFoundError` where matplotlib is not installed."""
    if typeface != BUILT_IN:
        return ImageFont.truetype(_folder() / f"{typeface}.ttf", size_px)
    built_in = ImageFont.load_default(size_px)
    if not isinstance(built_in, ImageFont.FreeTypeFont):
        raise RuntimeError("this Pillow was built without FreeType, which draws the texts")
    return built_in
