"""What a picture costs before the first token: milliseconds to prepare it, and to encode it.

    python -m bench.vision [--repeat 5]        needs the parity extra, for the processors of transformers

Preparing is measured against the family's processor in transformers (the one that works with Pillow), on the
same picture in the same run; it is the faster of the repeats that counts, for both. Encoding is that of the
demo models on the emulated card, so it tells about this machine's processor, not about an NPU.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from PIL import Image
from rich.console import Console
from rich.table import Table

from backends.axcl.backend import AxclBackend
from backends.axcl.package import open_package
from backends.emulator import Emulator
from backends.export import ExportOptions, export_package
from gateway.demo import CHECKPOINTS
from gateway.vision.encoder import VisionEncoder
from gateway.vision.registry import Registry
from tests.packages import no_progress
from tests.vision.entries import encoder
from tests.vision.pictures import pattern

SIZES = ((384, 384), (1080, 1920), (4032, 3024))
ENTRIES = (
    "qwen3-vl-384",
    "qwen2.5-vl-448",
    "internvl-448",
    "internvl-448-tiled",
    "smolvlm-512",
    "smolvlm-512-tiled",
)

Processor = Callable[[Image.Image], object]


def main() -> None:
    parser = argparse.ArgumentParser(description="Milliseconds to prepare and to encode a picture.")
    parser.add_argument("--repeat", type=int, default=5, help="times each is done (default: %(default)s)")
    options = parser.parse_args()
    console = Console()
    console.print(preparing(options.repeat))
    console.print(encoding(options.repeat))


def preparing(repeat: int) -> Table:
    shown = Table("entry", "picture", "runs", "tokens", "prepare ms", "transformers ms", "ratio")
    for name in ENTRIES:
        ours = encoder(name)
        theirs = reference(ours)
        for size in SIZES:
            picture = pattern(*size)
            visual = ours.prepare(picture)
            prepare_ms, reference_ms = (fastest_ms(work, picture, repeat) for work in (ours.prepare, theirs))
            told = (len(visual.pixels), visual.layout.num_tokens)
            shown.add_row(
                name,
                "x".join(map(str, size)),
                *map(str, told),
                f"{prepare_ms:.1f}",
                f"{reference_ms:.1f}",
                f"{prepare_ms / reference_ms:.2f}",
            )
    return shown


def reference(ours: VisionEncoder[Any]) -> Processor:
    """The processor of transformers for an entry, with the entry's numbers."""
    from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
    from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

    spec = ours.spec
    if spec.family == "internvl":
        edges = {"height": spec.image_size, "width": spec.image_size}
        tiles = {"crop_to_patches": spec.max_tiles > 1, "max_patches": spec.max_tiles}
        processor = GotOcr2ImageProcessorPil(size=edges, **tiles)
    elif spec.family == "smolvlm":
        tile, edge = {"longest_edge": spec.tile_size}, {"longest_edge": spec.longest_edge or spec.tile_size}
        processor = SmolVLMImageProcessorPil(
            size=edge, max_image_size=tile, do_image_splitting=spec.grid is None
        )
    else:
        area = spec.width * spec.height  # it keeps the aspect ratio, and has about as many patches
        processor = Qwen2VLImageProcessorPil(
            patch_size=spec.patch_size,
            merge_size=spec.merge_size,
            size={"shortest_edge": area, "longest_edge": area},
        )
    return lambda picture: processor(picture, return_tensors="np")


def encoding(repeat: int) -> Table:
    shown = Table("demo model", "tokens", "encode ms")
    for name, num_tokens, encode in encoders():
        shown.add_row(name, str(num_tokens), f"{fastest_ms(encode, pattern(96, 96), repeat):.2f}")
    return shown


def encoders() -> Iterator[tuple[str, int, Processor]]:
    """Every demo model's encoder on an emulated card of its own, as long as it is looked at."""
    registry = Registry.load()
    for name, checkpoint in CHECKPOINTS.items():
        with TemporaryDirectory() as folder:
            export_package(checkpoint, Path(folder) / name, ExportOptions(), no_progress)
            package = open_package(Path(folder) / name)
            assert package.vision is not None
            backend = AxclBackend(Emulator())
            graph = backend.graph(package.vision)
            found = registry.find(package.prefix, graph.inputs[0])

            def encode(picture: Image.Image) -> object:
                return [found.encode(graph, pixels) for pixels in found.prepare(picture).pixels]  # noqa: B023

            yield name, found.smallest.num_tokens, encode
            backend.close()


def fastest_ms(work: Processor, picture: Image.Image, repeat: int) -> float:
    def once() -> float:
        start = perf_counter()
        work(picture)
        return perf_counter() - start

    return 1000 * min(once() for _ in range(repeat))


if __name__ == "__main__":
    main()
