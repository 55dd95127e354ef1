"""Write tests/vision/golden/positions.json and positions_qwen2.json: the position ids transformers gives to
every layout.

python -m scripts.golden.vision_positions
"""

import json
from pathlib import Path

from tests.vision.reference import LAYOUTS, positions, positions_qwen2


def write(name: str, golden: dict[str, list[list[int]]]) -> None:
    lines = [f" {json.dumps(layout)}: {json.dumps(rows)}" for layout, rows in golden.items()]
    Path("tests/vision/golden", name).write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    write("positions.json", {name: positions(layout) for name, layout in LAYOUTS.items()})
    write("positions_qwen2.json", positions_qwen2())
