"""JSON lines on stdout. No bodies, queries, headers or tokens ever enter a log call; this file only formats."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

import orjson

from slipway_runtime.serve.observe.lines import Lines

_OWN = "slipway_runtime"
_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE
logger = logging.getLogger(_OWN)
lines = Lines(1)
_everywhere: dict[str, Any] = {}


class JsonLines(logging.Handler):
    """One object per line: time, level, logger, message, and the fields given as `extra={"fields": {…}}`."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            lines.add(orjson.dumps(_object(record), default=str, option=_OPTIONS))
        except Exception:  # as logging's own handlers: a line that cannot be written must not fail who wrote it
            self.handleError(record)


def _object(record: logging.LogRecord) -> dict[str, Any]:
    line: dict[str, Any] = {
        "time": datetime.fromtimestamp(record.created, UTC),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": record.getMessage(),
        **_everywhere,
        **getattr(record, "fields", {}),
    }
    if record.exc_info and record.exc_info[0] is not None:
        # The type and the places, not the text: an exception's text may quote a caller's input.
        line["exception"] = record.exc_info[0].__name__
        line["at"] = _places(record.exc_info[2])
    return line


def _places(traceback: Any) -> list[str]:
    places = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        places.append(f"{code.co_filename.rpartition('/')[2]}:{traceback.tb_lineno} {code.co_name}")
        traceback = traceback.tb_next
    return places[-8:]


def configure(level: str = "info") -> None:
    """Own loggers at `level`; libraries from warning on, and without their request lines."""
    logging.captureWarnings(True)
    root = logging.getLogger()
    root.handlers[:] = [JsonLines()]
    root.setLevel(logging.WARNING)
    logger.setLevel(level.upper())


def as_worker(number: int) -> None:
    """Every line of this process has the worker's number from now on."""
    _everywhere["worker"] = number


def event(message: str, *, level: int = logging.INFO, **fields: Any) -> None:
    """Log one sentence with fields."""
    logger.log(level, message, extra={"fields": fields})


def access(fields: dict[str, Any]) -> None:
    """The line of one request, past logging's own machinery, which costs five times as much."""
    lines.add(
        orjson.dumps(
            {"time": datetime.now(UTC), "level": "info", "logger": _OWN, "message": "request", **_everywhere, **fields},
            option=_OPTIONS,
        )
    )
