"""Wire formats. A dialect turns a request's bytes into a TaskRequest and a result into bytes.

It knows no model and no task.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from slipway_runtime.errors import RequestError
from slipway_runtime.serve.service import TaskRequest


class Dialect(Protocol):
    """One wire format."""

    name: str

    def parse(self, body: bytes, headers: Mapping[str, str], path: Mapping[str, str]) -> TaskRequest:
        """`headers`: lower-case names; `path`: what the route captured. Raises RequestError."""

    def render(self, result: Any) -> bytes:
        """The body of a 200."""

    def render_error(self, error: RequestError) -> bytes:
        """The body of an error, in this format's shape."""
