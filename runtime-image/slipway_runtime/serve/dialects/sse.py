"""Server-sent events: what a stream is written as, in every dialect that has one."""

from __future__ import annotations

# X-Accel-Buffering: without it nginx collects a stream before it passes it on.
HEADERS = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)
KEEP_ALIVE = b":\n\n"
"""A comment, which every client skips."""


def event(data: bytes) -> bytes:
    """One event. A line break in `data` would end it, so each line gets a field of its own."""
    return b"".join(b"data: " + line + b"\n" for line in data.splitlines() or [b""]) + b"\n"
