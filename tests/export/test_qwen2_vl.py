import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import numpy_helper

from backends.export import ExportError, ExportOptions, export_package
from backends.export.checkpoint import Checkpoint
from backends.export.graph import GraphBuilder
from backends.export.package import FAMILIES
from backends.export.qwen2_vl import read_qwen2_vl
from backends.export.qwen2_vl_vision import window_order
from tests.export.checkpoints import Config
from tests.export.qwen2_checkpoints import tiny_qwen2_5_vl, tiny_qwen2_vl

TINY = {"qwen2_vl": tiny_qwen2_vl, "qwen2_5_vl": tiny_qwen2_5_vl}
OPTIONS = ExportOptions(63, 8, (8, 16))


def graphs(package: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in package.iterdir() if file.suffix in (".axmodel", ".bin")}


def export(checkpoint: Path) -> Path:
    package = checkpoint.with_name(f"{checkpoint.name}-package")
    export_package(checkpoint, package, OPTIONS, lambda *_: None)
    return package


def vision_graph(checkpoint: Path) -> GraphBuilder:
    model = FAMILIES[json.loads((checkpoint / "config.json").read_text())["model_type"]](
        Checkpoint(checkpoint), OPTIONS
    )
    assert model.vision is not None
    return model.vision.build()


def rewrite(file: Path, change: Callable[[Config], object]) -> None:
    values = json.loads(file.read_text())
    change(values)
    file.write_text(json.dumps(values))


@pytest.mark.parametrize("family", TINY)
def test_published_checkpoints_and_those_of_transformers_5_give_the_same_package(
    family: str, tmp_path: Path
) -> None:
    published, nested = tmp_path / "published", tmp_path / "nested"
    TINY[family](published, tied=False)
    TINY[family](nested, tied=False, nested=True)
    first, second = (graphs(export(checkpoint)) for checkpoint in (published, nested))
    rename = {f"{nested.name}-package_vision.axmodel": f"{published.name}-package_vision.axmodel"}
    assert {rename.get(name, name): graph for name, graph in second.items()} == first


def test_a_text_config_may_say_alone_that_the_head_is_the_embedding(tmp_path: Path) -> None:
    checkpoint = tiny_qwen2_5_vl(tmp_path / "checkpoint", nested=True)
    tied = graphs(export(checkpoint))

    def move(config: Config) -> None:
        config["tie_word_embeddings"] = False
        config["text_config"]["tie_word_embeddings"] = True

    rewrite(checkpoint / "config.json", move)
    (tmp_path / "checkpoint-package").rename(tmp_path / "before")
    assert graphs(export(checkpoint)) == tied


@pytest.mark.parametrize("family", TINY)
def test_files_are_called_as_the_published_ones(family: str, tmp_path: Path) -> None:
    package = export(TINY[family](tmp_path / "checkpoint", layers=2))
    assert sorted(graphs(package)) == [
        "checkpoint-package_vision.axmodel",
        "model.embed_tokens.weight.bfloat16.bin",
        f"{family}_p8_l0_together.axmodel",
        f"{family}_p8_l1_together.axmodel",
        f"{family}_post.axmodel",
    ]
    config = json.loads((package / "config.json").read_text())
    assert {key: config[key] for key in config if key.startswith(("vision", "vlm", "tokenizer"))} == {
        "tokenizer_type": "Qwen3VL",
        "vlm_type": "Qwen2_5VL",
        "vision_width": 32,
        "vision_height": 32,
        "vision_patch_size": 8,
        "vision_temporal_patch_size": 2,
        "vision_spatial_merge_size": 2,
    } | ({"vision_tokens_per_second": 2} if family == "qwen2_5_vl" else {})


@pytest.mark.parametrize("family", TINY)
def test_the_graph_takes_pixels_and_gives_embeds_alone(family: str, tmp_path: Path) -> None:
    graph = vision_graph(TINY[family](tmp_path / "checkpoint"))
    assert graph._inputs == [{"name": "hidden_states", "dtype": "uint8", "shape": [1, 16, 128, 3]}]
    assert graph._outputs == [{"name": "hidden_states_out", "dtype": "float32", "shape": [4, 64]}]


@pytest.mark.parametrize("name", ["chat_template.jinja", "chat_template.json"])
def test_the_chat_template_comes_along_wherever_it_is(name: str, tmp_path: Path) -> None:
    checkpoint = tiny_qwen2_vl(tmp_path / "checkpoint", layers=1)
    (checkpoint / name).write_text("{}")
    assert (export(checkpoint) / "tokenizer" / name).read_text() == "{}"


def test_without_a_preprocessor_pictures_are_of_the_published_size(tmp_path: Path) -> None:
    checkpoint = tiny_qwen2_vl(tmp_path / "checkpoint")
    (checkpoint / "preprocessor_config.json").unlink()
    assert vision_graph(checkpoint)._inputs[0]["shape"] == [1, (448 // 8) ** 2, 128, 3]


@pytest.mark.parametrize(
    "limits",
    [
        {"min_pixels": 3136, "max_pixels": 12845056},
        {"size": {"min_pixels": 3136, "max_pixels": 12845056}},
        {"size": {"shortest_edge": 3136, "longest_edge": 12845056}},
        {"max_pixels": 12845056},
    ],
)
def test_limits_of_the_size_fix_none(limits: Config, tmp_path: Path) -> None:
    checkpoint = tiny_qwen2_vl(tmp_path / "checkpoint")
    (checkpoint / "preprocessor_config.json").write_text(json.dumps(limits))
    assert vision_graph(checkpoint)._inputs[0]["shape"] == [1, (448 // 8) ** 2, 128, 3]


def test_a_configuration_that_leaves_out_what_is_usual_is_read_as_transformers_does(tmp_path: Path) -> None:
    checkpoint = tiny_qwen2_vl(tmp_path / "checkpoint")
    rewrite(checkpoint / "config.json", lambda config: config.pop("rms_norm_eps"))
    (checkpoint / "preprocessor_config.json").write_text("{}")
    model = read_qwen2_vl(Checkpoint(checkpoint), OPTIONS)
    assert (model.decoder.norm_eps, model.decoder.mrope) == (1e-5, (2, 3, 3))
    assert model.vision is not None
    constants = {each.name: numpy_helper.to_array(each) for each in model.vision.build()._constants}
    clip_mean, clip_std = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
    np.testing.assert_array_equal(constants["mean"], np.array(clip_mean, np.float32))
    np.testing.assert_array_equal(constants["std"], np.array(clip_std, np.float32))


def test_windows_of_the_same_size_follow_each_other() -> None:
    order, runs = window_order((3, 5), 2)
    # Two of 2 by 2, then the two halves (right margin, lower margin twice), then the corner.
    assert order.tolist() == [0, 1, 5, 6, 2, 3, 7, 8, 4, 9, 10, 11, 12, 13, 14]
    assert runs == [(2, 4), (3, 2), (1, 1)]


def test_a_grid_that_windows_fill_is_one_run_of_them() -> None:
    order, runs = window_order((16, 16), 4)
    assert runs == [(16, 16)]
    assert order[:20].tolist() == [0, 1, 2, 3, 16, 17, 18, 19, 32, 33, 34, 35, 48, 49, 50, 51, 4, 5, 6, 7]


def test_the_published_video_size_is_cut_off_at_both_margins() -> None:
    order, runs = window_order((11, 11), 4)
    assert runs == [(4, 16), (4, 12), (1, 9)]
    assert sorted(order) == list(range(121))


@pytest.mark.parity
@pytest.mark.parametrize("grid", [(3, 5), (4, 4), (11, 11), (16, 16), (1, 7)])
def test_windows_hold_what_they_hold_in_transformers(grid: tuple[int, int]) -> None:
    import torch
    from transformers.vision_utils import get_vision_window_index

    thw = torch.tensor([[1, 2 * grid[0], 2 * grid[1]]])
    index, bounds = get_vision_window_index(thw, spatial_merge_size=2, window_size=112, patch_size=14)
    windows = [part.tolist() for part in np.split(index.numpy(), bounds.numpy()[1:-1] // 4)]
    order, runs = window_order(grid, 4)
    sizes = [tokens for number, tokens in runs for _ in range(number)]
    found = [part.tolist() for part in np.split(order, np.cumsum(sizes)[:-1])]
    assert sorted(found) == sorted(windows)


def set_vision(field: str, value: Any) -> Callable[[Config], object]:
    return lambda config: config["vision_config"].update({field: value})


def set_rope(**rope: Any) -> Callable[[Config], object]:
    return lambda config: config.update(rope_scaling=rope)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (set_vision("hidden_act", "gelu"), 'vision_config.hidden_act: expected "silu", found "gelu"'),
        (
            set_vision("window_size", 15),
            "vision_config.window_size: expected at least the pixels of a token, 16, found 15",
        ),
        (
            set_vision("out_hidden_size", 32),
            "vision_config.out_hidden_size: expected the text's hidden size 64, found 32",
        ),
        (set_vision("num_heads", 3), "vision_config.num_heads: expected heads of 32 divisible by 4, found 3"),
        (
            set_rope(type="yarn", factor=4, mrope_section=[2, 3, 3]),
            'rope_scaling.type: expected "default" or "mrope", found "yarn"',
        ),
        (
            set_rope(type="mrope"),
            "rope_scaling.mrope_section: expected a list of integers from 0, found nothing",
        ),
        (
            set_rope(rope_type="default", mrope_section=[16, 24, 24]),
            "rope_scaling.mrope_section: expected three integers that make 8 together, found [16, 24, 24]",
        ),
        (
            lambda config: config.update(use_sliding_window=True),
            "use_sliding_window: expected false, found true",
        ),
    ],
)
def test_what_no_graph_computes_is_refused(
    change: Callable[[Config], object], sentence: str, tmp_path: Path
) -> None:
    checkpoint = tiny_qwen2_5_vl(tmp_path / "checkpoint")
    rewrite(checkpoint / "config.json", change)
    with pytest.raises(ExportError) as failure:
        export(checkpoint)
    assert str(failure.value) == f"{checkpoint / 'config.json'}: {sentence}"
    assert not (tmp_path / "checkpoint-package").exists()
