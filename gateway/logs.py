"""Log lines: `time level logger message key=value …` for people, or one JSON object per line for machines.

Values are passed as `extra={"facts": {...}}`, so that both forms show the same.
"""

import json
import logging
import sys
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Level = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class LogFormat:
    """`level` is the least severe one shown."""

    level: Level = "info"
    json: bool = False


def configure_logging(form: LogFormat) -> None:
    """To standard error, for the whole process, instead of whatever was configured before."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form.json else PlainLines())
    logging.basicConfig(level=form.level.upper(), handlers=[handler], force=True)
    for noisy in ("httpx", "httpcore", "uvicorn.error", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


class PlainLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = f"{_time(record)} {record.levelname:<7} {record.name} {record.getMessage()}"
        line += "".join(f" {key}={_plain(value)}" for key, value in _facts(record).items())
        return "\n".join([line, *_trace(self, record)])


class JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_facts(record),
        }
        if trace := _trace(self, record):
            line["trace"] = "\n".join(trace)
        return json.dumps(line, ensure_ascii=False, default=str)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds")


def _facts(record: logging.LogRecord) -> dict[str, object]:
    facts: dict[str, object] = getattr(record, "facts", {})
    return facts


def _plain(value: object) -> str:
    """Quoted where a reader could not tell where it ends, or a client's text could pass for another line."""
    text = str(value)
    return text if text.isprintable() and text and not set(text) & set(' ="') else json.dumps(text)


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> list[str]:
    return [formatter.formatException(record.exc_info)] if record.exc_info else []
