"""Graphs of which nobody says whether red or blue comes first in their pixels."""

from typing import Literal, TypeVar

import numpy as np

from backends.base import Array, TensorSpec
from gateway.vision.encoder import VisionEncoder
from gateway.vision.spec import Text, VisionSpec

NUM_CHANNELS = 3


class ChannelSpec(VisionSpec):
    """channels:  the order that the graph was compiled for; `probe` asks the model itself when it is loaded
    question: the prompt it is asked with, whole, with one marker in it; the answer to it begins with the
              name of the picture's colour
    """

    channels: Literal["rgb", "bgr", "probe"]
    question: Text


Spec = TypeVar("Spec", bound=ChannelSpec, covariant=True)


class ChannelEncoder(VisionEncoder[Spec]):
    """An encoder of pixels in three channels. They are prepared as red, green, blue, and reversed on their
    way into the graph where `blue_first` is set."""

    def __init__(self, name: str, spec: Spec, graph_input: TensorSpec) -> None:
        super().__init__(name, spec, graph_input)
        self.blue_first = spec.channels == "bgr"

    def ordered(self, data: Array) -> Array:
        """Pixels with the channels last, or first after the tiles, in the order the graph wants them."""
        if not self.blue_first:
            return data
        return np.flip(data, axis=-1 if data.shape[-1] == NUM_CHANNELS else 1)
