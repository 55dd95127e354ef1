"""The published packages by short names: catalogue.json."""

from collections.abc import Collection
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from gateway.hub.errors import PullError
from gateway.hub.plan import Choice

ENTRIES = Path(__file__).with_name("catalogue.json")


class Entry(BaseModel):
    """One package.

    family:    who must see its pictures, as in vision_models.json; None for a text model
    size:      parameters and how the weights are stored
    folder, vision, tokenizer: which one to take, see Choice
    refused:   why it cannot be served however its pictures are seen
    confirmed: the commit whose files were looked at
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    repository: str
    family: str | None
    size: str
    folder: str | None = None
    vision: str | None = None
    tokenizer: str | None = None
    refused: str | None = None
    confirmed: str

    @property
    def choice(self) -> Choice:
        return Choice(self.folder, self.vision, self.tokenizer)

    def obstacle(self, families: Collection[str]) -> str | None:
        """Why a package cannot be served where these vision families are; None if it can."""
        if self.refused is not None:
            return self.refused
        if self.family is None or self.family in families:
            return None
        return f"the vision family {self.family} is not served yet"


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    source: str
    packages: dict[str, Entry]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """`source` says where the facts are from, and of which day."""

    source: str
    entries: dict[str, Entry]

    @classmethod
    def load(cls) -> "Catalogue":
        file = _File.model_validate_json(ENTRIES.read_text("utf-8"))
        return cls(file.source, file.packages)

    def find(self, name: str) -> Entry:
        """Raises PullError, with the closest names."""
        if name in self.entries:
            return self.entries[name]
        similar = get_close_matches(name.lower(), self.entries, n=3)
        hint = (
            f"Did you mean {' or '.join(similar)}?" if similar else "`axgate models --available` lists all."
        )
        raise PullError(f"There is no package {name}. {hint} (Any repository can be pulled as OWNER/NAME.)")
