"""The errors of the runtime, as one tree.

    ModelFault                  the model cannot be served: shown in /status, tried again later
    RequestError                one request cannot be answered; each kind has its status in serve/dialects/statuses.py
    ├── InvalidInput            the caller can mend it: names the field
    ├── BodyTooLarge            more bytes or items than the limits allow
    ├── UnsupportedEncoding     a compressed body
    ├── Unauthorized            no token of this endpoint's
    ├── MalformedRequest        no HTTP
    ├── UrlTooLong              a longer URL than is read
    ├── HeadersTooLarge         more headers than are read
    ├── TooSlow                 the request did not arrive in its time
    ├── NotFound                a task or model that is not served here
    ├── Overloaded              the queue is full
    ├── ModelLoading            held as long as allowed, still loading
    ├── ModelUnavailable        the model failed to load
    ├── DeadlineExceeded        not answered within the request's time
    └── InferenceFailed         the forward failed on this input

Texts are for the person on call: they name the object, the field, the value, what is allowed and what to do next.
They never hold tokens, inputs or internal paths.
"""

from __future__ import annotations

from typing import Literal

# Reasons of /status, and the exit codes that jobs use for them (design.md section 4).
REASON_CODES = {
    "BadConfiguration": 64,
    "TaskNotSupported": 64,
    "ModelNotFound": 67,
    "ModelGated": 67,
    "SourceUnreachable": 67,
    "UnsafeFormat": 68,
    "ModelCorrupt": 68,
    "NoSpace": 69,
    "ForwardFailed": 1,
}


class ModelFault(Exception):
    """Why the model cannot be served: a reason of REASON_CODES, a sentence, and the field of the spec it is about."""

    def __init__(self, reason: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.code = REASON_CODES[reason]
        self.message = message
        self.param = param


class RequestError(Exception):
    """One request cannot be answered. `kind` is the error_type of the wire formats that have one."""

    kind = "internal"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidInput(RequestError):
    """A field of the request is missing, of a wrong type, or out of range."""

    kind = "validation"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field
        self.problem = message


class BodyTooLarge(RequestError):
    """The body has more bytes than allowed."""

    kind = "validation"


class UnsupportedEncoding(RequestError):
    """The body is compressed or not of a media type that is read here."""

    kind = "validation"


class Unauthorized(RequestError):
    """The request has no token, or none that is valid here; `given`: it has one."""

    kind = "unauthorized"

    def __init__(self, message: str, *, given: bool) -> None:
        super().__init__(message)
        self.given = given


class MalformedRequest(RequestError):
    """What came is no HTTP request."""

    kind = "validation"


class UrlTooLong(RequestError):
    """The request's target is longer than what is read."""

    kind = "validation"


class HeadersTooLarge(RequestError):
    """More bytes of headers, or more headers, than are read."""

    kind = "validation"


class TooSlow(RequestError):
    """The request's headers or its body did not arrive in the time that they have."""

    kind = "timeout"


class NotFound(RequestError):
    """The task or the model that the request names is not served here; `what` says which of them."""

    kind = "not_found"

    def __init__(self, message: str, what: Literal["task", "model", "route"] = "route") -> None:
        super().__init__(message)
        self.what = what


class Overloaded(RequestError):
    """The queue is full; `retry_after` is an estimate in seconds of when it has drained."""

    kind = "overloaded"

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ModelLoading(RequestError):
    """Still loading after the request was held; `estimated_time` in seconds."""

    kind = "loading"

    def __init__(self, message: str, estimated_time: float) -> None:
        super().__init__(message)
        self.estimated_time = estimated_time


class ModelUnavailable(RequestError):
    """The model failed to load; `retry_after` is when it is tried again."""

    kind = "unavailable"

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class DeadlineExceeded(RequestError):
    """Not answered within the request's time."""

    kind = "timeout"


class InferenceFailed(RequestError):
    """The forward failed on this input. The cause is logged, never sent: it may quote the input or internals."""

    kind = "generation"
