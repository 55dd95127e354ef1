import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from backends.base import TensorSpec
from gateway.vision.registry import ENTRIES, SCHEMA, Registry, RegistryError

ENTRY: dict[str, Any] = {
    "family": "qwen3_vl",
    "prefix": "qwen3_vl_text",
    "width": 96,
    "height": 64,
    "patch_size": 8,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "resample": "bicubic",
    "marker": "<|image_pad|>",
}


def write(folder: Path, text: str) -> Path:
    path = folder / "entries.json"
    path.write_text(text)
    return path


def refusal(folder: Path, text: str) -> str:
    """What `load` says of a file, without the path in front."""
    path = write(folder, text)
    with pytest.raises(RegistryError) as error:
        Registry.load(path)
    assert str(error.value).startswith(f"{path}: ")
    return str(error.value).removeprefix(f"{path}: ")


def test_the_entries_that_come_with_the_package_are_valid() -> None:
    assert [encoder.spec.name for encoder in Registry.load().encoders] == ["qwen3-vl-384", "axgate-demo-96"]


def test_the_schema_is_a_schema_and_describes_every_field() -> None:
    schema = json.loads(SCHEMA.read_text())
    Draft202012Validator.check_schema(schema)
    entry = schema["$defs"]["entry"]
    assert set(entry["properties"]) == set(entry["required"]) == set(ENTRY)
    assert all(field["description"] for field in entry["properties"].values())
    assert json.loads(ENTRIES.read_text())


def test_a_published_package_finds_its_entry() -> None:
    graph_input = TensorSpec("hidden_states", "uint8", (1, 576, 512, 3))
    encoder = Registry.load().find("qwen3_vl_text", graph_input)
    assert (encoder.spec.name, encoder.num_tokens_per_image) == ("qwen3-vl-384", 144)
    assert encoder.input_spec() == graph_input


def test_the_name_of_the_graph_input_does_not_matter() -> None:
    encoder = Registry.load().find("qwen3_vl_text", TensorSpec("pixels", "uint8", (1, 144, 128, 3)))
    assert encoder.spec.name == "axgate-demo-96"


@pytest.mark.parametrize(
    ("prefix", "dtype", "shape"),
    [
        ("qwen3_vl_text", "float32", (1, 144, 128, 3)),
        ("qwen3_vl_text", "uint8", (1, 400, 512, 3)),
        ("internvl", "uint8", (1, 144, 128, 3)),
    ],
)
def test_a_graph_that_no_entry_fits_is_told_what_there_is(
    prefix: str, dtype: str, shape: tuple[int, ...]
) -> None:
    with pytest.raises(RegistryError) as error:
        Registry.load().find(prefix, TensorSpec("hidden_states", dtype, shape))
    assert str(error.value) == (
        f"no entry fits the vision graph of this '{prefix}' package: its input is {dtype} {list(shape)}. "
        "Entries: 'qwen3-vl-384' for 'qwen3_vl_text' takes uint8 [1, 576, 512, 3]; "
        "'axgate-demo-96' for 'qwen3_vl_text' takes uint8 [1, 144, 128, 3]"
    )


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"width": "96"}, "entry 'a', field 'width': '96' is not of type 'integer'"),
        ({"patch_size": 0}, "entry 'a', field 'patch_size': 0 is less than the minimum of 1"),
        ({"resample": "lanczos"}, "entry 'a', field 'resample': 'lanczos' is not one of ['bicubic']"),
        ({"size": 1}, "entry 'a': Additional properties are not allowed ('size' was unexpected)"),
        ({"family": "qwen9"}, "entry 'a', field 'family': expected one of ['qwen3_vl'], got 'qwen9'"),
        (
            {"height": 100},
            "entry 'a', field 'height': expected a multiple of patch_size * merge_size (16), got 100",
        ),
    ],
)
def test_a_wrong_field_is_named_with_what_was_expected(
    tmp_path: Path, change: dict[str, Any], sentence: str
) -> None:
    assert refusal(tmp_path, json.dumps({"a": ENTRY | change})) == sentence


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    entry = {field: value for field, value in ENTRY.items() if field != "merge_size"}
    assert refusal(tmp_path, json.dumps({"a": entry})) == "entry 'a': 'merge_size' is a required property"


def test_an_entry_written_twice_is_refused(tmp_path: Path) -> None:
    entry = json.dumps(ENTRY)
    assert refusal(tmp_path, f'{{"a": {entry}, "a": {entry}}}') == "'a' is there twice, expected once"


def test_entries_that_no_package_can_tell_apart_are_refused(tmp_path: Path) -> None:
    turned = ENTRY | {"width": 64, "height": 96}
    assert refusal(tmp_path, json.dumps({"a": ENTRY, "b": turned})) == (
        "entries 'a' and 'b' take the same input uint8 [1, 96, 128, 3] of the same prefix 'qwen3_vl_text', "
        "so no package can tell which is meant"
    )


def test_the_same_input_under_another_prefix_is_another_package(tmp_path: Path) -> None:
    path = write(tmp_path, json.dumps({"a": ENTRY, "b": ENTRY | {"prefix": "other"}}))
    graph_input = TensorSpec("hidden_states", "uint8", (1, 96, 128, 3))
    assert Registry.load(path).find("other", graph_input).spec.name == "b"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "5"])
def test_a_file_that_is_no_object_of_entries_is_refused(tmp_path: Path, text: str) -> None:
    assert refusal(tmp_path, text)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="cannot be read: No such file"):
        Registry.load(tmp_path / "nothing.json")
