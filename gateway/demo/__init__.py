"""What is in the box to try: small models and two pictures."""

from pathlib import Path

_HERE = Path(__file__).parent
MODEL_NAME = "axgate-demo"
CHECKPOINT = _HERE / "checkpoint"
CHECKPOINTS = {MODEL_NAME: CHECKPOINT} | {
    f"{MODEL_NAME}-{folder}": _HERE / folder
    for folder in ("internvl", "smolvlm")
    if (_HERE / folder / "model.safetensors").is_file()
}
"""By the name of the model, the first one first."""
PICTURES = _HERE / "pictures"
