"""Write tests/vision/golden/squares.json: hashes of the pixels that the references prepare, for every entry
and size.

python -m scripts.golden.vision_squares
"""

import json
from pathlib import Path

from tests.vision.square_reference import digests

if __name__ == "__main__":
    Path("tests/vision/golden/squares.json").write_text(json.dumps(digests(), indent=1) + "\n")
