"""Pictures that show what the demo model can do: `python -m training.demo_pictures gateway/demo/pictures`."""

from __future__ import annotations

import argparse
import random
from pathlib import Path

from training.scenes import Scene, shape_scene, text_scene

SIZE = 384
"""Pixels along a side: a picture as people have it, not as the model sees it."""
_SHAPES_SEED = 7
_WORD_SEED = 15
_WORD = "COFFEE"


def demo_scenes() -> dict[str, Scene]:
    """The scenes by file name: three shapes, and a word that training never showed."""
    return {
        "shapes.png": shape_scene(random.Random(_SHAPES_SEED), (3, 3)),
        "word.png": text_scene(random.Random(_WORD_SEED), _WORD),
    }


def main() -> None:
    """Write the pictures into a folder."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folder", type=Path)
    folder: Path = arguments.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, scene in demo_scenes().items():
        scene.render(SIZE).save(folder / name, optimize=True)


if __name__ == "__main__":
    main()
