"""How long calls took on real cards: the rows of recorded.toml, and what they say about one model."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).with_name("recorded.toml")
LINK = "link"
"""The rows about PCIe; all others are about a model."""


@dataclass(frozen=True, slots=True)
class Row:
    """One published value, or several by history; `note` where it follows from others that were."""

    what: str
    value: float | Mapping[str, float]
    unit: str
    source: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Link:
    """What PCIe adds to every call, and how many bytes it carries in a millisecond."""

    round_trip_ms: float
    up: float
    down: float

    def up_ms(self, num_bytes: int) -> float:
        return num_bytes / self.up

    def down_ms(self, num_bytes: int) -> float:
        return num_bytes / self.down


@dataclass(frozen=True, slots=True)
class Recorded:
    """One model on a card: its shapes, and the time of the NPU for each kind of execute.

    decode_ms, head_ms, vision_ms: one layer for one token, the logits of one row, one run of the encoder
    prefill_ms: one layer for one chunk, by the rows of history that the group can see
    num_deepstack: how many layers have features added to their output
    """

    name: str
    num_layers: int
    hidden_size: int
    kv_dim: int
    vocab_size: int
    index_rows: int
    num_deepstack: int
    kv_cache_len: int
    prefill_len: int
    decode_ms: float
    prefill_ms: Mapping[int, float]
    head_ms: float
    vision_ms: float
    link: Link

    @classmethod
    def load(cls, name: str) -> "Recorded":
        """Raises KeyError for a model of which nothing is recorded."""
        rows = read_rows()
        link, model = _numbers(rows[LINK]), _numbers(rows[name])
        return cls(
            name=name,
            num_layers=int(model["num_layers"]),
            hidden_size=int(model["hidden_size"]),
            kv_dim=int(model["kv_dim"]),
            vocab_size=int(model["vocab_size"]),
            index_rows=int(model["index_rows"]),
            num_deepstack=int(model.get("num_deepstack", 0)),
            kv_cache_len=int(model["kv_cache_len"]),
            prefill_len=int(model["prefill_len"]),
            decode_ms=model["decode"],
            prefill_ms=_by_history(rows[name]),
            head_ms=model["head"],
            vision_ms=model["vision"],
            link=Link(link["round_trip"], link["up"] * 1000, link["down"] * 1000),
        )

    def layer_ms(self, chunk: int, history: int) -> float:
        """One layer's execute. A history that is not recorded takes what the next larger one takes, or the
        largest; a chunk of any length what the recorded one takes."""
        if chunk == 1:
            return self.decode_ms
        enough = [rows for rows in self.prefill_ms if rows >= history]
        return self.prefill_ms[min(enough) if enough else max(self.prefill_ms)]


def recorded_models() -> tuple[str, ...]:
    return tuple(about for about in read_rows() if about != LINK)


def read_rows() -> Mapping[str, tuple[Row, ...]]:
    """All rows: those of the link, and those of each model under its name."""
    tables = tomllib.loads(FILE.read_text("utf-8"))
    return {about: tuple(Row(**row) for row in rows) for about, rows in tables.items()}


def _numbers(rows: tuple[Row, ...]) -> dict[str, float]:
    return {row.what: float(row.value) for row in rows if not isinstance(row.value, Mapping)}


def _by_history(rows: tuple[Row, ...]) -> dict[int, float]:
    tables = [row.value for row in rows if isinstance(row.value, Mapping)]
    return {int(history): value for table in tables for history, value in table.items()}
