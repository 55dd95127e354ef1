"""The numbers of one entry of vision_models.json; what they mean is up to the family's encoder."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class VisionSpec:
    """One vision graph that is known: whose it is, and how pictures are cut for it.

    `prefix` is the layer prefix of the packages it belongs to; lengths are in pixels, `merge_size` in patches
    along one edge; `marker` is the token that the chat template writes once per picture.
    """

    name: str
    family: str
    prefix: str
    width: int
    height: int
    patch_size: int
    temporal_patch_size: int
    merge_size: int
    resample: str
    marker: str
