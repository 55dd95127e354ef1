"""Changes to what emulated packages say of themselves, and to what they are."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import onnx

from backends.axcl.package import Package, open_package
from backends.emulator.model import GROUPS

Groups = list[dict[str, Any]]
Change = Callable[[Groups], object]


def copied(package: Package, folder: Path) -> Package:
    """One that a test may change, in a folder that is made."""
    return open_package(Path(shutil.copytree(package.folder, folder)))


def regrouped(path: Path, change: Change, names: Mapping[str, str] | None = None) -> None:
    """Change what a graph says of its groups in place, and then what its tensors are called."""
    model = onnx.load(path)
    entry = next(entry for entry in model.metadata_props if entry.key == GROUPS)
    groups = json.loads(entry.value)
    change(groups)
    for group in groups:
        for tensor in (*group["inputs"], *group["outputs"]):
            tensor["name"] = (names or {}).get(tensor["name"], tensor["name"])
    entry.value = json.dumps(groups)
    for value in (*model.graph.input, *model.graph.output):
        value.name = (names or {}).get(value.name, value.name)
    for node in model.graph.node:
        node.input[:] = [(names or {}).get(name, name) for name in node.input]
        node.output[:] = [(names or {}).get(name, name) for name in node.output]
    onnx.save(model, path)


def tensor(group: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(
        each for each in (*group["inputs"], *group["outputs"]) if each["name"] == name
    )
    return found
