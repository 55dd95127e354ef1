"""Write tests/vision/golden/patches.json: hashes of the patches transformers cuts, for every entry and size.

python -m scripts.golden.vision_patches
"""

import json
from pathlib import Path

from tests.vision.reference import patch_digests

if __name__ == "__main__":
    Path("tests/vision/golden/patches.json").write_text(json.dumps(patch_digests(), indent=1) + "\n")
