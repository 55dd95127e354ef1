"""Write tests/vision/golden/qwen3_vl_videos.json: what transformers makes of videos for Qwen3-VL.

python -m scripts.golden.vision_videos
"""

import json
from pathlib import Path

from tests.vision.qwen3_vl_reference import golden

if __name__ == "__main__":
    path = Path("tests/vision/golden/qwen3_vl_videos.json")
    parts = []
    for part, cases in golden().items():
        lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in cases.items())
        parts.append(f" {json.dumps(part)}: {{\n{lines}\n }}")
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n")
