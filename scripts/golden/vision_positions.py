"""Write tests/vision/golden/positions.json: the position ids transformers gives to every layout.

python -m scripts.golden.vision_positions
"""

import json
from pathlib import Path

from tests.vision.reference import LAYOUTS, positions

if __name__ == "__main__":
    golden = {name: positions(layout) for name, layout in LAYOUTS.items()}
    lines = [f" {json.dumps(name)}: {json.dumps(rows)}" for name, rows in golden.items()]
    Path("tests/vision/golden/positions.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
