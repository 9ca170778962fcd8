"""What can go wrong when talking to the API server.

ClusterError
├── NotConfigured          no address or credentials of a cluster
├── Unreachable            no answer: refused, reset, timed out
└── ApiError               an answer with a status of 400 or more
    ├── Unauthorized       401
    ├── Forbidden          403: rights, quota, a policy, a namespace that is going away
    ├── NotFound           404: the object, or its whole kind
    ├── Conflict           409: exists already, or changed since it was read
    ├── Gone               410: the resourceVersion is too old
    ├── Invalid            400, 422: the API server will not have this object, however often it is sent
    └── TooManyRequests    429: with the seconds to wait

One subclass per status that some caller reacts to; others stay an ApiError and are retried with backoff.
"""

from typing import ClassVar

import orjson

MESSAGE_LIMIT = 1024
"""Characters kept of a server's message: enough for every field error, too few to carry an object into a log."""


class ClusterError(Exception):
    """Any failure of a request to the API server."""


class NotConfigured(ClusterError):
    """It is not known which cluster to talk to, or as whom."""


class Unreachable(ClusterError):
    """No answer came back."""


class ApiError(ClusterError):
    """The API server answered with an error."""

    by_status: ClassVar[dict[int, type["ApiError"]]] = {}
    statuses: ClassVar[tuple[int, ...]] = ()

    def __init__(self, status: int, reason: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after

    def __init_subclass__(cls) -> None:
        for status in cls.statuses:
            ApiError.by_status[status] = cls


class Unauthorized(ApiError):
    statuses = (401,)


class Forbidden(ApiError):
    statuses = (403,)


class NotFound(ApiError):
    statuses = (404,)


class Conflict(ApiError):
    statuses = (409,)


class Gone(ApiError):
    statuses = (410,)


class Invalid(ApiError):
    statuses = (400, 422)


class TooManyRequests(ApiError):
    statuses = (429,)


def from_response(status: int, body: bytes, retry_after: str | None = None) -> ApiError:
    """The exception for an answer.

    A body that is no Kubernetes `Status` (a proxy's page, say) is dropped, not quoted.
    """
    reason, message = "Unknown", "the answer carried no Kubernetes Status"
    try:
        decoded = orjson.loads(body)
    except orjson.JSONDecodeError:
        decoded = None
    if isinstance(decoded, dict) and decoded.get("kind") == "Status":
        reason = str(decoded.get("reason") or reason)
        message = str(decoded.get("message") or "")[:MESSAGE_LIMIT]
    seconds = float(retry_after) if retry_after is not None and retry_after.isdigit() else None
    return ApiError.by_status.get(status, ApiError)(status, reason, message, seconds)
