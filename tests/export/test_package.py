import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from safetensors.numpy import load_file

from backends.export import ExportError, ExportOptions, export_package
from backends.export.configuration import Section
from backends.export.package import sampling_defaults
from tests.export.checkpoints import tiny_qwen3_vl, tiny_text

DEFAULTS = ExportOptions()
LAYERS = [f"qwen3_vl_text_p128_l{index}_together.axmodel" for index in range(4)]


def package(checkpoint: Path, options: ExportOptions = DEFAULTS) -> Path:
    out = checkpoint.parent / "Tiny-VL"
    export_package(checkpoint, out, options, lambda *_: None)
    return out


def config_of(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return config


def test_a_package_has_the_files_of_a_published_one(tmp_path: Path) -> None:
    checkpoint = tiny_qwen3_vl(tmp_path / "checkpoint")
    (checkpoint / "tokenizer.json").write_text("{}")
    (checkpoint / "README.md").write_text("of no use on a card")
    out = package(checkpoint)
    files = {file.relative_to(out).as_posix() for file in out.rglob("*") if file.is_file()}
    assert files == {
        *LAYERS,
        "qwen3_vl_text_post.axmodel",
        "Tiny-VL_vision.axmodel",
        "model.embed_tokens.weight.bfloat16.bin",
        "config.json",
        "post_config.json",
        "tokenizer/tokenizer.json",
        "tokenizer/preprocessor_config.json",
    }


def test_config_speaks_the_vendors_schema(tmp_path: Path) -> None:
    assert config_of(package(tiny_qwen3_vl(tmp_path / "checkpoint"))) == {
        "model_name": "Tiny-VL",
        "tokenizer_type": "Qwen3VL",
        "url_tokenizer_model": "tokenizer",
        "template_filename_axmodel": "qwen3_vl_text_p128_l%d_together.axmodel",
        "axmodel_num": 4,
        "filename_post_axmodel": "qwen3_vl_text_post.axmodel",
        "filename_tokens_embed": "model.embed_tokens.weight.bfloat16.bin",
        "tokens_embed_num": 512,
        "tokens_embed_size": 64,
        "post_config_path": "post_config.json",
        "filename_image_encoder_axmodel": "Tiny-VL_vision.axmodel",
        "vlm_type": "Qwen3VL",
        "vision_width": 32,
        "vision_height": 32,
        "vision_patch_size": 8,
        "vision_temporal_patch_size": 2,
        "vision_spatial_merge_size": 2,
    }


def test_a_text_model_has_no_vision_in_it(tmp_path: Path) -> None:
    out = package(tiny_text(tmp_path / "checkpoint"))
    assert sorted(file.name for file in out.glob("*.axmodel")) == [
        "qwen3_p128_l0_together.axmodel",
        "qwen3_p128_l1_together.axmodel",
        "qwen3_p128_l2_together.axmodel",
        "qwen3_post.axmodel",
    ]
    assert not [key for key in config_of(out) if "vision" in key or "image" in key or "vlm" in key]


def test_the_embedding_table_is_raw_bf16(tmp_path: Path) -> None:
    checkpoint = tiny_text(tmp_path / "checkpoint", dtype=np.float16)
    table = load_file(checkpoint / "model.safetensors")["model.embed_tokens.weight"]
    written = (package(checkpoint) / "model.embed_tokens.weight.bfloat16.bin").read_bytes()
    assert written == table.astype(ml_dtypes.bfloat16).tobytes()


def test_graphs_name_their_groups_and_compiler(tmp_path: Path) -> None:
    options = ExportOptions(kv_cache_len=31, prefill_len=8, histories=(8, 24))
    out = package(tiny_text(tmp_path / "checkpoint"), options)
    model = onnx.load(out / "qwen3_p8_l2_together.axmodel")
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    masks = [group["inputs"][4]["shape"] for group in json.loads(metadata["axgate.groups"])]
    assert masks == [[1, 1, 32], [1, 8, 8], [1, 8, 16], [1, 8, 32]]
    assert metadata["axgate.compiler"] == "axgate export 1"
    assert (model.ir_version, model.opset_import[0].version) == (10, 21)


def test_weights_are_stored_in_the_checkpoints_type(tmp_path: Path) -> None:
    out = package(tiny_qwen3_vl(tmp_path / "checkpoint", dtype=ml_dtypes.bfloat16))
    weights = onnx.load(out / LAYERS[0]).graph.initializer
    types = {weight.data_type for weight in weights if weight.name.endswith(".weight")}
    assert types == {onnx.TensorProto.BFLOAT16}


@pytest.mark.parametrize(
    ("size", "options", "expected"),
    [
        ({"shortest_edge": 9216, "longest_edge": 9216}, DEFAULTS, (96, 96)),
        ({"shortest_edge": 65536, "longest_edge": 16777216}, DEFAULTS, (384, 384)),
        (None, DEFAULTS, (384, 384)),
        ({"shortest_edge": 9216, "longest_edge": 9216}, ExportOptions(image_width=64), (64, 96)),
        (None, ExportOptions(image_width=64, image_height=32), (64, 32)),
    ],
)
def test_the_picture_size_is_chosen_fixed_or_384(
    tmp_path: Path, size: dict[str, int] | None, options: ExportOptions, expected: tuple[int, int]
) -> None:
    checkpoint = tiny_qwen3_vl(tmp_path / "checkpoint")
    (checkpoint / "preprocessor_config.json").write_text(json.dumps({"size": size}))
    config = config_of(package(checkpoint, options))
    assert (config["vision_width"], config["vision_height"]) == expected


def test_a_picture_size_that_splits_no_patches_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="image size 40x32: expected multiples of 16 pixels"):
        package(tiny_qwen3_vl(tmp_path / "checkpoint"), ExportOptions(image_width=40))


def test_sampling_defaults_are_those_of_the_checkpoint() -> None:
    published = {"do_sample": True, "temperature": 0.7, "top_p": 0.8, "top_k": 20}
    assert sampling_defaults(Section(Path("generation_config.json"), "", published)) == {
        "enable_temperature": True,
        "temperature": 0.7,
        "enable_repetition_penalty": False,
        "repetition_penalty": 1.0,
        "penalty_window": 30,
        "enable_top_p_sampling": True,
        "top_p": 0.8,
        "enable_top_k_sampling": True,
        "top_k": 20,
    }


def test_without_generation_config_sampling_is_off() -> None:
    defaults = sampling_defaults(Section(Path("generation_config.json"), "", {}))
    assert not [key for key, value in defaults.items() if key.startswith("enable_") and value]


def test_progress_names_every_file_once_it_is_written(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    checkpoint = tiny_qwen3_vl(tmp_path / "checkpoint")
    export_package(checkpoint, tmp_path / "out", ExportOptions(), lambda *step: told.append(step))
    names = [name for name, _, _ in told]
    assert names[:6] == [*LAYERS, "qwen3_vl_text_post.axmodel", "out_vision.axmodel"]
    assert [(done, total) for _, done, total in told] == [(i, len(told)) for i in range(1, len(told) + 1)]
    assert all((tmp_path / "out" / name).is_file() for name in names)


def test_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    checkpoint = tiny_text(tmp_path / "checkpoint")
    out = package(checkpoint)
    with pytest.raises(ExportError, match="Tiny-VL: expected a folder that does not exist yet"):
        export_package(checkpoint, out, ExportOptions(), lambda *_: None)
    assert (out / "config.json").is_file()


def test_an_export_that_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(name: str, num_done: int, _: int) -> None:
        if num_done == 3:
            raise KeyboardInterrupt

    checkpoint = tiny_text(tmp_path / "checkpoint")
    with pytest.raises(KeyboardInterrupt):
        export_package(checkpoint, tmp_path / "out", ExportOptions(), interrupt)
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint"]


def test_the_same_checkpoint_gives_the_same_bytes(tmp_path: Path) -> None:
    checkpoint = tiny_qwen3_vl(tmp_path / "checkpoint")
    for name in ("one/package", "two/package"):
        export_package(checkpoint, tmp_path / name, ExportOptions(), lambda *_: None)
    for file in (tmp_path / "one" / "package").rglob("*.*"):
        assert file.read_bytes() == (tmp_path / "two" / file.relative_to(tmp_path / "one")).read_bytes()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (
            ExportOptions(kv_cache_len=10),
            "kv_cache_len: expected more rows than the last history, 1152, got 10",
        ),
        (ExportOptions(prefill_len=0), "prefill_len: expected 2 positions or more, got 0"),
        (
            ExportOptions(histories=(128, 128)),
            r"histories: expected rising numbers of rows above 0, got \[128, 128\]",
        ),
        (ExportOptions(histories=(0, 128)), "histories: expected rising numbers"),
        (ExportOptions(image_width=0), "image_width: expected 1 pixel or more, got 0"),
        (ExportOptions(image_height=-32), "image_height: expected 1 pixel or more, got -32"),
    ],
)
def test_shapes_that_no_package_can_have_are_refused(
    tmp_path: Path, options: ExportOptions, complaint: str
) -> None:
    with pytest.raises(ExportError, match=complaint):
        package(tiny_text(tmp_path / "checkpoint"), options)
