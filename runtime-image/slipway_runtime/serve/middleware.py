"""Pure ASGI middleware: one access-log line and the request metrics.

Neither path parameters' values, queries, headers nor bodies.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from slipway_runtime.serve.lifecycle import Lifecycle
from slipway_runtime.serve.logs import event
from slipway_runtime.serve.metrics import Metrics


class Observe:
    """Times a request from its first byte to its last, and asks callers to reconnect elsewhere while draining."""

    def __init__(
        self, app: ASGIApp, metrics: Metrics, lifecycle: Lifecycle, *, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._lifecycle = lifecycle
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = self._clock()
        status = 0

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if self._lifecycle.stage == "Draining":
                    message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        try:
            await self._app(scope, receive, observed)
        finally:
            code = scope.get("slipway.code", status or 500)
            took = self._clock() - started
            task, dialect = scope.get("slipway.task", "-"), scope.get("slipway.dialect", "-")
            if dialect != "-":
                self._metrics.requests.labels(task, dialect, code).inc()
                self._metrics.duration.labels(task, dialect, code).observe(took)
            event(
                "request",
                method=scope["method"],
                route=route_of(scope),
                code=code,
                seconds=round(took, 6),
                task=task,
                dialect=dialect,
            )


def route_of(scope: Scope) -> str:
    """The route's pattern where one matched; a path that a caller made up may hold anything, so it is not logged."""
    return str(scope.get("slipway.route", "-"))
