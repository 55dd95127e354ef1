"""Write tests/vision/golden/internvl_tiles.json: digests of the tiles of GotOcr2ImageProcessorPil.

python -m scripts.golden.internvl_tiles
"""

import json
from pathlib import Path

from tests.vision.internvl_reference import digests

GOLDEN = Path(__file__).parents[2] / "tests" / "vision" / "golden" / "internvl_tiles.json"

if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(digests(), indent=1) + "\n")
