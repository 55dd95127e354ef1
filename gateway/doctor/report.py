"""What was found, for a program and for an issue: without names of people or machines."""

import json
import platform
import pwd
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from os import getuid
from pathlib import Path
from typing import Any

from gateway import __version__
from gateway.doctor.examination import Checked, Examination
from gateway.doctor.patient import Orders
from gateway.errors import printable

Report = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Names:
    """What a report does not tell."""

    home: str
    user: str
    host: str

    @classmethod
    def here(cls) -> "Names":
        try:
            user = pwd.getpwuid(getuid()).pw_name
        except KeyError:  # a container's user may have none
            user = ""
        return cls(str(Path.home()), user, platform.node())

    def hide(self, text: str) -> str:
        if self.home.strip("/"):
            text = re.sub(rf"{re.escape(self.home)}(?![\w-])", "~", text)
        text = re.sub(r"(?<=/home/)[^/\s'\":]+", "USER", text)
        if self.user:
            text = re.sub(rf"(?<=/){re.escape(self.user)}(?![\w-])", "USER", text)
        if self.host:
            text = re.sub(rf"(?<![\w-]){re.escape(self.host)}(?![\w-])", "HOST", text)
        return text


def told(examination: Examination, orders: Orders, names: Names) -> Report:
    """For programs."""
    return {
        "axgate": __version__,
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "device": orders.device,
        "device_index": orders.device_index,
        "python": platform.python_version(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "passed": examination.passed,
        "checks": [_told(each, names) for each in examination.checked],
        "said": names.hide(examination.said),
    }


def _told(checked: Checked, names: Names) -> Mapping[str, Any]:
    finding = checked.finding
    return {
        "name": checked.check.name,
        "status": finding.status,
        "found": names.hide(printable(finding.found)),
        "cure": names.hide(finding.cure),
        "numbers": dict(finding.numbers),
        "seconds": round(checked.seconds, 3),
    }


def verdict(report: Report) -> str:
    """One sentence."""
    statuses = [check["status"] for check in report["checks"]]
    counts = [f"{statuses.count(status)} {status}" for status in ("ok", "warning", "failed", "skipped")]
    return f"{len(statuses)} checks: {', '.join(counts)}."


def for_an_issue(report: Report) -> str:
    """Markdown: what a person reads, and everything once more for programs."""
    lines = [
        "# axgate doctor",
        "",
        f"axgate {report['axgate']}, {report['date']}, {report['device']} {report['device_index']}, Python "
        f"{report['python']}, Linux {report['kernel']} on {report['machine']}. {verdict(report)}",
        "",
        "| check | | found |",
        "|---|---|---|",
    ]
    for check in report["checks"]:
        found = f"{check['found']} → {check['cure']}" if check["cure"] else check["found"]
        cell = " ".join(found.split()).replace("|", "\\|")
        lines.append(f"| {check['name']} | {check['status']} | {cell} |")
    return "\n".join([*lines, "", "```json", json.dumps(report, indent=1, ensure_ascii=False), "```", ""])
