"""Write tests/vision/golden/smolvlm_tiles.json: hashes of the tiles that transformers cuts for SmolVLM.

python -m scripts.golden.smolvlm_tiles
"""

import json
from pathlib import Path

from tests.vision.smolvlm_reference import digests

if __name__ == "__main__":
    Path("tests/vision/golden/smolvlm_tiles.json").write_text(json.dumps(digests(), indent=1) + "\n")
