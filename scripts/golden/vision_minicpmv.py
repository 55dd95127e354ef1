"""Write tests/vision/golden/minicpmv.json: grids of slices, and hashes of the pixels of square views.

python -m scripts.golden.vision_minicpmv
"""

import json
from pathlib import Path

from tests.vision.minicpmv_reference import golden

if __name__ == "__main__":
    Path("tests/vision/golden/minicpmv.json").write_text(json.dumps(golden(), indent=1) + "\n")
