import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from backends.axcl.package import Package, open_package
from backends.base import PackageError
from backends.emulator import Emulator
from tests.packages import free_bytes, opened, text_package, vision_package


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(vision_package().folder, tmp_path / "package"))


def test_an_exported_package_is_found_whole() -> None:
    package = vision_package()
    assert package.prefix == "qwen3_vl_text"
    assert [file.name for file in package.layers] == [
        f"qwen3_vl_text_p8_l{index}_together.axmodel" for index in range(4)
    ]
    assert package.post.name == "qwen3_vl_text_post.axmodel"
    assert package.vision is not None


def test_a_text_package_has_no_vision_graph() -> None:
    assert (text_package().prefix, text_package().vision) == ("qwen3", None)


@pytest.mark.parametrize("content", ["", "{", "[1]"])
def test_an_empty_or_broken_config_is_as_good_as_none(folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content)
    assert open_package(folder).config == {}


def remove(pattern: str) -> Callable[[Path], None]:
    return lambda folder: next(folder.glob(pattern)).unlink()


def write(pattern: str, content: bytes) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        next(folder.glob(pattern)).write_bytes(content)

    return damage


DAMAGES = {
    "lacks the graph of layer 2": remove("*_l2_*"),
    "which should be the post graph": remove("*_post*"),
    "which should be the embedding table": remove("*embed*"),
    "holds no tokenizer.json": remove("tokenizer/tokenizer.json"),
    "is a Git LFS pointer": write("*_l1_*", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
    "is empty": write("*_post*", b""),
    "mixes layer graphs of several models": lambda folder: (folder / "llama_p8_l0_together.axmodel").touch(),
    "several vision graphs": lambda folder: (folder / "other_vision.axmodel").touch(),
}


@pytest.mark.parametrize(("complaint", "damage"), DAMAGES.items())
def test_what_is_wrong_with_a_folder_is_said(
    folder: Path, complaint: str, damage: Callable[[Path], None]
) -> None:
    damage(folder)
    with pytest.raises(PackageError, match=complaint):
        open_package(folder)


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="nowhere is not a folder with a compiled model"):
        open_package(tmp_path / "nowhere")


def loading(package: Package) -> str:
    """The complaint about a package whose faults show only once it is loaded; nothing stays on the card."""
    with opened(Emulator()) as backend:
        before = free_bytes(backend)
        with pytest.raises(PackageError) as caught:
            backend.decoder(package)
        assert free_bytes(backend) == before
    return str(caught.value)


def test_a_layer_of_another_shape_is_named(folder: Path) -> None:
    shutil.copy(text_package().layers[1], next(folder.glob("*_l1_*")))
    assert loading(open_package(folder)) == (
        "qwen3_vl_text_p8_l1_together.axmodel, group 1: indices is uint32[1, 8], "
        "qwen3_vl_text_p8_l0_together.axmodel has indices uint32[3, 8]"
    )


def test_an_embedding_table_of_the_wrong_size_is_named(folder: Path) -> None:
    table = next(folder.glob("*embed*"))
    table.write_bytes(table.read_bytes()[:-2])
    assert loading(open_package(folder)) == (
        "model.embed_tokens.weight.bfloat16.bin has 98302 bytes, not a whole number of rows of 64 bf16"
    )


def test_an_embedding_table_with_fewer_rows_than_tokens_is_named(folder: Path) -> None:
    table = next(folder.glob("*embed*"))
    table.write_bytes(table.read_bytes()[: -2 * 64])
    assert loading(open_package(folder)) == (
        "model.embed_tokens.weight.bfloat16.bin has 767 rows, but the head knows 768 tokens"
    )


def rewritten(path: Path, change: Callable[[list[dict[str, Any]]], None]) -> None:
    """Change what an emulated model says of its groups."""
    model = onnx.load(path)
    groups = next(entry for entry in model.metadata_props if entry.key == "axgate.groups")
    said = json.loads(groups.value)
    change(said)
    groups.value = json.dumps(said)
    onnx.save(model, path)


def test_a_layer_without_its_last_output_is_named(folder: Path) -> None:
    def forget_output(groups: list[dict[str, Any]]) -> None:
        for group in groups:
            group["outputs"].pop()

    rewritten(next(folder.glob("*_l1_*")), forget_output)
    names = "K_cache, V_cache, indices, input, mask, K_cache_out, V_cache_out"
    assert f"_l1_together.axmodel has the tensors {names};" in loading(open_package(folder))


def test_a_layer_with_other_types_is_named(folder: Path) -> None:
    def float_mask(groups: list[dict[str, Any]]) -> None:
        for group in groups:
            group["inputs"][4]["dtype"] = "float32"

    for path in folder.glob("*_l?_*"):
        rewritten(path, float_mask)
    assert "tensor mask has the unexpected type float32" in loading(open_package(folder))


def test_a_post_graph_in_the_place_of_a_layer_is_named(folder: Path) -> None:
    shutil.copy(next(folder.glob("*_post*")), next(folder.glob("*_l0_*")))
    assert "_l0_together.axmodel has no tensor K_cache" in loading(open_package(folder))
