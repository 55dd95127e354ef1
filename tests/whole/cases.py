"""The models and prompts of the whole path. Their seeds are such that greedy decoding is well defined for 64
tokens: no token leads by less than bf16 logits can tell apart (scripts/golden/whole_path.py finds them)."""

import numpy as np

from tests.export.cases import Case

CASES = {
    "text only": Case({"tied": False}, num_pictures=0, seed=51),
    "text only, tied": Case({"kv_heads": 1}, num_pictures=0),
    "two heads a k/v head, two levels": Case({"tied": False}, seed=26),
    "one k/v head, one level": Case(
        {"kv_heads": 1, "num_deepstack": 1, "tied": False}, picture_size=(48, 32)
    ),
    "own k/v heads, three levels, wide heads": Case(
        {"heads": 2, "kv_heads": 2, "head_dim": 32, "num_deepstack": 3, "tied": False, "dtype": np.float16},
    ),
    "two pictures": Case({"tied": False}, num_pictures=2, picture_size=(32, 32), seed=4),
    "two pictures, tied": Case({"head_dim": 32}, num_pictures=2),
}
