"""JSON lines on stdout. No bodies, queries, headers or tokens ever enter a log call; this file only formats."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

import orjson

_OWN = "slipway_runtime"
logger = logging.getLogger(_OWN)


class JsonFormatter(logging.Formatter):
    """One object per line: time, level, logger, message, and the fields given as `extra={"fields": {…}}`."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[0] is not None:
            # The type and the places, not the text: an exception's text may quote a caller's input.
            line["exception"] = record.exc_info[0].__name__
            line["at"] = _places(record.exc_info[2])
        return orjson.dumps(line, default=str).decode()


def _places(traceback: Any) -> list[str]:
    places = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        places.append(f"{code.co_filename.rpartition('/')[2]}:{traceback.tb_lineno} {code.co_name}")
        traceback = traceback.tb_next
    return places[-8:]


def configure(level: str = "info") -> None:
    """Own loggers at `level`; libraries from warning on, and without their request lines."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    logging.captureWarnings(True)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logger.setLevel(level.upper())


def event(message: str, *, level: int = logging.INFO, **fields: Any) -> None:
    """Log one sentence with fields."""
    logger.log(level, message, extra={"fields": fields})
