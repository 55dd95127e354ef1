"""The pictures of a folder, prepared for the vision graph that a compiler is to quantise."""

from functools import partial
from pathlib import Path

from backends.axcl.package import added_tokens
from backends.base import Array, TensorSpec
from backends.export import ExportError
from gateway.errors import InvalidImage
from gateway.vision.image import open_image
from gateway.vision.registry import Registry

MAX_PIXELS = 10**8


def prepare_folder(
    folder: Path | None, registry: Registry, tokenizer: Path, prefix: str, graph_input: TensorSpec
) -> list[Array]:
    """Every file of the folder in the order of their names, tile by tile, as pictures reach a package with
    this tokenizer, layer prefix and graph input; none without a folder. Raises ExportError naming a file that
    is no picture, and RegistryError where no entry fits."""
    encoder = registry.find(prefix, graph_input, partial(added_tokens, tokenizer))
    prepared: list[Array] = []
    for file in sorted(folder.iterdir()) if folder else []:
        try:
            picture = open_image(file.read_bytes(), MAX_PIXELS)
        except (InvalidImage, OSError) as error:
            raise ExportError(f"{file}: expected a picture: {error}") from error
        prepared += [pixels.data for pixels in encoder.prepare(picture).pixels]
    return prepared
