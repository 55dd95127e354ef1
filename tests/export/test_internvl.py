"""InternVL checkpoints: both formats, their fields, and what is refused. What the graphs compute is compared
with transformers in tests/families."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from backends.export import ExportError, ExportOptions, export_package
from backends.export.internvl_vision import resample_bicubic
from tests.export.checkpoints import Config
from tests.export.runner import GraphFile
from tests.export.test_checkpoint import edit_config, edit_weights
from tests.families.internvl import TinyInternVL

OPTIONS = ExportOptions(63, 8, (8, 16))

# From the modules of OpenGVLab/InternVL3-1B, modeling_intern_vit.py and modeling_internvl_chat.py.
ORIGINAL = {
    "vision_tower.embeddings.cls_token": "vision_model.embeddings.class_embedding",
    "vision_tower.embeddings.position_embeddings": "vision_model.embeddings.position_embedding",
    "multi_modal_projector.layer_norm.weight": "mlp1.0.weight",
    "multi_modal_projector.layer_norm.bias": "mlp1.0.bias",
    "multi_modal_projector.linear_1.weight": "mlp1.1.weight",
    "multi_modal_projector.linear_1.bias": "mlp1.1.bias",
    "multi_modal_projector.linear_2.weight": "mlp1.3.weight",
    "multi_modal_projector.linear_2.bias": "mlp1.3.bias",
}
PATCHES = "vision_tower.embeddings.patch_embeddings.projection"
ORIGINAL_PATCHES = "vision_model.embeddings.patch_embedding"
ORIGINAL |= {f"{PATCHES}.{kind}": f"{ORIGINAL_PATCHES}.{kind}" for kind in ("weight", "bias")}
ORIGINAL_BLOCK = {
    "lambda_1": "ls1",
    "lambda_2": "ls2",
    "layernorm_before.weight": "norm1.weight",
    "layernorm_before.bias": "norm1.bias",
    "layernorm_after.weight": "norm2.weight",
    "layernorm_after.bias": "norm2.bias",
    "attention.q_norm.weight": "attn.q_norm.weight",
    "attention.k_norm.weight": "attn.k_norm.weight",
    "attention.projection_layer.weight": "attn.proj.weight",
    "attention.projection_layer.bias": "attn.proj.bias",
    "mlp.fc1.weight": "mlp.fc1.weight",
    "mlp.fc1.bias": "mlp.fc1.bias",
    "mlp.fc2.weight": "mlp.fc2.weight",
    "mlp.fc2.bias": "mlp.fc2.bias",
}


def saved(folder: Path, text: str = "qwen2", **options: Any) -> Path:
    TinyInternVL(text, **options)(folder, 0)
    return folder


def as_original(checkpoint: Path) -> None:
    """The folder as the original repositories have it."""
    tensors = load_file(checkpoint / "model.safetensors")
    for index in range(3):
        ours, theirs = f"vision_tower.encoder.layer.{index}.", f"vision_model.encoder.layers.{index}."
        for kind in ("weight", "bias"):
            names = [f"{ours}attention.{part}_proj.{kind}" for part in "qkv"]
            if names[0] in tensors:
                tensors[f"{theirs}attn.qkv.{kind}"] = np.concatenate([tensors.pop(name) for name in names])
        for name, original in ORIGINAL_BLOCK.items():
            if ours + name in tensors:
                tensors[theirs + original] = tensors.pop(ours + name)
    for name, original in ORIGINAL.items():
        tensors[original] = tensors.pop(name)
    assert not any(name.startswith(("vision_tower", "multi_modal")) for name in tensors)
    save_file(tensors, checkpoint / "model.safetensors")
    edit_config(checkpoint, rewrite_config)


def rewrite_config(config: Config) -> None:
    vision = config["vision_config"]
    config["model_type"] = "internvl_chat"
    config["llm_config"] = config.pop("text_config") | {
        "tie_word_embeddings": config.pop("tie_word_embeddings")
    }
    config |= {"ps_version": "v2", "select_layer": -1, "force_image_size": 32}
    vision |= {"image_size": vision["image_size"][0], "patch_size": vision["patch_size"][0]}
    vision["qkv_bias"] = vision.pop("attention_bias")
    vision["qk_normalization"] = vision.pop("use_qk_norm")


def export(checkpoint: Path, options: ExportOptions = OPTIONS) -> Path:
    package = checkpoint.with_name(f"{checkpoint.name}s") / "package"
    export_package(checkpoint, package, options, lambda *_: None)
    return package


def files(package: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(package)): file.read_bytes() for file in package.rglob("*") if file.is_file()
    }


def refusal(checkpoint: Path, options: ExportOptions = OPTIONS) -> str:
    with pytest.raises(ExportError) as caught:
        export(checkpoint, options)
    return str(caught.value).replace(f"{checkpoint}/", "")


@pytest.mark.parametrize(
    "options",
    [{}, {"text": "qwen3", "big": True}, {"tied": True}],
    ids=["Qwen2", "Qwen3 and the big tower", "tied"],
)
def test_both_formats_give_the_same_package(options: dict[str, Any], tmp_path: Path) -> None:
    ours, original = saved(tmp_path / "saved", **options), saved(tmp_path / "original", **options)
    as_original(original)
    assert files(export(original)) == files(export(ours))


def test_a_head_of_its_own_is_taken_whatever_the_configuration_says(tmp_path: Path) -> None:
    own, claimed = saved(tmp_path / "own"), saved(tmp_path / "claimed")
    edit_config(claimed, lambda config: config.update({"tie_word_embeddings": True}))
    assert files(export(claimed)) == files(export(own))


@pytest.mark.parametrize("key", ["rope_type", "type"])
def test_dynamic_rope_scaling_changes_nothing_within_its_limit(key: str, tmp_path: Path) -> None:
    plain, scaled = saved(tmp_path / "plain"), saved(tmp_path / "scaled")

    def scale(config: Config) -> None:
        text = config["text_config"]
        text["rope_theta"] = text.pop("rope_parameters")["rope_theta"]
        text |= {"rope_scaling": {key: "dynamic", "factor": 2.0}, "max_position_embeddings": 64}

    edit_config(scaled, scale)
    assert files(export(scaled)) == files(export(plain))
    assert refusal(scaled, ExportOptions(64, 8, (8, 16))) == (
        "kv_cache_len: expected less than text_config.max_position_embeddings (64) for dynamic rope scaling, "
        "got 64"
    )


def test_layer_files_are_called_after_the_text_model(tmp_path: Path) -> None:
    package = export(saved(tmp_path / "checkpoint", text="qwen3"))
    assert (package / "qwen3_p8_l0_together.axmodel").is_file()


@pytest.mark.parametrize(
    ("options", "taken"),
    [
        (OPTIONS, {"name": "pixel_values", "dtype": "uint8", "shape": [1, 32, 32, 3]}),
        (
            ExportOptions(63, 8, (8, 16), vision_input="f32-nchw"),
            {"name": "pixel_values", "dtype": "float32", "shape": [1, 3, 32, 32]},
        ),
        (
            ExportOptions(63, 8, (8, 16), image_width=64, image_height=64),
            {"name": "pixel_values", "dtype": "uint8", "shape": [1, 64, 64, 3]},
        ),
    ],
    ids=["uint8", "float32", "another size"],
)
def test_the_graph_takes_a_tile_and_gives_its_tokens(
    options: ExportOptions, taken: dict[str, Any], tmp_path: Path
) -> None:
    vision = GraphFile(export(saved(tmp_path / "checkpoint"), options) / "package_vision.axmodel")
    num_tokens = 4 * (options.image_width or 32) // 32 * (options.image_width or 32) // 32
    given = {"name": "features", "dtype": "float32", "shape": [1, num_tokens, 64]}
    assert vision.groups == [{"inputs": [taken], "outputs": [given]}]


def test_weights_in_bf16_compute_what_the_same_numbers_in_fp32_compute(tmp_path: Path) -> None:
    packages = []
    for name, dtype in (("short", ml_dtypes.bfloat16), ("long", np.float32)):
        checkpoint = saved(tmp_path / name)
        tensors = load_file(checkpoint / "model.safetensors")
        rounded = {key: tensor.astype(ml_dtypes.bfloat16).astype(dtype) for key, tensor in tensors.items()}
        save_file(rounded, checkpoint / "model.safetensors")
        packages.append(export(checkpoint))
    pixels = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), np.uint8)
    short, long = (
        GraphFile(package / "package_vision.axmodel").run({"pixel_values": pixels})["features"]
        for package in packages
    )
    np.testing.assert_allclose(short, long, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [(33, 33), (32, 48), (40, 40)])
def test_a_size_that_makes_no_tokens_is_refused(size: tuple[int, int], tmp_path: Path) -> None:
    options = ExportOptions(63, 8, (8, 16), image_width=size[0], image_height=size[1])
    assert refusal(saved(tmp_path / "checkpoint"), options) == (
        f"image size {size[0]}x{size[1]}: expected a square of a multiple of 16 pixels"
    )


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda config: config["text_config"].update(model_type="llama"),
            'text_config.model_type: expected one of qwen2, qwen3, found "llama"',
        ),
        (
            lambda config: config.update(downsample_ratio=0.3),
            "downsample_ratio: expected 1 over an integer, found 0.3",
        ),
        (
            lambda config: config.update(vision_feature_layer=-2),
            "vision_feature_layer: expected -1, found -2",
        ),
        (
            lambda config: config["vision_config"].update(norm_type="batch_norm"),
            'vision_config.norm_type: expected "layer_norm" or "rms_norm", found "batch_norm"',
        ),
        (
            lambda config: config["vision_config"].update(patch_size=[8, 4]),
            "vision_config.patch_size: expected two equal integers above 0, found [8, 4]",
        ),
        (
            lambda config: config["vision_config"].update(image_size=[36, 36]),
            "vision_config.image_size: expected a multiple of patch_size (8), found [36, 36]",
        ),
        (
            lambda config: config["vision_config"].update(num_attention_heads=5),
            "vision_config.num_attention_heads: expected a divisor of 32, found 5",
        ),
    ],
)
def test_what_no_graph_computes_is_refused(
    change: Callable[[Config], object], sentence: str, tmp_path: Path
) -> None:
    checkpoint = saved(tmp_path / "checkpoint")
    edit_config(checkpoint, change)
    assert refusal(checkpoint) == f"config.json: {sentence}"


def test_the_first_version_of_pixel_shuffle_is_refused(tmp_path: Path) -> None:
    checkpoint = saved(tmp_path / "checkpoint")
    as_original(checkpoint)
    edit_config(checkpoint, lambda config: config.update(ps_version="v1"))
    assert refusal(checkpoint) == 'config.json: ps_version: expected "v2", found "v1"'


@pytest.mark.parametrize("original", [False, True])
def test_a_missing_tensor_is_named_as_the_checkpoint_calls_it(original: bool, tmp_path: Path) -> None:
    checkpoint = saved(tmp_path / "checkpoint")
    name = "vision_tower.encoder.layer.1.attention.q_proj.weight"
    shape = [32, 32]
    if original:
        as_original(checkpoint)
        name, shape = "vision_model.encoder.layers.1.attn.qkv.weight", [96, 32]
    edit_weights(checkpoint, lambda tensors: tensors.pop(name))
    assert refusal(checkpoint).endswith(f"tensor {name}: expected a float tensor {shape}, found none")


def test_a_resampled_table_keeps_what_is_constant_and_what_is_linear_inside() -> None:
    constant = np.full((5, 5, 1), 3.0)
    np.testing.assert_allclose(resample_bicubic(constant, 7), np.full((7, 7, 1), 3.0), rtol=1e-6)
    linear = np.broadcast_to(np.arange(8.0)[:, None, None], (8, 8, 1))
    np.testing.assert_allclose(resample_bicubic(linear, 4)[1:3, 0, 0], [2.5, 4.5], rtol=1e-6)


@pytest.mark.parity
@pytest.mark.parametrize(("side", "num_rows"), [(4, 2), (6, 4), (4, 6), (32, 12), (12, 32), (5, 5)])
def test_a_resampled_table_is_that_of_torch(side: int, num_rows: int) -> None:
    import torch

    table = np.random.default_rng(0).standard_normal((side, side, 3)).astype(np.float32)
    planes = torch.from_numpy(table).permute(2, 0, 1)[None]
    wanted = torch.nn.functional.interpolate(
        planes, (num_rows, num_rows), mode="bicubic", align_corners=False
    )
    np.testing.assert_allclose(
        resample_bicubic(table, num_rows), wanted[0].permute(1, 2, 0).numpy(), atol=1e-5
    )
