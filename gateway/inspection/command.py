"""`axgate inspect` on the terminal."""

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from backends.base import DeviceError, PackageError
from gateway.errors import printable
from gateway.inspection.messages import Orders
from gateway.inspection.report import Report, Value, inspected
from gateway.inspection.ward import report_of


def inspect_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="package folder")
    about = (
        "load the model on this card, counted from 0 (default: 0), or on the emulated one where there is no "
        "pyAXCL, and test which ways of writing K/V rows agree; without this option no card is touched, and "
        "only graphs for the emulated one are read"
    )
    parser.add_argument("--device", type=int, nargs="?", const=0, metavar="INDEX", help=about)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.set_defaults(run=inspect)


def inspect(options: Namespace) -> int:
    """`options`: folder, device, json. The exit status: 0, or 1 for a package that cannot be served. Raises
    PackageError where it is broken, DeviceError, OSError, SettingsError, and RegistryError for a broken
    registry."""
    try:
        if options.device is None:
            report = inspected(options.folder)
        else:
            report = report_of(Orders(options.folder, options.device))
    except (PackageError, DeviceError, OSError) as error:
        if options.json:
            served = "no" if isinstance(error, PackageError) else "unknown"
            print(json.dumps({"service": {"served": served, "reason": str(error)}}, indent=2))
        raise
    if options.json:
        print(json.dumps(report, indent=2))  # in ASCII: file names may hold what a terminal cannot take
    else:
        _print(options.folder.resolve().name, report)
    return 1 if report["service"]["served"] == "no" else 0


def _print(name: str, report: Report) -> None:
    table = Table("", "fact", "value", title=printable(name))
    for section, facts in report.items():
        about = section.replace("_", " ")
        shown = {name: value for name, value in facts.items() if value is not None}
        for place, (name, value) in enumerate(shown.items()):
            words = name.removesuffix("_bytes").replace("_", " ")
            table.add_row(
                "" if place else about, words, _cell(name, value), end_section=place == len(shown) - 1
            )
    Console(highlight=False, markup=False, emoji=False).print(table)


def _cell(name: str, value: Value) -> str:
    match value:
        case list():
            return ", ".join(map(str, value)) or "none"
        case int() if name.endswith("_bytes"):
            return decimal(value)
        case int():
            return f"{value:,}"
        case _:
            return printable(str(value))
