"""A user who may not open everything."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CLOSED = 0o600 if os.geteuid() == 0 else 0
"""The mode of what somebody else may not open, and of what nobody may, where there is no other user to be."""


@contextmanager
def somebody_else(scratch: Path) -> Iterator[None]:
    """Root may open what nobody may. `scratch` is open to everybody from now on."""
    for folder in (scratch, *scratch.parents[:3]):  # the run's own, which it keeps for its user alone
        folder.chmod(0o755)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
