"""Folders with one thing wrong: a sentence says what, to whoever inspects and to whoever serves, and the card
has all of its memory back."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest

from backends.base import DeviceError, PackageError
from backends.emulator import Emulator
from backends.export import ExportOptions, export_package
from gateway.cli import main
from gateway.demo import CHECKPOINT
from gateway.engine.messages import Place, WorkerConfig
from gateway.engine.worker import build_engine
from gateway.logs import LogFormat
from gateway.vision.registry import RegistryError
from tests.axcl.edits import Groups, regrouped, tensor
from tests.axcl.published import PUBLISHED, write
from tests.packages import new_folder, no_progress

CMM_BYTES = 64 << 20
LAYER0, LAYER3 = (f"qwen3_vl_text_p64_l{index}_together.axmodel" for index in (0, 3))
POST, TABLE, VISION = (
    "qwen3_vl_text_post.axmodel",
    "model.embed_tokens.weight.bfloat16.bin",
    "demo_vision.axmodel",
)
NO_MODEL = (
    "it is no compiled model that this device takes: cut off, damaged, or for another chip (0x8030070C)"
)

Damage = Callable[[Path], object]


@cache
def whole() -> Path:
    """The demo model, which every other one here is a copy of."""
    folder = new_folder() / "demo"
    export_package(
        CHECKPOINT, folder, ExportOptions(kv_cache_len=255, prefill_len=64, histories=(64,)), no_progress
    )
    return folder


def gone(name: str) -> Damage:
    return lambda folder: (folder / name).unlink()


def cut(name: str, num_bytes: int) -> Damage:
    return lambda folder: os.truncate(folder / name, (folder / name).stat().st_size - num_bytes)


def holding(name: str, content: bytes) -> Damage:
    return lambda folder: (folder / name).write_bytes(content)


def linked(name: str, to: str) -> Damage:
    def damage(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).symlink_to(to)

    return damage


def folder_in_place_of(name: str) -> Damage:
    def damage(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).mkdir()

    return damage


def changed(pattern: str, change: Callable[[Groups], object]) -> Damage:
    def damage(folder: Path) -> None:
        for file in folder.glob(pattern):
            regrouped(file, change)

    return damage


def half_a_chunk(groups: Groups) -> None:
    """The group with a history takes 32 positions in place of 64."""
    for name in ("indices", "input", "mask", "K_cache_out", "V_cache_out", "output"):
        tensor(groups[2], name)["shape"][1] = 32
    tensor(groups[2], "mask")["shape"][2] = 64 + 32


def wider_features(groups: Groups) -> None:
    tensor(groups[0], "hidden_states_out")["shape"] = [36, 256]


def of_another_family(folder: Path) -> None:
    other = write(new_folder() / "other", PUBLISHED["SmolVLM-256M"])
    shutil.copy(next(other.glob("*vision*")), folder / VISION)


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 837633\n"
BAD: dict[str, tuple[Damage, str]] = {
    "missing layer": (
        gone(LAYER3),
        "{folder} lacks the graph of layer 3 (there are 5 others)",
    ),
    "truncated layer": (cut(LAYER3, 100), f"engine_load_from_file({LAYER3}): {NO_MODEL}"),
    "truncated post graph": (cut(POST, 100), f"engine_load_from_file({POST}): {NO_MODEL}"),
    "truncated vision graph": (cut(VISION, 100), f"engine_load_from_file({VISION}): {NO_MODEL}"),
    "LFS pointer": (
        holding(LAYER3, POINTER),
        f"{{folder}}/{LAYER3} is a Git LFS pointer, not the model: fetch it with `git lfs pull`",
    ),
    "LFS pointer in place of the table": (
        holding(TABLE, POINTER),
        f"{{folder}}/{TABLE} is a Git LFS pointer, not the model: fetch it with `git lfs pull`",
    ),
    "embeddings of another width": (
        cut(TABLE, 2),
        f"{TABLE} has 294910 bytes, not a whole number of rows of 192 bf16",
    ),
    "embeddings of fewer tokens": (
        cut(TABLE, 2 * 192),
        f"{TABLE} has 767 rows, but the head knows 768 tokens",
    ),
    "chunks of two sizes": (
        changed("*_l*_*", half_a_chunk),
        f"{LAYER0} mixes prefill chunks of different sizes: 64, 32",
    ),
    "one layer with another chunk": (
        changed("*_l3_*", half_a_chunk),
        f"{LAYER3}, group 2: indices uint32[3, 32], expected indices uint32[3, 64] as in {LAYER0}",
    ),
    "vision graph of another family": (
        of_another_family,
        "no entry fits the vision graph of this 'qwen3_vl_text' package: its input is uint8 [1, 512, 512, 3]",
    ),
    "vision graph of a larger model": (
        changed("*_vision*", wider_features),
        "The vision graph's output hidden_states_out is [36, 256], expected [36, 192].",
    ),
    "link to nowhere": (
        linked(LAYER3, "nowhere"),
        f"{{folder}}/{LAYER3} cannot be read: No such file or directory",
    ),
    "link to itself": (
        linked(POST, POST),
        f"{{folder}}/{POST} cannot be read: Too many levels of symbolic links",
    ),
    "folder in place of a file": (
        folder_in_place_of(TABLE),
        f"{{folder}}/{TABLE} cannot be read: Is a directory",
    ),
    "empty file": (holding(VISION, b""), f"{{folder}}/{VISION} is empty"),
}
SHOWN_ALL_THE_SAME = {"vision graph of another family", "vision graph of a larger model"}
"""What else there is can be told, so `axgate inspect` tells it."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)  # where no settings lie
    return Path(shutil.copytree(whole(), tmp_path / "package"))


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Emulator:
    """In pyAXCL's place."""
    card = Emulator(cmm_bytes=CMM_BYTES)
    monkeypatch.setitem(sys.modules, "axcl", card)
    return card


def free_before_reset(card: Emulator, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What is free each time the device is given back, which would free all that was forgotten, too."""
    free, reset = [], card.rt.reset_device
    (only,) = card._process.cards.values()

    def looked_at(device_id: int) -> int:
        free.append(only.memory.free_bytes)
        return reset(device_id)

    monkeypatch.setattr(card.rt, "reset_device", looked_at)
    return free


def config(folder: Path) -> WorkerConfig:
    return WorkerConfig(
        package=folder,
        place=Place("card"),
        device_index=0,
        kv_write=None,
        emulated_bytes=0,
        emulated_clock="compute",
        max_sessions=2,
        max_saved_bytes=0,
        max_feature_bytes=0,
        vision_models=None,
        vision_entries=(),
        log_format=LogFormat("error"),
    )


def loaded(folder: Path) -> None:
    """As a worker does it."""
    with ExitStack() as undo:
        build_engine(config(folder), undo, lambda: None)


def test_the_package_that_all_of_these_are_made_from_is_served(
    folder: Path, card: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = free_before_reset(card, monkeypatch)
    loaded(folder)
    assert free == [CMM_BYTES]
    assert main(("inspect", str(folder))) == 0


@pytest.mark.parametrize("name", BAD)
def test_serving_says_what_is_wrong_and_gives_all_memory_back(
    name: str, folder: Path, card: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage, sentence = BAD[name]
    damage(folder)
    free = free_before_reset(card, monkeypatch)
    with pytest.raises((PackageError, RegistryError, DeviceError)) as caught:
        loaded(folder)
    assert str(caught.value).startswith(sentence.format(folder=folder))
    assert set(free) <= {CMM_BYTES}
    assert [each.memory.free_bytes for each in card._process.cards.values()] == [CMM_BYTES]
    # And the card takes the next model as if nothing had been.
    loaded(whole())


@pytest.mark.parametrize("name", BAD)
def test_inspect_says_what_is_wrong(name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damage, sentence = BAD[name]
    damage(folder)
    status = main(("inspect", str(folder), "--json"))
    out, err = capsys.readouterr()
    reason = json.loads(out)["service"]["reason"]
    assert reason.startswith(sentence.format(folder=folder))
    if name in SHOWN_ALL_THE_SAME:
        assert (status, err) == (1, "")
    else:
        assert (status, err) == (2, f"axgate: {reason}\n")
