"""Trace context: who a request belongs to, by W3C's header `traceparent`; and spans, where an OTLP endpoint is set.

OpenTelemetry is imported only then, in a thread, so that nobody else's start waits for it. Its own variables hold
(OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER, OTEL_BSP_…, OTEL_EXPORTER_OTLP_…).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.types import Scope

from slipway_runtime.serve.observe.logs import event
from slipway_runtime.serve.observe.metrics import Metrics
from slipway_runtime.serve.observe.stages import Stages
from slipway_runtime.settings import Settings

if TYPE_CHECKING:
    from slipway_runtime.serve.observe.spans import Span, Spans

# Version ff and ids of zeros are invalid; only later versions than 00 may have more fields.
_TRACEPARENT = re.compile(
    rb"(?!ff|00.{54})[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?"
)


@dataclass(frozen=True, slots=True)
class Parent:
    """The caller's own span."""

    id: str
    """Of the trace, 32 hexadecimal digits."""
    span_id: str
    flags: int
    state: str = ""
    """`tracestate`, unread."""

    @property
    def response(self) -> bytes:
        """`traceresponse`: without a span of ours the caller's own one."""
        return f"00-{self.id}-{self.span_id}-{self.flags:02x}".encode()


def incoming(headers: Iterable[tuple[bytes, bytes]]) -> Parent | None:
    """The parent that the request names; None where it names none, or not in W3C's form."""
    parent, state = None, b""
    for name, value in headers:
        if name == b"traceparent":
            parent = _TRACEPARENT.fullmatch(value)
        elif name == b"tracestate":
            state = value[:512]
    if parent is None:
        return None
    trace, span, flags = parent.groups()
    return Parent(trace.decode(), span.decode(), int(flags, 16), state.decode("latin-1"))


class Tracing:
    """Spans of requests, or nothing where no endpoint is set."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._spans: Spans | None = None
        self._stopped = False

    @property
    def active(self) -> bool:
        return self._spans is not None

    def start(self) -> None:
        """Import and connect in a thread, if an endpoint is set. Requests before it is done have no spans."""
        if self._settings.traces:
            threading.Thread(target=self._load, name="tracing", daemon=True).start()

    def _load(self) -> None:
        try:
            from slipway_runtime.serve.observe.spans import Spans  # noqa: PLC0415 - OpenTelemetry, for those who want it

            spans = Spans(self._settings, self._metrics)
        except Exception as error:
            # Its text may quote the endpoint or its headers.
            event(f"no traces: OpenTelemetry cannot be set up ({type(error).__name__}); see the OTEL_ variables")
            return
        if not self._stopped:
            self._spans = spans

    def begin(self, scope: Scope, method: str, parent: Parent | None) -> Span | None:
        """The request's own span; its ids are known from now on."""
        return self._spans.begin(scope, method, parent) if self._spans is not None else None

    def end(self, span: Span, fields: dict[str, Any], calls: Sequence[Stages], ended: float) -> None:
        """Hand the request's spans over to the exporter's thread. Never waits."""
        if self._spans is not None:
            self._spans.end(span, fields, calls, ended)

    def stop(self, seconds: float) -> None:
        """Send what waits, at most so long. Blocks."""
        self._stopped = True
        if self._spans is not None:
            self._spans.stop(seconds)
