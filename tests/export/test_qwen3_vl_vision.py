import numpy as np
import pytest

from backends.export.qwen3_vl_vision import resample_positions
from backends.export.qwen_vl import patch_coordinates
from tests.export.cases import CASES, exported, patches
from tests.export.expected import golden

PICTURED = [name for name, case in CASES.items() if case.num_pictures]
BOUND = 3e-6  # relative to the largest feature; fp32 on both sides


@pytest.mark.parametrize("name", PICTURED)
def test_features_are_those_of_transformers(name: str) -> None:
    features = exported(name).see([patches(picture) for picture in CASES[name].pictures()])
    expected = golden(name).features
    assert features.shape == expected.shape
    assert np.abs(features - expected).max() <= BOUND * np.abs(expected).max()


def test_the_graph_takes_pixels_and_gives_embeds_before_deepstack() -> None:
    vision = exported("own k/v heads, three levels, untied, fp16 weights").vision
    assert vision is not None
    pixels = {"name": "hidden_states", "dtype": "uint8", "shape": [1, 24, 128, 3]}
    names = ["hidden_states_out", "deepstack_feature_0", "deepstack_feature_1", "deepstack_feature_2"]
    outputs = [{"name": name, "dtype": "float32", "shape": [6, 64]} for name in names]
    assert vision.groups == [{"inputs": [pixels], "outputs": outputs}]


def test_patches_go_block_by_block() -> None:
    rows, columns = patch_coordinates((4, 4), merge_size=2)
    assert rows.tolist() == [0, 0, 1, 1, 0, 0, 1, 1, 2, 2, 3, 3, 2, 2, 3, 3]
    assert columns.tolist() == [0, 1, 0, 1, 2, 3, 2, 3, 0, 1, 0, 1, 2, 3, 2, 3]


def test_learned_positions_keep_their_corners() -> None:
    table = np.arange(9, dtype=np.float32).reshape(3, 3, 1)
    assert resample_positions(table, (3, 3)).tolist() == table.tolist()
    assert resample_positions(table, (2, 5))[..., 0].tolist() == [[0, 0.5, 1, 1.5, 2], [6, 6.5, 7, 7.5, 8]]
    assert resample_positions(table, (1, 1)).tolist() == [[[0]]]
