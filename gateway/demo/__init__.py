"""What is in the box to try: a small model and two pictures."""

from pathlib import Path

CHECKPOINT = Path(__file__).with_name("checkpoint")
PICTURES = Path(__file__).with_name("pictures")
MODEL_NAME = "axgate-demo"
