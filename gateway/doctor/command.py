"""`axgate doctor`: every check, one after the other, on the terminal and in a file for an issue."""

import json
from argparse import ArgumentParser, Namespace
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table
from rich.text import Text

from backends.axcl.backend import DeviceKind
from backends.axcl.monitor import TOOL
from backends.export import ExportOptions, export_package
from gateway.demo import CHECKPOINT, MODEL_NAME
from gateway.doctor.checks import CHECKS
from gateway.doctor.examination import Checked, examine
from gateway.doctor.machine import Machine
from gateway.doctor.patient import Orders
from gateway.doctor.report import Names, for_an_issue, told, verdict
from gateway.errors import printable

STYLES = {"ok": "green", "warning": "yellow", "failed": "bold red", "skipped": "dim"}


def doctor_arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument
    about = "a card (default), or the emulated one, which needs no hardware and brings a model along"
    add("--device", choices=["card", "emulator"], default="card", help=about)
    add("--device-index", type=int, default=0, metavar="N", help="which card, counted from 0")
    add("--model", type=Path, metavar="DIR", help="package to load, test, and run for a few tokens")
    about = "also kill processes at their work on the card and fill its memory, which may upset its driver"
    add("--stress", action="store_true", help=about)
    add("--json", action="store_true", help="print one JSON object instead of lines")
    about = "where the report goes (default: axgate-doctor-DATE-TIME.md here)"
    add("--report", type=Path, metavar="FILE", help=about)
    parser.set_defaults(run=doctor)


def doctor(options: Namespace) -> int:
    """`options`: device, device_index, model, stress, json, report. The exit status: 0, or 1 where a check
    failed. Raises OSError where the report cannot be written."""
    console = Console(highlight=False)
    with ExitStack() as undo:
        orders = Orders(
            machine=Machine.here(),
            device=options.device,
            device_index=options.device_index,
            model=options.model or _brought_along(options.device, undo),
            smi=TOOL,
            stress=options.stress,
        )
        examination = examine(orders, lambda each: None if options.json else console.print(_line(each)))
    report = told(examination, orders, Names.here())
    path: Path = options.report or Path(f"axgate-doctor-{datetime.now():%Y%m%d-%H%M%S}.md")
    if options.json:
        print(json.dumps({**report, "report_file": str(path)}, indent=2, ensure_ascii=False))
    else:
        console.print(f"\n{verdict(report)} For an issue: {path}", soft_wrap=True)
    path.write_text(for_an_issue(report), "utf-8")
    return 0 if examination.passed else 1


def _brought_along(device: DeviceKind, undo: ExitStack) -> Path | None:
    """The demo model, which only the emulated card can run."""
    if device == "card":
        return None
    folder = Path(undo.enter_context(TemporaryDirectory(prefix="axgate-"))) / MODEL_NAME
    export_package(CHECKPOINT, folder, ExportOptions(), lambda *_: None)
    return folder


def _line(checked: Checked) -> Table:
    finding = checked.finding
    line = Table.grid(padding=(0, 1))
    line.add_column(width=max(map(len, STYLES)))
    line.add_column(width=max(len(check.name) for check in CHECKS))
    line.add_column()
    line.add_row(
        Text(finding.status, STYLES[finding.status]), checked.check.name, Text(printable(finding.found))
    )
    if finding.cure:
        line.add_row("", "", Text(f"→ {finding.cure}", "italic"))
    return line
