"""OpenAI's API under /v1: chat completions, completions, embeddings, audio, models.

`model` is one of the server's names, or absent. What only clients of OpenAI's own service care about (user, metadata,
store, …) is taken and changes nothing; any other field that is not known is refused. Errors have OpenAI's shape, and
400 for what the caller can mend.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import orjson

from slipway_runtime import __version__
from slipway_runtime import errors as e
from slipway_runtime.serve.dialects import Dialect
from slipway_runtime.serve.inference.service import CLIENT_DEFAULTS

FINGERPRINT = f"slipway-{__version__}"
_SOON = 2.0  # seconds: a server that shuts down is back, or another is there; a model that failed to load is not


@dataclass(frozen=True)
class Context:
    """What answers need beside the model's own: names, time, ids."""

    name: str
    """What the model is called where the caller did not say."""
    clock: Callable[[], float] = time.time
    new_id: Callable[[], str] = lambda: secrets.token_hex(12)

    def head(self, prefix: str, kind: str, model: str | None) -> dict[str, Any]:
        """The first fields of every answer."""
        return {
            "id": f"{prefix}-{self.new_id()}",
            "object": kind,
            "created": int(self.clock()),
            "model": self.called(model),
            "system_fingerprint": FINGERPRINT,
        }

    def called(self, model: str | None) -> str:
        """The model's name as the caller has it."""
        return self.name if model is None or model in CLIENT_DEFAULTS else model


class OpenAI(Dialect):
    """What all routes share."""

    statuses: ClassVar = {e.InvalidInput: 400}

    def __init__(self, context: Context) -> None:
        self._context = context

    def render_error(self, error: e.RequestError) -> bytes:
        message, param, kind, code = error.message, None, "invalid_request_error", None
        match error:
            case e.InvalidInput():
                param = error.field
            case e.Unauthorized():
                code = "invalid_api_key"
            case (
                e.BodyTooLarge()
                | e.UnsupportedEncoding()
                | e.MalformedRequest()
                | e.UrlTooLong()
                | e.HeadersTooLarge()
                | e.TooSlow()
            ):
                pass
            case e.NotFound():
                param, code = ("model", "model_not_found") if error.what == "model" else (None, "task_not_supported")
            case e.Overloaded():
                kind, code = "requests", "rate_limit_exceeded"
            case _:
                kind, code = "server_error", error.kind
        return body(message, kind, param or None, code)

    def error_headers(self, error: e.RequestError) -> Sequence[tuple[str, str]]:
        match error:
            case e.Overloaded() | e.ModelLoading():
                retry = True
            case e.ModelUnavailable():
                retry = error.retry_after <= _SOON
            case e.InferenceFailed() | e.DeadlineExceeded():
                retry = False
            case _:
                return ()
        return (("x-should-retry", "true" if retry else "false"),)


def body(message: str, kind: str, param: str | None, code: str | None) -> bytes:
    """An error as OpenAI writes it."""
    return orjson.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}})


def no_route(method: str, path: str, status: int) -> bytes:
    """404 and 405 of what is not served under /v1."""
    if status == 405:
        return body(f"{method} is not served on this route", "invalid_request_error", None, "method_not_allowed")
    return body(f"Invalid URL ({method} {path[:200]})", "invalid_request_error", None, "unknown_url")
