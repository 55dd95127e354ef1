"""`axgate export` and `axgate recipe`: a Hugging Face checkpoint -> a package for the emulated card, or all
that the vendor's compiler needs to make one for a real card."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from backends.export import ExportOptions, export_package, export_recipe
from backends.export.package import Progress as Told
from gateway.calibration import prepare_folder
from gateway.vision.registry import Registry

DEFAULT = ExportOptions()


def export_arguments(parser: ArgumentParser) -> None:
    _shapes(parser)
    add = parser.add_argument
    add(
        "--weights", choices=["keep", "int8", "int4"], default=DEFAULT.weights, help="how matrices are stored"
    )
    add(
        "--vision-input",
        choices=["u8-nhwc", "f32-nchw"],
        default=DEFAULT.vision_input,
        help="what vision graphs take that see whole pictures (default: %(default)s)",
    )
    parser.set_defaults(run=_export)


def recipe_arguments(parser: ArgumentParser) -> None:
    _shapes(parser)
    add = parser.add_argument
    add("--pictures", type=Path, metavar="DIR", help="pictures to measure the vision graph's quantisation on")
    add(
        "--vision-models",
        type=Path,
        metavar="FILE",
        help="a vision_models.json to use instead of the built-in one",
    )
    parser.set_defaults(run=_recipe)


def _shapes(parser: ArgumentParser) -> None:
    histories = " ".join(str(rows) for rows in DEFAULT.histories)
    add = parser.add_argument
    add("checkpoint", type=Path, help="folder with config.json, *.safetensors and tokenizer.json")
    add("out", type=Path, help="folder to make; its name becomes the model's")
    add(
        "--kv-cache-len",
        type=int,
        default=DEFAULT.kv_cache_len,
        metavar="N",
        help="rows of a KV cache, the most tokens of a conversation (default: %(default)s)",
    )
    add(
        "--prefill-len",
        type=int,
        default=DEFAULT.prefill_len,
        metavar="N",
        help="tokens of one prefill call (default: %(default)s)",
    )
    add(
        "--histories",
        type=int,
        nargs="+",
        default=DEFAULT.histories,
        metavar="N",
        help=f"cache rows that prefill calls after the first can see, one group each (default: {histories})",
    )
    add("--image-width", type=int, metavar="N", help="pixels (default: the checkpoint's or its family's)")
    add("--image-height", type=int, metavar="N", help="pixels (default: the checkpoint's or its family's)")


def _export(options: Namespace) -> None:
    chosen = replace(_chosen(options), weights=options.weights, vision_input=options.vision_input)
    with _progress() as show:
        export_package(options.checkpoint, options.out, chosen, show)
    print(f"Serve it with: axgate serve --device emulator --model {options.out}", file=sys.stderr)


def _recipe(options: Namespace) -> None:
    registry = Registry.load(options.vision_models)
    with _progress() as show:
        prepare = partial(prepare_folder, options.pictures, registry, options.checkpoint)
        export_recipe(options.checkpoint, options.out, _chosen(options), prepare, show)
    print(f"Compile it, where Pulsar2 is installed, with: sh {options.out}/build.sh", file=sys.stderr)


def _chosen(options: Namespace) -> ExportOptions:
    return ExportOptions(
        kv_cache_len=options.kv_cache_len,
        prefill_len=options.prefill_len,
        histories=tuple(options.histories),
        image_width=options.image_width,
        image_height=options.image_height,
    )


@contextmanager
def _progress() -> Iterator[Told]:
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("reading the checkpoint", total=None)

        def show(name: str, num_written: int, num_files: int) -> None:
            progress.update(task, description=name, completed=num_written, total=num_files)

        yield show
