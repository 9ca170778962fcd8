"""From a kind of error to an HTTP status: the one table. Dialects choose the shape, this decides status and headers."""

from __future__ import annotations

import math

from slipway_runtime import errors as e

_STATUS: dict[type[e.RequestError], int] = {
    e.InvalidInput: 422,
    e.BodyTooLarge: 413,
    e.UnsupportedEncoding: 415,
    e.Unauthorized: 401,
    e.MalformedRequest: 400,
    e.UrlTooLong: 414,
    e.HeadersTooLarge: 431,
    e.TooSlow: 408,
    e.NotFound: 404,
    e.Overloaded: 429,
    e.ModelLoading: 503,
    e.ModelUnavailable: 503,
    e.DeadlineExceeded: 504,
    e.InferenceFailed: 500,
}


def status_of(error: e.RequestError) -> int:
    """HTTP status of an error."""
    return _STATUS.get(type(error), 500)


def retry_after(error: e.RequestError) -> int | None:
    """Whole seconds for Retry-After, where coming back helps."""
    if isinstance(error, e.ModelLoading):
        seconds = error.estimated_time
    elif isinstance(error, e.Overloaded | e.ModelUnavailable):
        seconds = error.retry_after
    else:
        return None
    return max(1, math.ceil(seconds))


def headers_for(error: e.RequestError) -> list[tuple[str, str]]:
    """What every format's answer has beside its body."""
    after = retry_after(error)
    found = [("retry-after", str(after))] if after is not None else []
    if isinstance(error, e.Unauthorized):  # RFC 6750, section 3
        found.append(("www-authenticate", 'Bearer error="invalid_token"' if error.given else "Bearer"))
    return found
