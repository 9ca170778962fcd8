"""Wire formats. A dialect turns a request's bytes into an Exchange: what is asked, and how its answer is written.

It knows no model; of tasks it knows the shapes of their answers, as tasks/ documents them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from slipway_runtime.errors import RequestError
from slipway_runtime.serve.inference.service import Answer, Part, TaskRequest


@dataclass(frozen=True)
class Reply:
    """A whole response of status 200."""

    body: bytes
    media_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


Events = Callable[[AsyncIterator[Part | Answer]], AsyncGenerator[bytes, None]]


@dataclass(frozen=True)
class Exchange:
    """One request in one wire format."""

    requests: Sequence[TaskRequest]
    """Most formats have one; the rows of a table may each be one."""
    reply: Callable[[Sequence[Answer]], Reply]
    """One answer per request, in order."""
    events: Events | None = None
    """Where a stream is asked for (of one request): parts and at last the Answer → whole server-sent events."""


class Dialect(ABC):
    """One wire format."""

    name: ClassVar[str]
    statuses: ClassVar[Mapping[type[RequestError], int]] = {}
    """Where this format's status differs from serve/dialects/statuses.py."""

    @abstractmethod
    def parse(self, body: bytes, headers: Mapping[str, str], path: Mapping[str, str]) -> Exchange:
        """`headers`: lower-case names; `path`: what the route captured. Raises RequestError."""

    @abstractmethod
    def render_error(self, error: RequestError) -> bytes:
        """The body of an error, in this format's shape: also the data of an event where a stream breaks."""

    def error_headers(self, error: RequestError) -> Sequence[tuple[str, str]]:  # noqa: ARG002 - for those that override it
        """Beside Retry-After, which every format has."""
        return ()
