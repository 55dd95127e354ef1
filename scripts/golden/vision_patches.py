"""Write tests/vision/golden/patches.json: hashes of the patches transformers cuts, for every entry and size.

python -m scripts.golden.vision_patches
"""

import json
from pathlib import Path

from gateway.vision.registry import Registry
from tests.vision.reference import patch_digests

if __name__ == "__main__":
    golden = patch_digests([encoder.spec for encoder in Registry.load().encoders])
    Path("tests/vision/golden/patches.json").write_text(json.dumps(golden, indent=1) + "\n")
