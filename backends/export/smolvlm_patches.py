"""Gives a published SmolVLM2 package whose vision graph takes patch embeddings the weights that make them.

python -m backends.export.smolvlm_patches CHECKPOINT PACKAGE

CHECKPOINT is the folder of the Hugging Face checkpoint that the package was compiled from. The package comes
with the same weights as a pickled module, which nobody should load: a pickle can run any program.
"""

import sys
from pathlib import Path

from backends.export.checkpoint import Checkpoint
from backends.export.errors import ExportError
from backends.export.options import ExportOptions
from backends.export.smolvlm import read_model


def main(checkpoint: Path, package: Path) -> None:
    model = read_model(Checkpoint(checkpoint), ExportOptions(vision_input="f32-patches"))
    assert model.vision is not None
    for name, write in model.vision.files.items():
        file = package / name
        file.parent.mkdir(exist_ok=True)
        write(file)
        print(file)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m backends.export.smolvlm_patches CHECKPOINT PACKAGE")
    try:
        main(*map(Path, sys.argv[1:]))
    except (ExportError, OSError) as error:
        sys.exit(f"{error}")
