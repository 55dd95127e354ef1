"""The eight shapes and how each is drawn."""

from __future__ import annotations

import math
from collections.abc import Callable

from PIL import ImageDraw

Pen = ImageDraw.ImageDraw
Fill = tuple[int, int, int]


def _circle(pen: Pen, x: float, y: float, r: float, fill: Fill) -> None:
    pen.ellipse((x - r, y - r, x + r, y + r), fill=fill)


def _square(pen: Pen, x: float, y: float, r: float, fill: Fill) -> None:
    half = r * 0.86
    pen.rectangle((x - half, y - half, x + half, y + half), fill=fill)


def _triangle(pen: Pen, x: float, y: float, r: float, fill: Fill) -> None:
    pen.polygon([(x, y - r), (x + r * 0.95, y + r * 0.8), (x - r * 0.95, y + r * 0.8)], fill=fill)


def _star(pen: Pen, x: float, y: float, r: float, fill: Fill) -> None:
    corners = []
    for corner in range(10):
        angle = -math.pi / 2 + corner * math.pi / 5
        reach = r * 1.1 if corner % 2 == 0 else r * 0.46
        corners.append((x + reach * math.cos(angle), y + reach * math.sin(angle)))
    pen.polygon(corners, fill=fill)


def _diamond(pen: Pen, x: float, y: float, r: float, fill: Fill) -> None:
    pen.polygon([(x, y - r * 1.05), (x + r * 0.8, y), (x, y + r * 1.05), (x - r * 0.8, y)], fill=fill)


def _cross(pen: Pen, x: float, y: float, r: float, fill: Fill) -> None:
    half = r * 0.32
    pen.rectangle((x - r, y - half, x + r, y + half), fill=fill)
    pen.rectangle((x - half, y - r, x + half, y + r), fill=fill)


def _ring(pen: Pen, x: float, y: float, r: float, fill: Fill) -> None:
    pen.ellipse((x - r, y - r, x + r, y + r), outline=fill, width=max(2, int(r * 0.38)))


def _heart(pen: Pen, x: float, y: float, r: float, fill: Fill) -> None:
    lobe = r * 1.1
    pen.ellipse((x - r, y - r * 0.9, x - r + lobe, y - r * 0.9 + lobe), fill=fill)
    pen.ellipse((x + r - lobe, y - r * 0.9, x + r, y - r * 0.9 + lobe), fill=fill)
    pen.polygon([(x - r * 0.97, y - r * 0.12), (x + r * 0.97, y - r * 0.12), (x, y + r)], fill=fill)


_DRAW: dict[str, Callable[[Pen, float, float, float, Fill], None]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "diamond": _diamond,
    "cross": _cross,
    "ring": _ring,
    "heart": _heart,
}
SHAPES: tuple[str, ...] = tuple(_DRAW)


def draw_shape(pen: Pen, shape: str, x: float, y: float, radius: float, fill: Fill) -> None:
    """Draw one of `SHAPES` around (x, y); everything in pixels."""
    _DRAW[shape](pen, x, y, radius, fill)


def plural(shape: str) -> str:
    """`crosses` for `cross`."""
    return f"{shape}es" if shape.endswith("s") else f"{shape}s"
