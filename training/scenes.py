"""Scenes: what a picture shows, and how it is drawn.

A scene is measured in units: a square canvas has 96 by 96 of them, one per pixel the model sees. Needs only
Pillow and numpy (and the typefaces of `fonts`).
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import pairwise

from PIL import Image, ImageDraw

from training.fonts import BUILT_IN, TYPEFACES, font
from training.shapes import SHAPES, draw_shape
from training.words import TextMix, random_number, random_word

SIDE = 96
"""Units along a square canvas, and pixels along a picture as the model sees it."""

RGB = tuple[int, int, int]

COLORS: dict[str, RGB] = {
    "red": (220, 40, 40),
    "green": (40, 160, 60),
    "blue": (40, 80, 220),
    "yellow": (245, 225, 50),
    "orange": (245, 140, 30),
    "purple": (130, 50, 170),
    "pink": (250, 150, 190),
    "brown": (125, 75, 40),
    "black": (15, 15, 15),
    "white": (250, 250, 250),
    "gray": (135, 135, 135),
    "cyan": (70, 215, 225),
}
_ALIKE = [{"orange", "brown"}, {"white", "gray"}, {"yellow", "white"}, {"cyan", "white"}, {"pink", "white"}]
_MIN_TEXT_CONTRAST = 190
"""Least sum of the differences of red, green and blue between a text and its background."""


@dataclass(frozen=True)
class Canvas:
    """The size of a scene in units."""

    width: float = SIDE
    height: float = SIDE


SQUARE = Canvas()


@dataclass(frozen=True)
class Thing:
    """A shape in a scene: centre and radius in units, and the cell of the 3 by 3 grid its centre lies in."""

    shape: str
    color: str
    rgb: RGB
    x: float
    y: float
    radius: float
    large: bool
    row: int
    column: int

    @property
    def name(self) -> str:
        """Colour and shape, which no other thing of the scene shares."""
        return f"{self.color} {self.shape}"

    @property
    def place(self) -> str:
        """Where it is, such as `top left`."""
        return place(self.row, self.column)


@dataclass(frozen=True)
class Text:
    """A word or a number in a scene; in units its upper left corner, and the middle x of each character."""

    text: str
    color: str
    rgb: RGB
    typeface: str
    size: float
    x: float
    y: float
    height: float
    centers: tuple[float, ...]

    @property
    def is_number(self) -> bool:
        """Whether it is made of digits."""
        return self.text.isdigit()


@dataclass(frozen=True)
class Scene:
    """What a picture shows: things, or a text with at most one thing beside it."""

    canvas: Canvas
    background: str
    rgb: RGB
    things: tuple[Thing, ...]
    text: Text | None = None

    def draw(self, scale: float) -> Image.Image:
        """The scene with `scale` pixels per unit, its edges not smoothed."""
        size = (round(self.canvas.width * scale), round(self.canvas.height * scale))
        picture = Image.new("RGB", size, self.rgb)
        pen = ImageDraw.Draw(picture)
        for thing in self.things:
            draw_shape(pen, thing.shape, thing.x * scale, thing.y * scale, thing.radius * scale, thing.rgb)
        if self.text is not None:
            face = font(self.text.typeface, self.text.size * scale)
            left, top, _, _ = face.getbbox(self.text.text)
            at = (self.text.x * scale - left, self.text.y * scale - top)
            pen.text(at, self.text.text, font=face, fill=self.text.rgb)
        return picture

    def render(self, size: int) -> Image.Image:
        """The scene as a smooth square picture of `size` pixels a side (RGB)."""
        return self.draw(max(2.0, 2.0 * size / SIDE)).resize((size, size), Image.Resampling.BOX)


def place(row: int, column: int) -> str:
    """The name of a cell of the 3 by 3 grid."""
    if (row, column) == (1, 1):
        return "center"
    return f"{('top', 'middle', 'bottom')[row]} {('left', 'center', 'right')[column]}"


def _alike(a: str, b: str) -> bool:
    return a == b or {a, b} in _ALIKE


def _distinct(background: str) -> list[str]:
    return [color for color in COLORS if not _alike(color, background)]


def _shade(rng: random.Random, color: str) -> RGB:
    red, green, blue = (max(0, min(255, value + rng.randint(-10, 10))) for value in COLORS[color])
    return red, green, blue


def _cell(value: float, side: float) -> int:
    return min(2, int(value * 3 / side))


def _on_a_border(value: float, side: float) -> bool:
    return any(abs(value - side * third) < 3 for third in (1 / 3, 2 / 3))


def _place_thing(
    rng: random.Random, canvas: Canvas, looks: tuple[str, str], others: list[Thing]
) -> Thing | None:
    """A thing of those looks somewhere free and clearly in one cell, or None where the draw failed."""
    shape, color = looks
    large = rng.random() < 0.45
    radius = rng.uniform(14, 17) if large else rng.uniform(7.5, 9.5)
    x = rng.uniform(radius + 2, canvas.width - radius - 2)
    y = rng.uniform(radius + 2, canvas.height - radius - 2)
    if _on_a_border(x, canvas.width) or _on_a_border(y, canvas.height):
        return None
    if any((x - o.x) ** 2 + (y - o.y) ** 2 < (radius + o.radius + 3) ** 2 for o in others):
        return None
    cell = _cell(y, canvas.height), _cell(x, canvas.width)
    return Thing(shape, color, _shade(rng, color), x, y, radius, large, *cell)


def _try_shapes(rng: random.Random, canvas: Canvas, count: int) -> Scene | None:
    background = rng.choice(list(COLORS))
    palette = _distinct(background)
    if rng.random() < 0.35:
        palette = rng.sample(palette, 2)
    shapes = SHAPES if rng.random() < 0.65 else tuple(rng.sample(SHAPES, 2))
    things: list[Thing] = []
    for _ in range(40 * count):
        if len(things) == count:
            break
        looks = rng.choice(shapes), rng.choice(palette)
        if any((thing.shape, thing.color) == looks for thing in things):
            continue
        thing = _place_thing(rng, canvas, looks, things)
        if thing is not None:
            things.append(thing)
    if len(things) < count:
        return None
    return Scene(canvas, background, _shade(rng, background), tuple(things))


def shape_scene(rng: random.Random, counts: tuple[int, int], canvas: Canvas = SQUARE) -> Scene:
    """A scene of so many things (from, to), each of its own shape and colour, none overlapping."""
    count = rng.randint(*counts)
    for _ in range(50):
        scene = _try_shapes(rng, canvas, count)
        if scene is not None:
            return scene
    return shape_scene(rng, (1, 3), canvas)


def _lay_out(rng: random.Random, canvas: Canvas, text: str, color: str) -> Text:
    """The text in a random typeface and size that fits, at a random place."""
    finest = 4  # pixels per unit when measuring: fine enough for every scale it is drawn at
    for attempt in range(31):
        # the smallest size of the narrowest typeface fits any text we draw, so it ends the search
        size, typeface = rng.randint(16, 34), rng.choice((BUILT_IN, BUILT_IN, *TYPEFACES))
        if attempt == 30:
            size, typeface = 16, BUILT_IN
        face = font(typeface, size * finest)
        left, top, right, bottom = (edge / finest for edge in face.getbbox(text))
        if right - left <= canvas.width - 6:
            break
    width, height = right - left, bottom - top
    x = rng.uniform(3, max(3.0, canvas.width - 3 - width))
    y = rng.uniform(3, canvas.height - 3 - height)
    edges = [face.getlength(text[:i]) / finest - left + x for i in range(len(text) + 1)]
    centers = tuple((a + b) / 2 for a, b in pairwise(edges))
    return Text(text, color, _shade(rng, color), typeface, size, x, y, height, centers)


def _beside(rng: random.Random, canvas: Canvas, text: Text, background: str) -> tuple[Thing, ...]:
    """Sometimes, where there is room above or below the text, one thing."""
    above, below = text.y, canvas.height - text.y - text.height
    if rng.random() >= 0.35 or max(above, below) <= 24:
        return ()
    color = rng.choice(_distinct(background))
    radius = min(rng.uniform(8, 14), max(above, below) / 2 - 3)
    x = rng.uniform(radius + 2, canvas.width - radius - 2)
    y, row = (above / 2, 0) if above > below else (canvas.height - below / 2, 2)
    shape = rng.choice(SHAPES)
    return (Thing(shape, color, _shade(rng, color), x, y, radius, False, row, _cell(x, canvas.width)),)


def text_scene(rng: random.Random, text: str, canvas: Canvas = SQUARE) -> Scene:
    """A scene that shows the text, and sometimes one thing above or below it."""
    while True:
        background = rng.choice(list(COLORS))
        color = rng.choice(_distinct(background))
        contrast = sum(abs(a - b) for a, b in zip(COLORS[background], COLORS[color], strict=True))
        if contrast >= _MIN_TEXT_CONTRAST:
            break
    written = _lay_out(rng, canvas, text, color)
    things = _beside(rng, canvas, written, background)
    return Scene(canvas, background, _shade(rng, background), things, written)


def random_text(rng: random.Random, mix: TextMix) -> str:
    """A number or a word, equally often."""
    return random_number(rng, mix) if rng.random() < 0.5 else random_word(rng, mix)
