"""Qwen2-VL and Qwen2.5-VL: packages with the published names and picture sizes, and turns after a video."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from backends.axcl.package import Package, open_package
from backends.base import PackageError
from backends.emulator import Emulator
from gateway.engine.prompt import Prompt
from gateway.vision.layout import Layout, Tile
from gateway.vision.registry import Registry, RegistryError
from tests.export.qwen2_checkpoints import tiny_qwen2_5_vl, tiny_qwen2_vl
from tests.packages import exported, new_folder, opened
from tests.vision.pictures import pattern
from tests.whole.cases import CASES
from tests.whole.path import encoder, path, prompt
from tests.whole.test_invariants import MORE

SIZES: list[tuple[Callable[..., Path], int, str]] = [
    (tiny_qwen2_vl, 448, "qwen2-vl-448"),
    (tiny_qwen2_5_vl, 448, "qwen2.5-vl-448"),
    (tiny_qwen2_5_vl, 308, "qwen2.5-vl-308"),
]


@cache
def published(build: Callable[..., Path], side: int) -> Package:
    folder = new_folder() / "checkpoint"
    return exported(build(folder, layers=1, vision_depth=2, patch_size=14, image_side=side))


@pytest.mark.parametrize(("build", "side", "entry"), SIZES)
def test_its_entry_is_found_and_encodes_a_picture(build: Callable[..., Path], side: int, entry: str) -> None:
    package = published(build, side)
    assert package.vision is not None
    with opened(Emulator()) as backend:
        graph = backend.graph(package.vision)
        encoder = Registry.load().find(package.prefix, graph.inputs[0])
        assert encoder.name == entry
        encoder.check(graph, 64)
        visual = encoder.prepare(pattern(50, 40))
        assert visual.layout == Layout("<|image_pad|>", (Tile((side // 28, side // 28)),))
        assert encoder.encode(graph, visual.pixels[0]).embeds.shape == ((side // 28) ** 2, 64)


def test_a_package_with_two_encoders_says_that_one_has_to_be_chosen() -> None:
    picture, video = (published(tiny_qwen2_5_vl, side) for side in (448, 308))
    assert picture.vision is not None
    assert video.vision is not None
    both = new_folder() / "both"
    both.mkdir()
    for file in picture.folder.iterdir():
        (both / file.name).symlink_to(file)
    (both / "video_vision.axmodel").symlink_to(video.vision)
    assert open_package(both).vision == both / picture.vision.name  # config.json says so
    (both / "config.json").unlink()
    (both / "config.json").touch()
    with pytest.raises(PackageError) as failure:
        open_package(both)
    assert str(failure.value) == (
        f"{both} holds several vision graphs: package_vision.axmodel, video_vision.axmodel; keep one there, "
        "or say in config.json which, as filename_image_encoder_axmodel"
    )


@pytest.mark.parametrize("name", ["Qwen2.5-VL, a video", "Qwen2.5-VL, a long video"])
def test_a_turn_after_a_video_answers_as_a_cold_start(name: str) -> None:
    def turn(*more: int) -> Prompt:
        asked = prompt(CASES[name])
        ids = np.concatenate([asked.token_ids, np.array(more, np.int64)])
        positions = encoder(CASES[name]).positions(len(ids), [image.span for image in asked.images])
        return Prompt(ids, positions, asked.images)

    with path(name) as found:
        first = found.say(turn())[0]
        second = found.say(turn(*first, *MORE))[0]
        assert found.engine.stats.num_encodes == len(turn().images)
    with path(name) as fresh:
        assert fresh.say(turn(*first, *MORE))[0] == second


@pytest.mark.parametrize("prefix", ["qwen2_vl", "qwen2_5_vl"])
def test_without_a_vision_graph_a_package_lacks_something(prefix: str) -> None:
    with pytest.raises(RegistryError, match=f"lacks its vision graph, which a '{prefix}' model needs"):
        Registry.load().check(prefix, has_vision=False)
