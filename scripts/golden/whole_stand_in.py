"""Write tests/whole/golden/stand_in.npz: what transformers says to the cases of tests/whole/stand_in.py.

python -m scripts.golden.whole_stand_in
"""

import numpy as np

from backends.base import Array
from tests.whole.stand_in import CASES, GOLDEN, expected, path, question

if __name__ == "__main__":
    answers: dict[str, Array] = {}
    for name in CASES:
        with path(name) as (files, found):
            answers[name] = expected(name, question(name, files, found))
    np.savez_compressed(GOLDEN, allow_pickle=False, **answers)
