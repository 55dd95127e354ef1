"""`axgate recipe`, as a person calls it."""

import tarfile
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.demo import CHECKPOINTS, PICTURES

DEMO = CHECKPOINTS["axgate-demo"]


def told(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str]:
    status = main(["recipe", *map(str, words)])
    return status, capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_recipe_is_made_of_a_checkpoint_and_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    status, last = told(capsys, CHECKPOINTS[name], tmp_path / "made", "--pictures", PICTURES)
    assert (status, last.startswith("Compile it")) == (0, True)
    with tarfile.open(tmp_path / "made" / "calibration.tar") as archive:
        assert len(archive.getnames()) == len(list(PICTURES.iterdir()))


def test_a_file_that_is_no_picture_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("not a picture")
    status, last = told(capsys, DEMO, tmp_path / "made", "--pictures", tmp_path)
    assert status == 2
    assert last.startswith(f"axgate: {tmp_path / 'notes.txt'}: expected a picture: ")
    assert not (tmp_path / "made").exists()


def test_a_size_without_an_entry_is_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    size = ("--image-width", "112", "--image-height", "112")
    status, last = told(capsys, DEMO, tmp_path / "made", "--pictures", PICTURES, *size)
    assert status == 2
    assert last.startswith("axgate: no entry fits the vision graph of this 'qwen3_vl_text' package")
    assert not (tmp_path / "made").exists()
