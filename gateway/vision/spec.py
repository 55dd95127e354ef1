"""The numbers of one entry of vision_models.json; what they mean is up to the family's encoder."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from backends.base import TensorSpec

Edge = Annotated[int, Field(ge=1, le=4096)]
"""Pixels."""

Count = Annotated[int, Field(ge=1, le=64)]
Text = Annotated[str, Field(min_length=1)]
Resample = Literal["bicubic", "bilinear", "lanczos"]
Share = Annotated[float, Field(ge=0, le=1)]
Colour = tuple[Share, Share, Share]
"""One number each for red, green and blue."""

Deviation = Annotated[float, Field(ge=0.001, le=1)]
Deviations = tuple[Deviation, Deviation, Deviation]
"""The same, to divide by."""


class Checked(BaseModel):
    """A JSON object whose fields are all known, of exactly the types they should be."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class VideoSpec(Checked):
    """How videos are seen: `fps` frames are taken of each second, spread evenly where that makes fewer than
    `min_frames` or more than `max_frames`; marker and placeholder as those of pictures."""

    marker: Text
    placeholder: Text
    fps: Annotated[float, Field(gt=0, le=240)]
    min_frames: Annotated[int, Field(ge=1)] = 1
    max_frames: Annotated[int, Field(ge=1)]


class VisionSpec(Checked):
    """What every entry says: whose packages it is for, and which words of the prompt are pictures.

    prefixes:    what the layer files of those packages begin with
    marker:      what the chat template writes once per picture
    placeholder: the token that stands in the prompt for each row of features
    template:    the built-in chat template (gateway/chat/templates) for packages whose own writes no marker
    video:       null for models that see no videos
    """

    family: Text
    prefixes: Annotated[tuple[Text, ...], Field(min_length=1)]
    marker: Text
    placeholder: Text
    template: Text | None = None
    video: VideoSpec | None = None

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The graph inputs that pictures can be prepared for. Raises ValueError naming the field where the
        numbers do not go together."""
        raise NotImplementedError
