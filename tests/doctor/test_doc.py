"""docs/doctor.md says what the code does."""

import re
from pathlib import Path

from backends.axcl.measure import NUM_EXECUTES, NUM_ROUND_TRIPS, ROW, TINY
from gateway.doctor import card, running, speech, stress
from gateway.doctor.checks import CHECKS, LOAD_S, LOOK_S

DOC = (Path(__file__).parents[2] / "docs" / "doctor.md").read_text("utf-8")


def test_the_page_lists_every_check() -> None:
    table = DOC.partition("## The checks")[2].partition("\n\nThe checks of")[0]
    assert re.findall(r"^\| `(\w+)` \| (.+) \|$", table, re.MULTILINE) == [
        (check.name, check.about) for check in CHECKS
    ]


def test_the_page_shows_every_check_of_the_emulated_card() -> None:
    shown = re.findall(r"^(ok|skipped) +(\w+) ", DOC.partition("## On the emulated card")[2], re.MULTILINE)
    assert [name for _, name in shown] == [check.name for check in CHECKS]
    assert {name for status, name in shown if status == "skipped"} == {
        check.name for check in CHECKS if check.card_only
    }


def test_what_a_first_contact_has_to_show_is_in_a_check_that_is_there() -> None:
    table = DOC.partition("| to be shown |")[2].partition("\n\n")[0]
    covering = re.findall(r"\| ([^|]+) \|$", table, re.MULTILINE)[2:]
    assert len(covering) > 15
    named = {name for cell in covering for name in re.findall(r"`(\w+)`", cell)}
    assert named <= {check.name for check in CHECKS}


def test_the_numbers_of_the_page_are_those_of_the_code() -> None:
    sizes = [f"{size >> 20} MiB" if size >= 1 << 20 else f"{size >> 10} KiB" for size in card.SIZES]
    for told in (
        f"from {LOOK_S:g} s for a look at files to {LOAD_S / 60:g} min",
        f"the median of {NUM_ROUND_TRIPS} uploads of {TINY} bytes",
        f"a warning above {card.SLOW_ROUND_TRIP_MS:g}",
        f"{sizes[0]}, {sizes[1]} and {sizes[2]} to the card",
        f"a warning below {card.SLOW_LINK // card.MB} MB/s",
        f"the median of {NUM_EXECUTES}",
        f"the median of up to {running.NUM_TOKENS} tokens",
        f"{ROW >> 10} KiB on it",
        f"up to {speech.NUM_SAME} tokens",
        f"up to {speech.MAX_ANSWER} tokens",
        f"{speech.MAX_RUN} times in a row",
        f"{stress.NUM_KILLS} processes",
    ):
        assert told in DOC
