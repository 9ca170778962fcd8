"""Pure ASGI middleware: the request's metrics, its line in the access log, and its spans.

Neither path parameters' values, queries, headers nor bodies.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from slipway_runtime.serve.life.lifecycle import Lifecycle
from slipway_runtime.serve.observe.access import AccessLog
from slipway_runtime.serve.observe.metrics import Metrics
from slipway_runtime.serve.observe.stages import Stages
from slipway_runtime.serve.observe.tracing import Tracing, incoming


class Observe:
    """Times a request from its first byte to its last, and asks callers to reconnect elsewhere while draining.

    What it cannot see itself others leave in the scope: slipway.route, .dialect, .task, .caller, .stages (one Stages
    for each of the request's calls of a task), and .code where the status says something else.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        lifecycle: Lifecycle,
        tracing: Tracing,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._lifecycle = lifecycle
        self._tracing = tracing
        self._log = AccessLog(clock=clock)
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = self._clock()
        method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
        parent = incoming(scope["headers"])
        span = self._tracing.begin(scope, method, parent) if self._tracing.active else None
        trace = span or parent
        status = read = written = 0

        async def observed_receive() -> Message:
            nonlocal read
            message = await receive()
            if "body" in message:
                read += len(message["body"])
            return message

        async def observed_send(message: Message) -> None:
            nonlocal status, written
            if message["type"] == "http.response.body":
                written += len(message.get("body", b""))
            elif message["type"] == "http.response.start":
                status = message["status"]
                if trace is not None:
                    message["headers"] = [*message["headers"], (b"traceresponse", trace.response)]
                if self._lifecycle.stage == "Draining":
                    message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        try:
            await self._app(scope, observed_receive, observed_send)
        finally:
            code = scope.get("slipway.code", status or 500)
            ended = self._clock()
            task, dialect = scope.get("slipway.task", "-"), scope.get("slipway.dialect", "-")
            if dialect != "-":
                self._metrics.request(task, dialect, code, ended - started)
            calls: list[Stages] = scope.get("slipway.stages", [])
            fields: dict[str, Any] = {
                "method": method,
                "route": route_of(scope),
                "code": code,
                "seconds": round(ended - started, 6),
                "task": task,
                "dialect": dialect,
                "bytesIn": read,
                "bytesOut": written,
            }
            if calls:
                fields["queueSeconds"] = round(max(_waited(call, ended) for call in calls), 6)
                fields["inputTokens"] = sum(call.input_tokens for call in calls)
                if tokens := sum(call.output_tokens for call in calls):
                    fields["outputTokens"] = tokens
            if "slipway.caller" in scope:
                fields["caller"] = scope["slipway.caller"]  # a digest with a key of this process, see tokens.py
            if trace is not None:
                fields["traceId"] = trace.id
            if span is not None:
                self._tracing.end(span, fields, calls, ended)
            self._log(code, fields)


# A method is the caller's own word: others than these are called what OpenTelemetry's conventions call them.
_METHODS = frozenset(("GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT"))


def _waited(call: Stages, now: float) -> float:
    return (call.started or now) - call.queued if call.queued else 0.0


def route_of(scope: Scope) -> str:
    """The route's pattern where one matched; a path that a caller made up may hold anything, so it is not logged."""
    return str(scope.get("slipway.route", "-"))
