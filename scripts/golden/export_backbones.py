"""Write tests/export/golden/backbones.npz: what transformers computes for tests/export/backbones.py.

python -m scripts.golden.export_backbones
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from backends.base import Array
from tests.export.backbones import CASES, expected

if __name__ == "__main__":
    arrays: dict[str, Array] = {}
    for name, case in CASES.items():
        with TemporaryDirectory() as folder:
            answer = expected(case, case.write_checkpoint(Path(folder) / "checkpoint"))
        arrays |= {f"{name}/features": answer.features, f"{name}/logits": answer.logits[-2:]}
    np.savez_compressed("tests/export/golden/backbones.npz", allow_pickle=False, **arrays)
