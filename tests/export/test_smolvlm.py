import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnxruntime
import pytest

from backends.base import Array
from backends.export import ExportError, ExportOptions, export_package
from backends.export.checkpoint import Checkpoint
from backends.export.options import VisionInput
from backends.export.smolvlm import read_model
from backends.export.source import vision_source
from backends.patch_embedding import FILE, PatchEmbedding
from gateway.vision.normal import normal
from tests.export.checkpoints import IMAGE_MEAN, IMAGE_STD
from tests.export.runner import GraphFile
from tests.export.smolvlm_checkpoint import tiny_smolvlm
from tests.families import internvl

FEATURE_BOUND = 3e-6  # of the largest feature; fp32 on both sides


def package(checkpoint: Path, vision_input: VisionInput = "u8-nhwc", **options: Any) -> Path:
    out = checkpoint.parent / f"Tiny-{vision_input}"
    chosen = ExportOptions(95, 16, (16, 32), vision_input=vision_input, **options)
    export_package(checkpoint, out, chosen, lambda *_: None)
    return out


def vision(folder: Path) -> GraphFile:
    return GraphFile(folder / f"{folder.name}_vision.axmodel")


def refusal(checkpoint: Path, vision_input: VisionInput = "u8-nhwc", **options: Any) -> str:
    with pytest.raises(ExportError) as error:
        package(checkpoint, vision_input, **options)
    return str(error.value).removeprefix(f"{checkpoint}/")


def change(checkpoint: Path, file: str, section: str | None, **fields: Any) -> Path:
    config = json.loads((checkpoint / file).read_text())
    (config if section is None else config[section]).update(fields)
    (checkpoint / file).write_text(json.dumps(config))
    return checkpoint


def tiles(number: int, edge: int) -> Array:
    """uint8, channels last."""
    return np.random.default_rng(1).integers(0, 256, (number, edge, edge, 3), dtype=np.uint8)


def test_config_speaks_the_vendors_schema(tmp_path: Path) -> None:
    config = json.loads((package(tiny_smolvlm(tmp_path / "checkpoint")) / "config.json").read_text())
    told = {key: value for key, value in config.items() if key in ("tokenizer_type", "axmodel_num")}
    told |= {key: value for key, value in config.items() if key.startswith(("template", "vision", "vlm"))}
    assert told == {
        "tokenizer_type": "SmolVLM",
        "template_filename_axmodel": "llama_p16_l%d_together.axmodel",
        "axmodel_num": 3,
        "vlm_type": "SmolVLM2",
        "vision_width": 32,
        "vision_height": 32,
        "vision_patch_size": 8,
    }


@pytest.mark.parametrize(
    ("vision_input", "inputs", "outputs"),
    [
        ("u8-nhwc", {"pixel_values": ("uint8", [1, 32, 32, 3])}, [1, 4, 64]),
        ("f32-nchw", {"pixel_values": ("float32", [1, 3, 32, 32])}, [1, 4, 64]),
        ("f32-patches", {"input": ("float32", [5, 16, 32])}, [5, 4, 64]),
    ],
)
def test_graphs_take_what_was_asked_for(
    vision_input: VisionInput, inputs: dict[str, Any], outputs: list[int], tmp_path: Path
) -> None:
    (group,) = vision(package(tiny_smolvlm(tmp_path / "checkpoint"), vision_input)).groups
    assert {each["name"]: (each["dtype"], each["shape"]) for each in group["inputs"]} == inputs
    assert [(each["name"], each["dtype"], each["shape"]) for each in group["outputs"]] == [
        ("output", "float32", outputs)
    ]


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("shape", [{}, {"tile_size": 38, "patch_size": 6, "merge_size": 3}])
def test_the_three_kinds_of_graphs_compute_the_same(
    shape: dict[str, Any], dtype: Any, tmp_path: Path
) -> None:
    checkpoint = tiny_smolvlm(tmp_path / "checkpoint", dtype=dtype, **shape)
    edge, patch = shape.get("tile_size", 32), shape.get("patch_size", 8)
    given = tiles(5, edge)
    mean, std = tuple(IMAGE_MEAN), tuple(IMAGE_STD)
    normalised = [normal(tile, (mean[0], mean[1], mean[2]), (std[0], std[1], std[2])) for tile in given]
    raw, plain, late = (package(checkpoint, kind) for kind in ("u8-nhwc", "f32-nchw", "f32-patches"))
    wanted = [vision(raw).run({"pixel_values": tile[np.newaxis]})["output"][0] for tile in given]
    found = [vision(plain).run({"pixel_values": tile[np.newaxis]})["output"][0] for tile in normalised]
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    embedding = PatchEmbedding.load(late, patch, edge // patch, 32)
    embeds = np.stack([embedding.embeds(tile) for tile in normalised])
    np.testing.assert_allclose(vision(late).run({"input": embeds})["output"], wanted, atol=1e-4)


def test_the_graph_for_the_vendors_compiler_computes_the_same(tmp_path: Path) -> None:
    checkpoint = tiny_smolvlm(tmp_path / "checkpoint")
    (tile,) = tiles(1, 32)
    wanted = vision(package(checkpoint)).run({"pixel_values": tile[np.newaxis]})["output"]
    built = read_model(Checkpoint(checkpoint), ExportOptions()).vision
    assert built is not None
    source = vision_source(built.build().model())
    session = onnxruntime.InferenceSession(source.model.SerializeToString())
    pixels = ((tile - np.array(source.mean)) / np.array(source.std)).transpose(2, 0, 1)
    (found,) = session.run(None, {source.input_name: pixels[np.newaxis].astype(np.float32)})
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_the_weights_can_be_given_to_a_package_later(tmp_path: Path) -> None:
    checkpoint = tiny_smolvlm(tmp_path / "checkpoint")
    exported = package(checkpoint, "f32-patches") / FILE
    written = exported.read_bytes()
    exported.unlink()
    command = [sys.executable, "-m", "backends.export.smolvlm_patches"]
    told = subprocess.run(
        [*command, checkpoint, exported.parents[1]], capture_output=True, text=True, check=True
    )
    assert told.stdout == f"{exported}\n"
    assert exported.read_bytes() == written


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["one"], "usage: "),
        (["{here}/nothing", "{here}"], "{here}/nothing/config.json: expected a JSON file"),
    ],
)
def test_the_command_says_what_is_wrong(arguments: list[str], told: str, tmp_path: Path) -> None:
    given = [argument.format(here=tmp_path) for argument in arguments]
    command = [sys.executable, "-m", "backends.export.smolvlm_patches", *given]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 1
    assert answer.stderr.startswith(told.format(here=tmp_path))


@pytest.mark.parametrize(
    ("section", "fields", "told"),
    [
        (
            "vision_config",
            {"hidden_act": "gelu"},
            'config.json: vision_config.hidden_act: expected "gelu_pytorch_tanh", found "gelu"',
        ),
        (
            "vision_config",
            {"num_attention_heads": 5},
            "config.json: vision_config.num_attention_heads: expected a divisor of 32, found 5",
        ),
        (
            None,
            {"scale_factor": 3},
            "image size 32x32: expected a square with a multiple of 3 patches of 8 pixels along its edge",
        ),
    ],
)
def test_what_no_graph_computes_is_refused(
    section: str | None, fields: dict[str, Any], told: str, tmp_path: Path
) -> None:
    checkpoint = change(tiny_smolvlm(tmp_path / "checkpoint"), "config.json", section, **fields)
    assert refusal(checkpoint) == told


def test_pictures_have_to_be_square(tmp_path: Path) -> None:
    assert refusal(tiny_smolvlm(tmp_path / "checkpoint"), image_width=64) == (
        "image size 64x32: expected a square with a multiple of 2 patches of 8 pixels along its edge"
    )


def test_how_many_tiles_there_are_has_to_be_told(tmp_path: Path) -> None:
    size = {"longest_edge": 80}
    checkpoint = change(tiny_smolvlm(tmp_path / "checkpoint"), "preprocessor_config.json", None, size=size)
    assert refusal(checkpoint, "f32-patches") == (
        "preprocessor_config.json: size: expected a longest_edge that is a multiple of 32, found "
        '{"longest_edge": 80}'
    )


def test_other_towers_have_no_graphs_of_patches(tmp_path: Path) -> None:
    next(iter(internvl.CASES.values())).write_checkpoint(tmp_path / "checkpoint", 0)
    assert refusal(tmp_path / "checkpoint", "f32-patches") == (
        "vision_input: expected u8-nhwc or f32-nchw for this model, got f32-patches"
    )


@pytest.mark.parity
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("edge", [32, 48, 64, 80])
@pytest.mark.parametrize("model_type", ["smolvlm", "idefics3"])
def test_tiles_of_any_size_are_seen_as_transformers_sees_them(
    model_type: str, edge: int, tmp_path: Path
) -> None:
    """The table of positions is for 32 pixels."""
    import torch
    from transformers import AutoModelForImageTextToText

    checkpoint = tiny_smolvlm(tmp_path / "checkpoint", model_type)
    model = AutoModelForImageTextToText.from_pretrained(checkpoint, dtype=torch.float32).eval()
    graph = vision(package(checkpoint, "f32-nchw", image_width=edge, image_height=edge))
    (tile,) = tiles(1, edge)
    pixels = ((tile / 255 - 0.5) / 0.5).transpose(2, 0, 1)[np.newaxis].astype(np.float32)
    with torch.no_grad():
        wanted = model.model.get_image_features(torch.from_numpy(pixels)[None]).pooler_output[0].numpy()
    found = graph.run({"pixel_values": pixels})["output"][0]
    assert np.abs(found - wanted).max() <= FEATURE_BOUND * np.abs(wanted).max()
