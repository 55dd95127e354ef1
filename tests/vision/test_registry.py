import json
from pathlib import Path
from typing import Any

import pytest

from backends.base import TensorSpec
from gateway.vision.registry import ENTRIES, FAMILIES, Registry, RegistryError

ENTRY: dict[str, Any] = {
    "family": "qwen3_vl",
    "prefixes": ["qwen3_vl_text"],
    "marker": "<|image_pad|>",
    "placeholder": "<|image_pad|>",
    "width": 96,
    "height": 64,
    "patch_size": 8,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "resample": "bicubic",
}
VIDEO = {"marker": "<|video_pad|>", "placeholder": "<|video_pad|>", "fps": 2.0, "max_frames": 8}
INPUT = TensorSpec("hidden_states", "uint8", (1, 96, 128, 3))


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


def test_every_built_in_entry_is_read_and_every_family_has_one() -> None:
    registry = Registry.load()
    names = [entry.name for entry in registry.entries]
    refused = {refusal.family for refusal in registry.refusals}
    assert len(names) + len(registry.refusals) == len(json.loads(ENTRIES.read_text()))
    assert {entry.spec.family for entry in registry.entries} == set(FAMILIES)
    assert not refused & set(FAMILIES)


def test_a_published_package_finds_its_entry() -> None:
    graph_input = TensorSpec("hidden_states", "uint8", (1, 576, 512, 3))
    encoder = Registry.load().find("qwen3_vl_text", graph_input)
    assert (encoder.name, encoder.smallest.num_tokens) == ("qwen3-vl-384", 144)
    assert encoder.graph_input == graph_input


def test_the_name_of_the_graph_input_does_not_matter() -> None:
    encoder = Registry.load().find("qwen3_vl_text", TensorSpec("pixels", "uint8", (1, 144, 128, 3)))
    assert encoder.name == "axgate-demo-96"


@pytest.mark.parametrize(
    ("prefix", "graph_input", "told"),
    [
        (
            "qwen3_vl_text",
            TensorSpec("hidden_states", "float32", (1, 96, 128, 3)),
            "its input is float32 [1, 96, 128, 3]. Entries for 'qwen3_vl_text': "
            "'a' takes uint8 [1, 96, 128, 3]; 'b' takes uint8 [1, 64, 128, 3]",
        ),
        (
            "internvl",
            TensorSpec("hidden_states", "uint8", (1, 96, 128, 3)),
            "its input is uint8 [1, 96, 128, 3]. There are entries for qwen3_vl_text, y",
        ),
    ],
)
def test_a_graph_that_no_entry_fits_is_told_what_there_is(
    tmp_path: Path, prefix: str, graph_input: TensorSpec, told: str
) -> None:
    other = ENTRY | {"width": 64, "prefixes": ["qwen3_vl_text", "y"]}
    path = write(tmp_path, json.dumps({"a": ENTRY, "b": other}))
    with pytest.raises(RegistryError) as error:
        Registry.load(path).find(prefix, graph_input)
    assert str(error.value) == f"no entry fits the vision graph of this '{prefix}' package: {told}"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"width": "96"}, "entry 'a', field 'width': Input should be a valid integer, got \"96\""),
        (
            {"patch_size": 0},
            "entry 'a', field 'patch_size': Input should be greater than or equal to 1, got 0",
        ),
        (
            {"resample": "box"},
            "entry 'a', field 'resample': Input should be 'bicubic', 'bilinear' or 'lanczos', got \"box\"",
        ),
        ({"size": 1}, "entry 'a', field 'size': Extra inputs are not permitted, got 1"),
        (
            {"prefixes": []},
            "entry 'a', field 'prefixes': Tuple should have at least 1 item after validation, not 0, got []",
        ),
        (
            {"height": 100},
            "entry 'a', field 'height': expected a multiple of patch_size * merge_size (16), got 100",
        ),
        (
            {"family": "qwen9"},
            f"entry 'a', field 'family': expected one of {sorted(FAMILIES)}, got \"qwen9\"",
        ),
        (
            {"family": ["qwen3_vl"]},
            f"entry 'a', field 'family': expected one of {sorted(FAMILIES)}, got [\"qwen3_vl\"]",
        ),
        (
            {"video": VIDEO | {"fps": float("inf")}},
            "entry 'a', field 'video.fps': Input should be a finite number, got Infinity",
        ),
        (
            {"video": VIDEO | {"fps": 241}},
            "entry 'a', field 'video.fps': Input should be less than or equal to 240, got 241",
        ),
    ],
)
def test_a_wrong_field_is_named_with_what_was_expected(
    tmp_path: Path, change: dict[str, Any], sentence: str
) -> None:
    assert refusal(tmp_path, json.dumps({"a": ENTRY | change})) == sentence


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        (
            "janus-pro-384",
            {"mean": [0.5, float("nan"), 0.5]},
            "field 'mean.1': Input should be a finite number, got NaN",
        ),
        (
            "fastvlm-512",
            {"mean": [0, 0, 255]},
            "field 'mean.2': Input should be less than or equal to 1, got 255",
        ),
        (
            "minicpm-v-2.6",
            {"std": [0, 1, 1]},
            "field 'std.0': Input should be greater than or equal to 0.001, got 0",
        ),
        (
            "internvl-448",
            {"video": VIDEO | {"frame": "{} {}"}},
            "field 'video.frame': String should match pattern '^[^{}]*\\{\\}[^{}]*$', got \"{} {}\"",
        ),
    ],
)
def test_numbers_that_nothing_can_be_prepared_with_are_refused(
    tmp_path: Path, name: str, change: dict[str, Any], sentence: str
) -> None:
    entry = json.loads(ENTRIES.read_text())[name] | change
    assert refusal(tmp_path, json.dumps({name: entry})) == f"entry '{name}', {sentence}"


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    entry = {field: value for field, value in ENTRY.items() if field != "merge_size"}
    assert refusal(tmp_path, json.dumps({"a": entry})) == "entry 'a', field 'merge_size': Field required"


def test_an_entry_written_twice_is_refused(tmp_path: Path) -> None:
    entry = json.dumps(ENTRY)
    assert refusal(tmp_path, f'{{"a": {entry}, "a": {entry}}}') == "'a' is there twice, expected once"


def test_where_several_entries_fit_the_preferred_comes_first_and_then_the_order_of_the_file(
    tmp_path: Path,
) -> None:
    path = write(tmp_path, json.dumps({"a": ENTRY, "b": ENTRY, "c": ENTRY | {"prefixes": ["other"]}}))

    def found(*prefer: str) -> str:
        return Registry.load(path, prefer).find("qwen3_vl_text", INPUT).name

    assert [found(), found("b"), found("c", "b"), found("c")] == ["a", "b", "b", "a"]


def test_of_several_entries_that_fit_it_is_the_one_whose_placeholder_the_tokenizer_has(
    tmp_path: Path,
) -> None:
    entries = {name: ENTRY | {"placeholder": f"<{name}>"} for name in "abc"}
    path = write(tmp_path, json.dumps(entries))

    def found(tokens: str, *prefer: str) -> str:
        added = frozenset(f"<{token}>" for token in tokens)
        return Registry.load(path, prefer).find("qwen3_vl_text", INPUT, lambda: added).name

    assert [found("b"), found("cb"), found("cb", "c"), found("b", "c"), found("")] == [
        "b",
        "b",
        "c",
        "b",
        "a",
    ]


def test_a_tokenizer_is_not_read_where_one_entry_fits(tmp_path: Path) -> None:
    def never() -> frozenset[str]:
        raise AssertionError("read")

    path = write(tmp_path, json.dumps({"a": ENTRY}))
    assert Registry.load(path).find("qwen3_vl_text", INPUT, never).name == "a"


@pytest.mark.parametrize(
    ("token", "name"), [("<image_placeholder>", "janus-pro-384"), ("<image>", "smolvlm-384")]
)
@pytest.mark.parametrize(("dtype", "shape"), [("float32", (1, 3, 384, 384)), ("uint8", (1, 384, 384, 3))])
def test_models_with_the_same_graph_input_are_told_apart_by_their_tokens(
    token: str, name: str, dtype: str, shape: tuple[int, ...]
) -> None:
    graph_input = TensorSpec("image", dtype, shape)
    assert Registry.load().find("llama", graph_input, lambda: frozenset([token])).name == name


@pytest.mark.parametrize("prefix", ["qwen3_5_text", "gemma4_text", "gemma3n_text"])
def test_known_families_that_cannot_be_served_say_why(prefix: str) -> None:
    with pytest.raises(RegistryError, match=f"^'{prefix}' packages cannot be served: .*\\.$"):
        Registry.load().check(prefix, has_vision=True)


def test_to_prefer_an_entry_that_is_not_there_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, json.dumps({"a": ENTRY, "b": ENTRY}))
    with pytest.raises(RegistryError) as error:
        Registry.load(path, ["b", "d"])
    assert str(error.value) == f"{path}: there is no entry 'd'; there are a, b"


def test_a_package_that_lacks_what_all_of_its_family_have_is_refused() -> None:
    registry = Registry.load()
    registry.check("qwen3_vl_text", has_vision=True)
    registry.check("qwen3", has_vision=False)
    with pytest.raises(RegistryError) as error:
        registry.check("qwen3_vl_text", has_vision=False)
    assert str(error.value) == "the package lacks its vision graph, which a 'qwen3_vl_text' model needs"


def test_a_family_that_cannot_be_served_is_refused_with_its_reason(tmp_path: Path) -> None:
    reason = "its layers share their KV cache."
    entry = {"family": "shared", "prefixes": ["shared_text"], "refused": reason}
    registry = Registry.load(write(tmp_path, json.dumps({"a": ENTRY, "b": entry})))
    with pytest.raises(RegistryError) as error:
        registry.check("shared_text", has_vision=True)
    assert str(error.value) == f"'shared_text' packages cannot be served: {reason}"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "5", '{"a": 5}'])
def test_a_file_that_is_no_object_of_entries_is_refused(tmp_path: Path, text: str) -> None:
    assert refusal(tmp_path, text)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="cannot be read: No such file"):
        Registry.load(tmp_path / "nothing.json")
