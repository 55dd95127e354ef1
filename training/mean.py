"""The mean of two checkpoints' weights: `python -m training.mean ONE OTHER OUT`.

Where both come from the same start, it often keeps what each of them has learnt.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

WEIGHTS = "model.safetensors"


def mean(one: Path, other: Path, out: Path) -> None:
    """Write the weights to the checkpoint folder `out`, which has all but them."""
    first, second = load_file(one / WEIGHTS), load_file(other / WEIGHTS)
    both = {name: (first[name].astype(np.float32) + second[name].astype(np.float32)) / 2 for name in first}
    save_file({name: both[name].astype(first[name].dtype) for name in first}, out / WEIGHTS, {"format": "pt"})


if __name__ == "__main__":
    mean(*map(Path, sys.argv[1:4]))
