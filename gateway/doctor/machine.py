"""The machine that the card is in, as its files tell."""

import platform
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from backends.axcl.cures import DEVICE, VENDOR, Host
from backends.axcl.installed import library_folder, log_file


@dataclass(frozen=True, slots=True)
class Machine:
    """All paths are looked up below `root`.

    libraries: folder of the card's libraries; site: where Python looks for distributions
    log: the file that the library is told to log to; slept_s: in suspend since the machine was started
    """

    root: Path
    libraries: Path
    site: tuple[str, ...]
    log: Path
    architecture: str
    pointer_bits: int
    slept_s: float

    @classmethod
    def here(cls) -> "Machine":
        bits = sys.maxsize.bit_length() + 1
        slept_s = Host.look().slept_s
        return cls(
            Path("/"), library_folder(), tuple(sys.path), log_file(), platform.machine(), bits, slept_s
        )

    def path(self, name: str | Path) -> Path:
        return self.root / str(name).lstrip("/")

    def text(self, name: str | Path) -> str | None:
        """What the file says; None where there is none, or none for this user."""
        try:
            return self.path(name).read_text(errors="replace").strip()
        except OSError:
            return None

    def number(self, name: str, pattern: str) -> int | None:
        """The first group of what `pattern` finds in the file."""
        found = re.search(pattern, self.text(name) or "", re.MULTILINE)
        return int(found[1]) if found else None

    def cards(self) -> Iterator[str]:
        """The folders of the cards on the PCI bus, in its order."""
        for folder in sorted(self.path("/sys/bus/pci/devices").glob("*")):
            name = f"/sys/bus/pci/devices/{folder.name}"
            if (self.text(f"{name}/vendor"), self.text(f"{name}/device")) == (VENDOR, DEVICE):
                yield name
