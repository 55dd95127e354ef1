"""Packages whose faults show only when their graphs are read: one sentence each, and nothing stays on the
card. Looking at a package and loading it find the same."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from backends.axcl.package import Package, open_package
from backends.base import DeviceError, PackageError
from backends.emulator import Emulator
from tests.axcl.edits import Change, Groups, copied, regrouped, tensor
from tests.packages import free_bytes, opened, text_package, vision_package

LAYER0, LAYER1 = (f"qwen3_vl_text_p8_l{index}_together.axmodel" for index in range(2))


@pytest.fixture
def package(tmp_path: Path) -> Package:
    """A copy that a test may damage."""
    return copied(vision_package(), tmp_path / "package")


def complaint(package: Package) -> str:
    told = []
    with opened(Emulator()) as backend:
        before = free_bytes(backend)
        for use in (backend.describe, backend.decoder):
            with pytest.raises((PackageError, DeviceError)) as caught:
                use(package)
            assert free_bytes(backend) == before
            told.append(str(caught.value))
    assert told[0] == told[1]
    return told[0]


def test_a_layer_of_another_shape_is_named(package: Package) -> None:
    shutil.copy(text_package().layers[1], package.layers[1])
    assert complaint(package) == (
        f"{LAYER1}, group 1: indices uint32[1, 8], expected indices uint32[3, 8] as in {LAYER0}"
    )


@pytest.mark.parametrize("kept", [slice(40), slice(-100), slice(100, None)])
@pytest.mark.parametrize("place", [0, 3, 4])
def test_a_graph_that_is_cut_off_is_named(package: Package, place: int, kept: slice) -> None:
    path = package.graphs[place]
    path.write_bytes(path.read_bytes()[kept])
    assert complaint(package) == (
        f"engine_load_from_file({path.name}): it is no compiled model that this device takes: cut off, "
        "damaged, or for another chip (0x8030070C)"
    )


@pytest.mark.parametrize("ports", ["inputs", "outputs"])
def test_a_vision_graph_without_inputs_or_outputs_is_named_and_nothing_stays(
    package: Package, ports: str
) -> None:
    assert package.vision is not None
    regrouped(package.vision, lambda groups: groups[0][ports].clear())
    with opened(Emulator()) as backend:
        before = free_bytes(backend)
        with pytest.raises(PackageError, match=f"^package_vision.axmodel has no {ports}$"):
            backend.describe(package)
        assert free_bytes(backend) == before


@pytest.mark.parametrize("change", [{"dtype": "complex999"}, {"shape": "abc"}, {"shape": [1.5]}])
def test_a_graph_whose_tensors_nobody_can_have_compiled_is_named(
    package: Package, change: dict[str, object]
) -> None:
    regrouped(package.layers[1], lambda groups: tensor(groups[0], "mask").update(change))
    assert complaint(package).startswith(f"engine_load_from_file({LAYER1}): it is no compiled model")


def test_a_vision_graph_of_several_shapes_is_named_and_nothing_stays(package: Package) -> None:
    assert package.vision is not None
    shutil.copy(package.layers[0], package.vision)
    with opened(Emulator()) as backend:
        before = free_bytes(backend)
        with pytest.raises(PackageError, match=r"^package_vision.axmodel has 5 shape groups, expected one$"):
            backend.describe(package)
        assert free_bytes(backend) == before


# --- layers

INPUTS, OUTPUTS = "K_cache, V_cache, indices, input, mask", "K_cache_out, V_cache_out, output"


def shaped(name: str, group: int, *shape: int, dtype: str | None = None) -> Change:
    def change(groups: Groups) -> None:
        tensor(groups[group], name)["shape"] = list(shape)
        for each in groups:
            tensor(each, name)["dtype"] = dtype or tensor(each, name)["dtype"]

    return change


def added(name: str) -> Change:
    return lambda groups: [
        group["inputs"].append(tensor(group, "input") | {"name": name}) for group in groups
    ]


def lacking(name: str) -> Change:
    return lambda groups: [group["outputs"].remove(tensor(group, name)) for group in groups]


def short_chunk(groups: Groups) -> None:
    """Group 2, which is for 8 positions behind 8 rows, takes 4 behind 8."""
    for name in ("indices", "input", "mask", *OUTPUTS.split(", ")):
        shape = tensor(groups[2], name)["shape"]
        shape[1] = 4
    tensor(groups[2], "mask")["shape"][2] = 12


def recurrent(groups: Groups) -> None:
    for name in ("K_cache", "V_cache"):
        tensor(groups[0], f"{name}_out")["shape"] = list(tensor(groups[0], name)["shape"])


LINEAR = (
    " keeps a recurrent state (linear attention), as most layers of Qwen3.5 and MiniCPM-V 4.6 do, and this "
    "gateway keeps rows of K and V"
)
LAYERS: dict[str, tuple[Change, str]] = {
    "linear attention": (recurrent, LINEAR),
    "gemma": (
        added("per_layer_input"),
        " takes an input of its own for each token (per_layer_input), as Gemma 3n and Gemma 4 do, and this "
        "gateway gives a layer nothing but hidden states",
    ),
    "stranger": (added("position_bias"), f" has a tensor position_bias, expected {INPUTS}"),
    "no output": (lacking("output"), " has no tensor output (it has K_cache_out, V_cache_out)"),
    "type": (
        shaped("mask", 0, 1, 1, 64, dtype="float32"),
        ": tensor mask has the unexpected type float32, expected bfloat16",
    ),
    "cache": (
        shaped("K_cache", 2, 1, 12, 32),
        ", group 2: K_cache bfloat16[1, 12, 32], expected 256 values for 8 positions behind 8 rows",
    ),
    "rows": (
        shaped("V_cache_out", 1, 1, 1, 32),
        ", group 1: V_cache_out bfloat16[1, 1, 32], expected 256 values for 8 positions behind 0 rows",
    ),
    "mask": (
        shaped("mask", 1, 1, 8, 7),
        ", group 1: mask bfloat16[1, 8, 7], expected 8 rows, each as wide as a history and the 8 "
        "positions of a call",
    ),
    "scalar": (shaped("indices", 1), ", group 1: indices uint32[], expected sizes of at least 1"),
    "nothing": (shaped("indices", 0, 1, 0), ", group 0: indices uint32[1, 0], expected sizes of at least 1"),
    "no groups": (lambda groups: groups.clear(), " has no shape groups"),
    "positions": (shaped("indices", 1, 2, 8), ", group 1: indices has 2 rows of positions, expected 1 or 3"),
    "mixed positions": (shaped("indices", 2, 1, 8), " mixes groups of one and of three index rows"),
    "mixed chunks": (short_chunk, " mixes prefill chunks of different sizes: 8, 4, 8, 8"),
    "no decode": (
        lambda groups: groups.pop(0),
        " has no decode group: none of its groups takes one position",
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_that_no_decode_loop_here_can_drive_are_refused(package: Package, name: str) -> None:
    change, sentence = LAYERS[name]
    for layer in package.layers:
        regrouped(layer, change)
    assert complaint(package) == LAYER0 + sentence


OTHERS: dict[str, tuple[Change, str]] = {
    "linear attention": (recurrent, LINEAR),
    "no output": (
        lacking("output"),
        f" has the tensors {INPUTS}, K_cache_out, V_cache_out; {LAYER0} has {INPUTS}, {OUTPUTS}",
    ),
    "groups": (lambda groups: groups.pop(), f" has 4 shape groups, {LAYER0} has 5"),
    "history": (
        shaped("mask", 0, 1, 1, 32),
        f", group 0: mask bfloat16[1, 1, 32], expected mask bfloat16[1, 1, 64] as in {LAYER0}",
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_layer_unlike_the_first_is_named(package: Package, name: str) -> None:
    change, sentence = OTHERS[name]
    regrouped(package.layers[1], change)
    assert complaint(package) == LAYER1 + sentence


def test_a_post_graph_in_the_place_of_a_layer_is_named(package: Package) -> None:
    shutil.copy(package.post, package.layers[0])
    assert complaint(package) == f"{LAYER0} has no tensor K_cache (it has input)"


CONFIGS: dict[str, tuple[dict[str, object], str]] = {
    "interval": ({"full_attention_interval": 4}, "linear-attention layers"),
    "kinds": ({"layer_types": ["linear_attention", "full_attention"]}, "linear-attention layers"),
    "shared": ({"num_kv_shared_layers": 20}, "layers that share K and V"),
    "per layer": ({"hidden_size_per_layer_input": 256}, "layers that share K and V"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_layers_that_config_json_tells_to_be_of_another_kind_are_refused(package: Package, name: str) -> None:
    config, sentence = CONFIGS[name]
    (package.folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(PackageError, match=f"^config.json tells of {sentence}"):
        open_package(package.folder)


def test_a_window_smaller_than_the_context_is_refused(package: Package) -> None:
    (package.folder / "config.json").write_text('{"sliding_window": 62}')
    assert complaint(open_package(package.folder)) == (
        "config.json tells of a sliding window of 62 positions, and this gateway lets layers see all 63"
    )


@pytest.mark.parametrize(
    "config",
    [
        {"sliding_window": 63},
        {"sliding_window": 8, "use_sliding_window": False},
        {"full_attention_interval": 1, "layer_types": ["full_attention"], "num_kv_shared_layers": 0},
    ],
)
def test_a_config_json_that_tells_of_nothing_else_is_no_obstacle(
    package: Package, config: dict[str, object]
) -> None:
    (package.folder / "config.json").write_text(json.dumps(config))
    with opened(Emulator()) as backend:
        assert backend.describe(open_package(package.folder)).info == backend.describe(vision_package()).info


# --- the head and the embedding table

POST = "qwen3_vl_text_post.axmodel"


def likeliest(num_ids: int, num_values: int, dtype: str = "float32") -> Change:
    """Outputs like those of exports with --post_topk."""

    def change(groups: Groups) -> None:
        groups[0]["outputs"] = [
            {"name": "indices", "dtype": "int32", "shape": [1, num_ids]},
            {"name": "probs", "dtype": dtype, "shape": [1, num_values]},
        ]

    return change


NO_ROW = "expected one row of logits in bfloat16 or float32, or as many probabilities as indices of tokens"
HEADS: dict[str, tuple[Change, str]] = {
    "more ids than probabilities": (
        likeliest(16, 8),
        f": indices int32[1, 16], probs float32[1, 8], {NO_ROW}",
    ),
    "ids alone": (
        lambda groups: groups[0].update(outputs=[{"name": "indices", "dtype": "int32", "shape": [1, 16]}]),
        f": indices int32[1, 16], {NO_ROW}",
    ),
    "hidden size": (
        lambda groups: tensor(groups[0], "input").update(shape=[1, 1, 32]),
        ": input bfloat16[1, 1, 32], expected 64 values of bfloat16",
    ),
    "type": (
        lambda groups: tensor(groups[0], "output").update(dtype="uint8"),
        f": output uint8[1, 1, 768], {NO_ROW}",
    ),
    "two rows": (
        lambda groups: tensor(groups[0], "output").update(shape=[1, 2, 768]),
        f": output bfloat16[1, 2, 768], {NO_ROW}",
    ),
}


@pytest.mark.parametrize("name", HEADS)
def test_a_head_that_gives_no_logits_is_refused(package: Package, name: str) -> None:
    change, sentence = HEADS[name]
    regrouped(package.post, change)
    assert complaint(package) == POST + sentence


def test_a_layer_in_the_place_of_the_head_is_named(package: Package) -> None:
    shutil.copy(package.layers[0], package.post)
    assert complaint(package) == f"{POST} is no post graph: expected one shape group with one input"


def cut(num_bytes: int) -> Callable[[Path], object]:
    return lambda table: table.write_bytes(table.read_bytes()[:-num_bytes])


def as_npy(array: np.ndarray) -> Callable[[Path], None]:
    def replace(table: Path) -> None:
        table.unlink()
        np.save(table.with_name("model.embed_tokens.weight.npy"), array)

    return replace


def broken_npy(table: Path) -> None:
    table.rename(table.with_name("model.embed_tokens.weight.npy"))


def archive(table: Path) -> None:
    broken_npy(table)
    with table.with_name("model.embed_tokens.weight.npy").open("wb") as file:
        np.savez(file, rows=np.zeros((768, 64), np.float32))


def header(table: Path) -> None:
    """One that is Python, but not whole."""
    broken_npy(table)
    table.with_name("model.embed_tokens.weight.npy").write_bytes(b"\x93NUMPY\1\0\x0a\0{'shape': (")


TABLES: dict[str, tuple[Callable[[Path], object], str]] = {
    "size": (cut(2), "bfloat16.bin has 98302 bytes, not a whole number of rows of 64 bf16"),
    "rows": (cut(2 * 64), "bfloat16.bin has 767 rows, but the head knows 768 tokens"),
    "npy rows": (as_npy(np.zeros((767, 64), np.float32)), "npy has 767 rows, but the head knows 768 tokens"),
    "npy width": (
        as_npy(np.zeros((768, 32), np.float32)),
        "npy holds [768, 32] numbers, expected rows of 64",
    ),
    "npy type": (
        as_npy(np.zeros((768, 64), np.int8)),
        "npy holds numbers of type int8, expected float32",
    ),
    "npz": (archive, "npy is not a file that numpy can read: "),
    "npy header": (header, "npy is not a file that numpy can read: "),
    "npy": (broken_npy, "npy is not a file that numpy can read: "),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_that_does_not_fit_is_named(package: Package, name: str) -> None:
    damage, sentence = TABLES[name]
    damage(package.embeddings)
    assert complaint(open_package(package.folder)).startswith(f"model.embed_tokens.weight.{sentence}")
