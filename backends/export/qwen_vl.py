"""What the Qwen-VL families have in common in their configurations: a vision tower for a picture of one fixed
size."""

import math
from dataclasses import dataclass

import numpy as np

from backends.base import Array
from backends.export.checkpoint import Checkpoint
from backends.export.configuration import Colour, Section, read_json_if_there
from backends.export.decoder import DecoderSpec
from backends.export.errors import ExportError
from backends.export.options import ExportOptions


@dataclass(frozen=True, slots=True)
class Picture:
    """What a tower is built for.

    size:      rows and columns of pixels
    mean, std: of red, green and blue in 0…1
    """

    size: tuple[int, int]
    patch_size: int
    temporal_patch_size: int
    merge_size: int
    mean: Colour
    std: Colour

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.size[0] // self.patch_size, self.size[1] // self.patch_size

    @property
    def num_patches(self) -> int:
        return self.grid[0] * self.grid[1]

    @property
    def num_tokens(self) -> int:
        return self.num_patches // self.merge_size**2

    @property
    def patch_pixels(self) -> int:
        """Pixels of a patch, in all its frames."""
        return self.temporal_patch_size * self.patch_size**2

    @property
    def coordinates(self) -> Array:
        """(2, patches) row and column of each patch, in merge-block order."""
        return patch_coordinates(self.grid, self.merge_size)

    def settings(self, vlm_type: str) -> dict[str, str | int]:
        """The fields about it in the package's config.json."""
        return {
            "vlm_type": vlm_type,
            "vision_width": self.size[1],
            "vision_height": self.size[0],
            "vision_patch_size": self.patch_size,
            "vision_temporal_patch_size": self.temporal_patch_size,
            "vision_spatial_merge_size": self.merge_size,
        }


@dataclass(frozen=True, slots=True)
class TowerSpec:
    """hidden_size is that of the tower, output_size that of the language model."""

    picture: Picture
    depth: int
    hidden_size: int
    intermediate_size: int
    num_heads: int
    output_size: int
    rope_theta: float

    @property
    def merged_size(self) -> int:
        """Of the patches of one token, joined."""
        return self.hidden_size * self.picture.merge_size**2


def patch_coordinates(grid: tuple[int, int], merge_size: int) -> Array:
    """(2, patches) row and column of each patch, in merge-block order."""
    blocks = (grid[0] // merge_size, merge_size, grid[1] // merge_size, merge_size)
    return np.indices(grid).reshape(2, *blocks).transpose(0, 1, 3, 2, 4).reshape(2, -1)


def read_picture(
    checkpoint: Checkpoint,
    options: ExportOptions,
    default_side: int,
    mean: float | Colour,
    std: float | Colour,
) -> Picture:
    """The picture that options and preprocessor ask for; mean and std are for a checkpoint that says
    nothing."""
    vision = checkpoint.config.section("vision_config")
    vision.require("in_channels", 3, default=3)
    preprocessor = read_json_if_there(checkpoint.folder / "preprocessor_config.json")
    patch_size, merge_size = vision.integer("patch_size"), vision.integer("spatial_merge_size")
    return Picture(
        size=_picture_size(preprocessor, options, default_side, patch_size * merge_size),
        patch_size=patch_size,
        temporal_patch_size=vision.integer("temporal_patch_size"),
        merge_size=merge_size,
        mean=preprocessor.colour("image_mean", mean),
        std=preprocessor.colour("image_std", std),
    )


def read_tower(
    vision: Section, picture: Picture, decoder: DecoderSpec, hidden: str, inner: int, output: str
) -> TowerSpec:
    """The tower of a `vision_config`, whose fields `hidden` and `output` are its own hidden size and that of
    the features it makes; `inner` is that of its MLPs. Raises ExportError where it does not go together with
    the language model."""
    hidden_size, num_heads = vision.integer(hidden), vision.integer("num_heads")
    # A head has two halves for rope, and each half has one quarter for rows and one for columns.
    vision.check(hidden_size % (4 * num_heads) == 0, "num_heads", f"heads of {hidden_size} divisible by 4")
    output_size = vision.integer(output)
    vision.check(output_size == decoder.hidden_size, output, f"the text's hidden size {decoder.hidden_size}")
    rope = vision.section("rope_parameters") if "rope_parameters" in vision else vision
    return TowerSpec(
        picture=picture,
        depth=vision.integer("depth"),
        hidden_size=hidden_size,
        intermediate_size=inner,
        num_heads=num_heads,
        output_size=output_size,
        rope_theta=rope.number("rope_theta", 10000.0),
    )


def _picture_size(
    preprocessor: Section, options: ExportOptions, default_side: int, multiple: int
) -> tuple[int, int]:
    """Rows and columns of pixels. `size`, or in older files the preprocessor itself, counts the least and
    most pixels: equal means one square size."""
    size = preprocessor.section("size") if "size" in preprocessor else preprocessor
    names = ("shortest_edge", "longest_edge", "min_pixels", "max_pixels")
    limits = [size.integer(name) for name in names if name in size]
    side = math.isqrt(limits[0]) if len(limits) > 1 and len(set(limits)) == 1 else default_side
    height = side if options.image_height is None else options.image_height
    width = side if options.image_width is None else options.image_width
    if height % multiple or width % multiple:
        raise ExportError(f"image size {width}x{height}: expected multiples of {multiple} pixels")
    return height, width
