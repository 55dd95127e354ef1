"""`axgate doctor`, as it is typed, and what becomes of it when a card hangs or kills its process."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic

import pytest

from gateway.cli import main
from gateway.doctor.checks import CHECKS, STRESS_CHECKS
from gateway.doctor.examination import Examination, examine
from gateway.doctor.patient import Orders
from gateway.doctor.report import Names, for_an_issue, told
from tests.doctor.hosts import healthy
from tests.packages import text_package

NAMES = [check.name for check in CHECKS]
NOBODY = Names("/", "", "")


@dataclass(frozen=True, slots=True)
class Done:
    status: int
    out: str
    err: str


Doctor = Callable[..., Done]


@pytest.fixture
def doctor(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Doctor:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)

    def call(*options: str) -> Done:
        status = main(("doctor", *options))
        return Done(status, *capsys.readouterr())

    return call


def test_on_the_emulated_card_everything_runs_through(doctor: Doctor) -> None:
    done = doctor("--device", "emulator")
    assert (done.status, done.err) == (0, "")
    lines = re.findall(r"^(ok|warning|failed|skipped) +(\w+) ", done.out, re.MULTILINE)
    assert [name for _, name in lines] == NAMES
    none_needed = {check.name for check in CHECKS if check.card_only} | STRESS_CHECKS
    assert {name for status, name in lines if status == "skipped"} == none_needed
    assert all(status == "ok" for status, name in lines if name not in none_needed)
    (report,) = Path().glob("axgate-doctor-*.md")
    assert done.out.endswith(
        f"{len(NAMES)} checks: {len(NAMES) - len(none_needed)} ok, 0 warning, 0 failed, {len(none_needed)} "
        f"skipped. For an issue: {report}\n"
    )
    rows = re.findall(r"^\| (\w+) \| (ok|skipped) \|", report.read_text(), re.MULTILINE)
    assert [(status, name) for name, status in rows] == lines


def test_json_is_one_object_with_the_numbers(doctor: Doctor, tmp_path: Path) -> None:
    path = tmp_path / "report.md"
    model = str(text_package().folder)
    done = doctor("--device", "emulator", "--model", model, "--json", "--report", str(path))
    assert (done.status, done.err) == (0, "")
    found = json.loads(done.out)
    assert found.pop("report_file") == str(path)
    assert json.loads(path.read_text().split("```json\n")[1].split("```")[0]) == found
    assert (found["passed"], found["device"], found["said"]) == (True, "emulator", "")
    numbers = {check["name"]: check["numbers"] for check in found["checks"]}
    assert list(numbers) == NAMES
    assert numbers["round_trip"]["ms"] > 0
    assert [len(numbers["bandwidth"][name]) for name in ("up_mb_s", "down_mb_s", "across_mb_s")] == [3, 3, 3]
    assert numbers["execute"]["ms"] > 0
    assert all("indices uint32" in group for group in numbers["execute"]["groups"])
    assert numbers["same_tokens"]["num_tokens"] == 55
    assert len(numbers["answer"]["token_ids"]) > 1
    assert numbers["generate"]["token_ms"] > 0
    assert found["checks"][NAMES.index("vision")]["found"] == "this model has no vision graph"


def test_a_broken_model_fails_with_its_sentence(doctor: Doctor, tmp_path: Path) -> None:
    done = doctor("--device", "emulator", "--model", str(tmp_path / "nope"), "--json")
    assert done.status == 1
    (failed,) = [check for check in json.loads(done.out)["checks"] if check["status"] == "failed"]
    assert failed["name"] == "package"
    assert "nope is not a folder with a compiled model" in failed["found"]
    assert failed["cure"] == "axgate inspect DIR tells what a package holds."


def test_without_a_card_every_failure_has_a_cure(doctor: Doctor) -> None:
    done = doctor("--json")
    checks = json.loads(done.out)["checks"]
    assert done.status == 1
    failed = {check["name"] for check in checks if check["status"] == "failed"}
    assert "pyaxcl" in failed
    assert all(check["cure"] for check in checks if check["status"] in ("failed", "warning"))
    after = checks[NAMES.index("open")]
    assert (after["status"], after["found"]) == ("skipped", "`pyaxcl` found nothing to go on")


def test_a_report_that_cannot_be_written_is_told(doctor: Doctor, tmp_path: Path) -> None:
    done = doctor("--report", str(tmp_path / "nowhere" / "report.md"))
    assert done.status == 2
    assert "No such file or directory" in done.err
    assert "give_back" in done.out


# --- cards that do what cards do

Card = Callable[[str], Orders]


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Card:
    """Orders to examine a card in a host that is in order, with a pyAXCL of which these lines are a part."""

    def build(faults: str) -> Orders:
        folder = tmp_path / "binding"
        folder.mkdir()
        (folder / "axcl.py").write_text(
            "import os\nfrom backends.emulator import Emulator\n"
            "card = Emulator(devices=(3,))\ninit, finalize, rt = card.init, card.finalize, card.rt\n" + faults
        )
        monkeypatch.setenv("PYTHONPATH", str(folder))
        return Orders(healthy(tmp_path / "host"), "card", 0, text_package().folder, tmp_path / "axcl-smi")

    return build


def found(examination: Examination) -> dict[str, tuple[str, str]]:
    return {each.check.name: (each.finding.status, each.finding.found) for each in examination.checked}


def test_a_card_that_is_well_passes_and_warnings_do_not_fail(card: Card) -> None:
    seen: list[str] = []
    examination = examine(card("print('the library speaks')\n"), lambda each: seen.append(each.check.name))
    assert seen == NAMES
    statuses = {name: status for name, (status, _) in found(examination).items()}
    assert statuses == dict.fromkeys(NAMES, "ok") | {"smi": "warning"} | dict.fromkeys(
        ("vision", "encoder", *STRESS_CHECKS), "skipped"
    )
    assert (examination.passed, examination.said) == (True, "the library speaks")


def test_a_card_that_hangs_does_not_hang_the_command(card: Card) -> None:
    started_s = monotonic()
    examination = examine(card("card.faults.hang('memcpy', 2)\n"), lambda _: None, max_wait_s=4)
    assert monotonic() - started_s < 40
    told = found(examination)
    assert list(told) == NAMES
    assert told["copies"] == ("failed", "hung in `copies`: no answer within 4 s")
    assert all(status == "ok" for status, _ in list(told.values())[: NAMES.index("copies")])
    after = NAMES[NAMES.index("copies") + 1 :]
    assert {told[name] for name in after} == {("skipped", "the card did not come back from `copies`")}
    (hung,) = [each for each in examination.checked if each.check.name == "copies"]
    assert "axcl-smi reboot" in hung.finding.cure
    assert not examination.passed


def test_a_library_that_crashes_is_told_by_its_signal(card: Card) -> None:
    examination = examine(card("rt.malloc = lambda size, policy: os.abort()\n"), lambda _: None)
    assert found(examination)["copies"] == ("failed", "the process ended with signal SIGABRT")
    assert found(examination)["round_trip"][0] == "skipped"
    assert "Fatal Python error: Aborted" in examination.said


def test_a_card_that_refuses_is_told_with_the_code_and_what_helps(card: Card) -> None:
    examination = examine(card("card.faults.fail('init', 0x8030010B)\n"), lambda _: None)
    (failed,) = [each.finding for each in examination.checked if each.finding.status == "failed"]
    assert failed.found.startswith("init: AXCL_ERR_DEVICE_OPEN: the driver is not loaded")
    assert failed.numbers == {"code": "0x8030010B"}
    assert failed.cure.startswith("The first check that failed explains the later ones.")
    assert found(examination)["package"] == ("skipped", "`open` found nothing to go on")


def test_a_check_that_breaks_is_a_failed_one(card: Card) -> None:
    examination = examine(card("card.rt.get_version = lambda: None\n"), lambda _: None)
    status, told = found(examination)["open"]
    assert (status, told[: told.index(":")]) == ("failed", "TypeError in rt.py")


# --- the report


def test_a_report_names_no_person_and_no_machine(card: Card) -> None:
    orders = card("print('in /home/alice/x and /srv/bob/y on tower')\n")
    secret = replace(orders, model=Path("/home/carol/models/nope"))
    report = told(examine(secret, lambda _: None), secret, Names("/srv/bob/home", "bob", "tower"))
    page = for_an_issue(report)
    assert "in /home/USER/x and /srv/USER/y on HOST" in page
    assert "/home/USER/models/nope is not a folder" in page
    assert not re.search("alice|bob|carol|tower", page)


@pytest.mark.parametrize(
    ("names", "text", "hidden"),
    [
        (
            Names("/root", "root", "pi"),
            "/root/a, /rooted, root, rasppi, pi",
            "~/a, /rooted, root, rasppi, HOST",
        ),
        (Names("/home/ann", "ann", "h-1"), "/home/ann/m /home/anna/m h-1", "~/m /home/USER/m HOST"),
        (Names("/home/ann", "ann", "h-1"), "/x/ann/y /x/annex h-10", "/x/USER/y /x/annex h-10"),
        (NOBODY, "/usr/lib/axcl", "/usr/lib/axcl"),
    ],
)
def test_names_are_hidden_and_nothing_else(names: Names, text: str, hidden: str) -> None:
    assert names.hide(text) == hidden


def test_every_check_needs_only_earlier_ones() -> None:
    for place, check in enumerate(CHECKS):
        assert set(check.needs) <= set(NAMES[:place])
    assert len(set(NAMES)) == len(NAMES)
