from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from training.mean import WEIGHTS, mean


def test_the_mean_lies_between_two_checkpoints_and_keeps_their_type(tmp_path: Path) -> None:
    for name, value in (("one", 1.0), ("other", 2.0)):
        (tmp_path / name).mkdir()
        save_file({"weight": np.full((2, 3), value, np.float16)}, tmp_path / name / WEIGHTS)
    mean(tmp_path / "one", tmp_path / "other", tmp_path)
    np.testing.assert_array_equal(
        load_file(tmp_path / WEIGHTS)["weight"], np.full((2, 3), 1.5, np.float16), strict=True
    )
