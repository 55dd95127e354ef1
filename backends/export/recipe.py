"""What the vendor's compiler needs to make a package for a real card: a folder to be run through Pulsar2.

Sources: the Pulsar2 documentation (6.0: build configuration, llm_build) and the conversion folders of the
published Qwen3-VL, InternVL3 and SmolVLM2 packages.
"""

import io
import json
import shlex
import tarfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import onnx
from onnx import helper
from PIL import Image

from backends.base import Array, TensorSpec
from backends.export.checkpoint import Checkpoint
from backends.export.errors import ExportError
from backends.export.model import Model
from backends.export.options import ExportOptions
from backends.export.package import Files, PackageFiles, Progress, read_model, write_folder
from backends.export.source import VisionSource, vision_source

VISION, CONFIG, CALIBRATION, SCRIPT, PACKAGE = (
    "vision.onnx",
    "vision.json",
    "calibration.tar",
    "build.sh",
    "package",
)


Prepare = Callable[[str, TensorSpec], Sequence[Array]]
"""Layer prefix and input of a vision graph -> prepared pictures, (1, rows, columns, 3) uint8 each."""


def export_recipe(
    checkpoint: Path, out: Path, options: ExportOptions, prepare: Prepare, progress: Progress
) -> None:
    """Turn a Hugging Face checkpoint folder into a folder `out` with all that `out/build.sh` needs to make a
    package: the vision graph as ONNX and its configuration, the pictures its quantisation is measured on, and
    the files of a package that are not compiled.

    `prepare` is asked once, for a model with a vision graph. Raises ExportError for a checkpoint that cannot
    be exported, and where `prepare` has no pictures.
    """
    source = Checkpoint(checkpoint)
    model = read_model(source, options)
    package = PackageFiles(source, model, options, out.name)
    files: Files = {f"{PACKAGE}/{name}": write for name, write in package.around_the_graphs().items()}
    if model.vision is not None:
        graph = model.vision.build().model()
        pixels = prepare(model.file_prefix, _input(graph))
        if not pixels:
            raise ExportError("pictures: expected some, for the quantisation of the vision graph")
        vision = vision_source(graph)
        files[VISION] = partial(onnx.save, vision.model)
        files[CONFIG] = lambda file: file.write_text(json.dumps(vision_config(vision), indent=2) + "\n")
        files[CALIBRATION] = partial(_write_pictures, pixels)
    script = build_script(str(checkpoint.resolve()), model, options, package.vision_file)
    write_folder(files | {SCRIPT: lambda file: file.write_text(script)}, out, progress)


def build_script(checkpoint: str, model: Model, options: ExportOptions, vision_file: str) -> str:
    """The commands of the vendor's toolchain, to be run in the recipe's folder."""
    steps = [language_command(checkpoint, options)]
    if model.vision is not None:
        steps += [vision_command(vision_file), ["cp", f"build/{vision_file}", f"{PACKAGE}/"]]
    lines = [" ".join(map(shlex.quote, step)) for step in steps]
    return "\n".join(["#!/bin/sh", "set -e", 'cd "$(dirname "$0")"', *lines]) + "\n"


def vision_command(vision_file: str) -> list[str]:
    """Step one: the vision graph, from ONNX."""
    files = ["--input", VISION, "--config", CONFIG, "--output_dir", "build", "--output_name", vision_file]
    return ["pulsar2", "build", *files, "--target_hardware", "AX650", "--compiler.check", "0"]


def language_command(checkpoint: str, options: ExportOptions) -> list[str]:
    """Step two: the layers and the head, from the checkpoint itself."""
    files = ["--input_path", checkpoint, "--output_path", PACKAGE]
    sizes = ["--kv_cache_len", str(options.kv_cache_len), "--prefill_len", str(options.prefill_len)]
    histories = [word for rows in options.histories for word in ("--last_kv_cache_len", str(rows))]
    target = ["--chip", "AX650", "--hidden_state_type", "bf16", "--parallel", "8"]
    return ["pulsar2", "llm_build", *files, *sizes, *histories, *target]


def vision_config(vision: VisionSource) -> dict[str, Any]:
    """Of `pulsar2 build`: the compiled graph takes uint8 pixels with their colours last, and normalises
    them; quantisation is measured on the pictures of the archive."""
    return {
        "model_type": "ONNX",
        "npu_mode": "NPU3",
        "quant": {
            "input_configs": [
                {
                    "tensor_name": vision.input_name,
                    "calibration_dataset": CALIBRATION,
                    "calibration_format": "Image",
                    "calibration_size": -1,
                    "calibration_mean": vision.mean,
                    "calibration_std": vision.std,
                }
            ],
            "calibration_method": "MinMax",
            "conv_bias_data_type": "FP32",
            "enable_smooth_quant": True,
            "disable_auto_refine_scale": True,
            "layer_configs": [
                {"start_tensor_names": ["DEFAULT"], "end_tensor_names": ["DEFAULT"], "data_type": "U16"}
            ],
        },
        "input_processors": [
            {
                "tensor_name": vision.input_name,
                "tensor_format": "RGB",
                "tensor_layout": "NCHW",
                "src_format": "RGB",
                "src_dtype": "U8",
                "src_layout": "NHWC",
            }
        ],
    }


def _input(graph: onnx.ModelProto) -> TensorSpec:
    (pixels,) = graph.graph.input
    dtype = helper.tensor_dtype_to_np_dtype(pixels.type.tensor_type.elem_type)
    return TensorSpec(
        pixels.name, str(dtype), tuple(each.dim_value for each in pixels.type.tensor_type.shape.dim)
    )


def _write_pictures(pixels: Sequence[Array], file: Path) -> None:
    """As pictures, which is what the compiler reads: for it a graph input of patches is a picture too."""
    with tarfile.open(file, "w") as archive:
        for number, data in enumerate(pixels):
            picture = io.BytesIO()
            Image.fromarray(data[0]).save(picture, "PNG")
            entry = tarfile.TarInfo(f"{number:04}.png")
            entry.size = picture.tell()
            picture.seek(0)
            archive.addfile(entry, picture)
