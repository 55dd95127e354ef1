"""Which chip a file was compiled for, as far as names tell: packages for others (AX630C, AX620E, AX637) are
published under names much like those for the card's."""

import re

_CHIP = re.compile(r"(?<![a-z])ax(\d{3,4}[a-z]?)(?![a-z0-9])", re.IGNORECASE)
_CARD = ("650", "8850")  # the AX8850 of some cards is an AX650N


def wrong_chip(*names: str) -> str | None:
    """The chip that a file was compiled for, if the first of its names that tells one tells one that is not
    the card's."""
    for told in names:
        chips = _CHIP.findall(told)
        if any(chip.startswith(_CARD) for chip in chips):
            return None
        if chips:
            return f"AX{chips[0].upper()}"
    return None
