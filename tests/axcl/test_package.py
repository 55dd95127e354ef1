import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from backends.axcl.package import open_package
from backends.base import PackageError
from tests.packages import text_package, vision_package
from tests.somebody import CLOSED, somebody_else


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


@pytest.mark.parametrize(
    "name", ["janus_warp_vit.axmodel", "image_encoder_512x512.axmodel", "Qwen3-VL_vision.axmodel"]
)
def test_the_vision_graph_is_found_by_the_names_that_are_published(folder: Path, name: str) -> None:
    next(folder.glob("*_vision.axmodel")).rename(folder / name)
    assert open_package(folder).vision == folder / name


def test_the_tokenizer_s_added_tokens_are_told() -> None:
    added = vision_package().added_tokens()
    assert "<|image_pad|>" in added
    assert "a" not in added


@pytest.mark.parametrize("content", ["{}", "[1]", '{"added_tokens": [1]}', "[" * 100_000])
def test_a_broken_tokenizer_has_no_added_tokens_to_tell(folder: Path, content: str) -> None:
    (folder / "tokenizer" / "tokenizer.json").write_text(content)
    with pytest.raises(PackageError, match="expected a Hugging Face tokenizer with added_tokens"):
        open_package(folder).added_tokens()


def test_what_may_not_be_read_and_is_not_needed_does_no_harm(folder: Path) -> None:
    (folder / "lost+found").mkdir(CLOSED)
    (folder / "run.sh").touch(CLOSED)
    expected = vision_package().tokenizer.name
    with somebody_else(folder.parent):
        assert open_package(folder).tokenizer.name == expected


def test_a_folder_that_may_not_be_read_is_told(folder: Path) -> None:
    folder.chmod(CLOSED | 0o100)
    with (
        somebody_else(folder.parent),
        pytest.raises(PackageError, match="package cannot be read: Permission"),
    ):
        open_package(folder)
    folder.chmod(0o755)


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"a":' * 100_000])
def test_an_empty_or_broken_config_is_as_good_as_none(folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content)
    assert open_package(folder).config == {}


def remove(pattern: str) -> Callable[[Path], None]:
    return lambda folder: next(folder.glob(pattern)).unlink()


def write(pattern: str, content: bytes) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        next(folder.glob(pattern)).write_bytes(content)

    return damage


def other_tokenizer(folder: Path) -> None:
    """And nobody who tells which is meant."""
    shutil.copytree(folder / "tokenizer", folder / "other")
    (folder / "config.json").unlink()


def directory(file: Path) -> None:
    file.unlink()
    file.mkdir()


def pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


DEEP = b"[" * 100_000
"""What a parser that calls itself for each bracket cannot take."""

DAMAGES: dict[str, Callable[[Path], object]] = {
    "lacks the graph of layer 2": remove("*_l2_*"),
    "which should be the post graph": remove("*_post*"),
    "which should be the embedding table": remove("*embed*"),
    "holds no tokenizer.json": remove("tokenizer/tokenizer.json"),
    "is a Git LFS pointer": write("*_l1_*", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
    "is empty": write("*_post*", b""),
    "tokenizer.json is a Git LFS pointer": write("tokenizer/tokenizer.json", b"version https://git-lfs.git"),
    "is compiled for the AX630C": lambda folder: next(folder.glob("*_vision*")).rename(
        folder / "vision_u8_320_ax630c.axmodel"
    ),
    "cannot be read: Is a directory": lambda folder: directory(next(folder.glob("*_l2_*"))),
    "lacks the graph of layer 3 .there are 3 others, and config.json says 4 in all": remove("*_l3_*"),
    "holds several tokenizers: other, tokenizer": other_tokenizer,
    "post_config.json: temperature: expected a number of 0 or more, found 'hot'": write(
        "post_config.json", b'{"temperature": "hot"}'
    ),
    "post_config.json: top_k: expected a number of 0 or more, found inf": write(
        "post_config.json", b'{"enable_top_k_sampling": true, "top_k": 1e400}'
    ),
    "post_config.json: top_p: expected a number of 0 or more, found nan": write(
        "post_config.json", b'{"top_p": NaN}'
    ),
    "post_config.json: expected JSON: maximum recursion": write("post_config.json", DEEP),
    "is a pipe": lambda folder: pipe(next(folder.glob("*_post*"))),
    "lacks the graph of layer 4 .there are 4 others, and config.json says 999999999 in all": write(
        "config.json", b'{"axmodel_num": "999999999"}'
    ),
    "post_config.json: enable_temperature: expected true or false, found 1": write(
        "post_config.json", b'{"enable_temperature": 1}'
    ),
    "post_config.json: expected JSON": write("post_config.json", b"{"),
}


@pytest.mark.parametrize(("complaint", "damage"), DAMAGES.items())
def test_what_is_wrong_with_a_folder_is_said(
    folder: Path, complaint: str, damage: Callable[[Path], object]
) -> None:
    damage(folder)
    with pytest.raises(PackageError, match=complaint):
        open_package(folder)


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="nowhere is not a folder with a compiled model"):
        open_package(tmp_path / "nowhere")


# --- which of several is meant. Nothing is read here but names and the first bytes.

TABLE = "model.embed_tokens.weight.bfloat16.bin"
PARTS = ("qwen3_post.axmodel", TABLE, "tokenizer.json")


def layers(prefix: str, number: int = 2) -> list[str]:
    return [f"{prefix}_l{index}_together.axmodel" for index in range(number)]


def laid_out(root: Path, *names: str, **contents: str) -> Path:
    """A folder with these files; those with contents are told as `config_json="{}"`."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
    for name, content in contents.items():
        (root / name.replace("_json", ".json").replace("_sh", ".sh")).write_text(content)
    return root


def refusal(root: Path) -> str:
    with pytest.raises(PackageError) as caught:
        open_package(root)
    return str(caught.value).removeprefix(str(root))


def test_a_decode_only_package_is_found(tmp_path: Path) -> None:
    names = ["qwen2_l0.axmodel", "qwen2_l1.axmodel", *PARTS]
    package = open_package(laid_out(tmp_path, *names))
    assert (package.prefix, [layer.name for layer in package.layers]) == ("qwen2", names[:2])


def test_layers_in_a_folder_of_their_own_are_found_with_what_lies_around_it(tmp_path: Path) -> None:
    """As in the published InternVL3-2B and SmolVLM2."""
    inside = [f"internvl3_2b_axmodel/{name}" for name in (*layers("qwen2_p128"), "qwen2_post.axmodel", TABLE)]
    vision = "vit_axmodel/internvl3_2b_vit_slim.axmodel"
    other = "Model-AX630C/qwen2_p64_l0_together.axmodel"
    package = open_package(
        laid_out(tmp_path / "InternVL3-2B", *inside, vision, other, "internvl3_2b_tokenizer/tokenizer.json")
    )
    assert [str(path.relative_to(package.folder)) for path in (*package.graphs, package.embeddings)] == [
        *inside[:3],
        vision,
        inside[3],
    ]
    assert (package.name, package.tokenizer.name) == ("InternVL3-2B", "internvl3_2b_tokenizer")
    assert dict(package.parts) == {
        "layers": "2 of qwen2",
        "vision_graph": vision,
        "embedding_table": inside[3],
        "tokenizer": "internvl3_2b_tokenizer/tokenizer.json",
    }


def test_several_packages_in_one_folder_are_told(tmp_path: Path) -> None:
    names = [f"{size}/{name}" for size in ("large", "small") for name in layers("qwen3_p128")]
    assert (
        refusal(laid_out(tmp_path, *names))
        == " holds several packages: large, small; name the folder of one of them"
    )


LONG, SHORT = "qwen2_5_vl_p128_l%d_together.axmodel", "qwen2_5_vl_p320_l%d_together.axmodel"


def script(template: str) -> str:
    return f"""#!/bin/sh
./main_axcl_x86 --template_filename_axmodel "models/{template}" --axmodel_num 2 \\
    --filename_image_encoder_axmodedl='models/b_vision.axmodel' --use_mmap_load_embed 1
"""


TWICE = (
    *layers("qwen2_5_vl_p128"),
    *layers("qwen2_5_vl_p320"),
    *PARTS,
    "a_vision.axmodel",
    "b_vision.axmodel",
)
CONFIG = {"template_filename_axmodel": LONG, "filename_image_encoder_axmodel": "./b_vision.axmodel"}


@pytest.mark.parametrize(
    "told",
    [
        {"config_json": json.dumps(CONFIG)},
        {"config_json": "", "run_sh": script(LONG)},
        {"config_json": json.dumps(CONFIG), "run_sh": script(SHORT)},
        {"run_x86_sh": script(LONG), "run_aarch64_sh": script(LONG)},
    ],
)
def test_config_json_and_else_the_launch_scripts_tell_which_is_meant(
    tmp_path: Path, told: dict[str, str]
) -> None:
    package = open_package(laid_out(tmp_path, *TWICE, **told))
    assert [layer.name for layer in package.layers] == layers("qwen2_5_vl_p128")
    assert package.vision == tmp_path / "b_vision.axmodel"


TWO_GRAPHS = (
    " holds two graphs of one layer: qwen2_5_vl_p128_l0_together.axmodel and "
    "qwen2_5_vl_p320_l0_together.axmodel"
)


SEVERAL_VISION = (
    " holds several vision graphs: a_vision.axmodel, b_vision.axmodel; keep one there, or say in config.json "
    "which, as filename_image_encoder_axmodel"
)


@pytest.mark.parametrize(
    ("names", "told", "sentence"),
    [
        (TWICE, {}, TWO_GRAPHS),
        (TWICE, {"run_image_sh": script(SHORT), "run_video_sh": script(LONG)}, TWO_GRAPHS),
        (TWICE[2:], {}, SEVERAL_VISION),
        (
            (*layers("qwen3_p128"), *layers("llama_p128"), *PARTS),
            {},
            " mixes layer graphs of several models: llama, qwen3",
        ),
        (
            (*layers("qwen3_p128"), *PARTS),
            {"run_sh": "./main --axmodel_num 36"},
            " lacks the graph of layer 2 (there are 2 others, and run.sh says 36 in all)",
        ),
        (
            (*layers("qwen3_p128"), *PARTS, "other_post.axmodel"),
            {},
            ": 2 files match *_post.axmodel (other_post.axmodel, qwen3_post.axmodel), expected the post "
            "graph (final norm and head)",
        ),
    ],
)
def test_what_nobody_tells_is_not_guessed(
    tmp_path: Path, names: tuple[str, ...], told: dict[str, str], sentence: str
) -> None:
    assert refusal(laid_out(tmp_path, *names, **told)) == sentence


@pytest.mark.parametrize("name", ["Qwen3-0.6B-AX620E", "Qwen3-VL-2B-Instruct-AX630C-c64_p192", "x-AX637"])
def test_a_package_for_another_chip_is_refused_by_its_name(tmp_path: Path, name: str) -> None:
    assert "/qwen3_p64_l0_together.axmodel is compiled for the AX6" in refusal(
        laid_out(tmp_path / name, *layers("qwen3_p64"), *PARTS)
    )


def test_a_vision_graph_for_another_chip_does_not_count_beside_one_for_the_card(tmp_path: Path) -> None:
    graphs = ("x_vision.axmodel", "x_vision_u8_320_ax630c.axmodel")
    package = open_package(laid_out(tmp_path, *layers("qwen3_p128"), *PARTS, *graphs))
    assert package.vision == tmp_path / graphs[0]


@pytest.mark.parametrize(
    "names", [("b.npy",), ("b.float32.bin",), ("b.npy", "b.float32.bin", "b.bfloat16.bin")]
)
def test_the_embedding_table_may_be_of_any_kind_that_is_published(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    tables = [name.replace("b.", "model.embed_tokens.weight.") for name in names]
    root = laid_out(tmp_path, *layers("qwen3_p128"), PARTS[0], PARTS[2], *tables)
    assert open_package(root).embeddings.name == tables[-1]


# --- post_config.json

SHIPPED = {
    "enable_temperature": True,
    "temperature": 0.9,
    "enable_repetition_penalty": False,
    "repetition_penalty": 1.2,
    "penalty_window": 20,
    "enable_top_p_sampling": False,
    "top_p": 0.8,
    "enable_top_k_sampling": True,
    "top_k": 10,
}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, (0.9, 10, 1.0, 1.0)),
        ({"enable_top_p_sampling": True}, (0.9, 0, 0.8, 1.0)),
        ({"enable_temperature": False}, (1.0, 10, 1.0, 1.0)),
        ({"enable_repetition_penalty": True}, (0.9, 10, 1.0, 1.2)),
        ({"enable_top_k_sampling": False}, (0.0, 0, 1.0, 1.0)),
    ],
)
def test_sampling_is_what_the_vendor_s_runner_does(
    tmp_path: Path, changes: dict[str, bool], expected: tuple[float, ...]
) -> None:
    root = laid_out(tmp_path, *layers("qwen3_p128"), *PARTS, post_config_json=json.dumps(SHIPPED | changes))
    names = ("temperature", "top_k", "top_p", "repetition_penalty")
    assert open_package(root).sampling == dict(zip(names, expected, strict=True))


def test_an_empty_or_absent_post_config_says_nothing(tmp_path: Path) -> None:
    root = laid_out(tmp_path, *layers("qwen3_p128"), *PARTS)
    assert open_package(root).sampling == {}
    (root / "post_config.json").touch()
    assert open_package(root).sampling == {}
