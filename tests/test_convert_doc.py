"""docs/convert.md says what the registry and the exporter say."""

import re

import pytest

from backends.export import deepseek_ocr, fastvlm, text
from backends.export.package import FAMILIES
from gateway.cli import main
from scripts.convert_doc import DOC, MARK, families
from scripts.convert_doc import FAMILIES as TOLD


def test_the_document_is_what_the_script_writes() -> None:
    assert DOC.read_text().partition(MARK)[2] == "\n" + families()


def test_every_kind_of_checkpoint_with_a_vision_graph_is_told() -> None:
    language_alone = {*text.NAMES, *fastvlm.MODEL_TYPES, deepseek_ocr.MODEL_TYPE}
    assert set(TOLD) == set(FAMILIES) - language_alone


def test_the_document_is_about_commands_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["recipe", "--help"])
    assert end.value.code == 0
    told = capsys.readouterr().out
    for option in set(re.findall(r"axgate recipe .*?(--[a-z-]+)", DOC.read_text())):
        assert option in told
