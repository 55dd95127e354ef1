"""Write tests/vision/golden/qwen2_vl_videos.json: which frames transformers takes of videos for Qwen2-VL, and
hashes of the patches it cuts of them.

python -m scripts.golden.vision_videos_qwen2
"""

import json
from pathlib import Path

from tests.vision.qwen2_vl_reference import golden

if __name__ == "__main__":
    Path("tests/vision/golden/qwen2_vl_videos.json").write_text(json.dumps(golden(), indent=1) + "\n")
