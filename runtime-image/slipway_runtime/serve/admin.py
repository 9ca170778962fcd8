"""The admin port: /livez /readyz /startupz /metrics /status. On no Service; a NetworkPolicy admits the operator and
scrapers.

Live: the loop answers, its background work runs, and forwards have not hung or failed for long (watchdog.py). Ready: a
forward has worked and they still do, until SIGTERM. Started: the process answers. A full queue or a failed load never
makes the process not live: a restart would mend neither.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from slipway_runtime.serve.edge.tokens import Tokens
from slipway_runtime.serve.inference.queue import Queue
from slipway_runtime.serve.inference.service import Service
from slipway_runtime.serve.life.lifecycle import describe
from slipway_runtime.serve.observe.dashboards import Exposition


class Admin:
    """The handlers; `dead` returns why background work has ended, or None."""

    def __init__(self, service: Service, queue: Queue, dead: Callable[[], str | None], tokens: Tokens | None) -> None:
        self._service = service
        self._queue = queue
        self._dead = dead
        self._tokens = tokens

    async def livez(self, _: Request) -> Response:
        why = self._dead()
        return PlainTextResponse(why or "ok", 503 if why else 200)

    async def readyz(self, _: Request) -> Response:
        stage = self._service.lifecycle.stage
        return PlainTextResponse("ok" if stage == "Ready" else stage, 200 if stage == "Ready" else 503)

    async def startupz(self, _: Request) -> Response:
        return PlainTextResponse("ok")

    async def metrics(self, request: Request) -> Response:
        metrics, loaded = self._service.metrics, self._service.lifecycle.loaded
        metrics.queue_size.set(len(self._queue))
        metrics.queue_tokens.set(self._queue.tokens)
        metrics.ready.set(self._service.lifecycle.stage == "Ready")
        exposition = Exposition(
            metrics.registry,
            generates=None if loaded is None else any(adapter.streams for adapter in loaded.adapters.values()),
            model=next(iter(self._service.names), ""),
        )
        return exposed(exposition, request)

    async def status(self, _: Request) -> Response:
        age = self._service.last_request_age
        content: dict[str, Any] = {
            **describe(self._service.lifecycle),
            "inFlight": self._service.in_flight,
            "queued": len(self._queue),
            "lastRequestAge": round(age, 1) if age is not None else None,
            "apiTokens": {"accepted": self._tokens.count, "problem": self._tokens.problem} if self._tokens else None,
        }
        return as_json(content)


def exposed(collector: Collector, request: Request) -> Response:
    """The metrics in Prometheus' text format, or as OpenMetrics where that is asked for."""
    if "application/openmetrics-text" in request.headers.get("accept", ""):
        # The other ways of escaping write vllm:… as vllm_… here; all our names are legal as they are.
        text = openmetrics.generate_latest(collector, openmetrics.ALLOWUTF8)  # type: ignore[no-untyped-call]
        return Response(text, media_type=openmetrics.CONTENT_TYPE_LATEST)
    return Response(generate_latest(collector), media_type=CONTENT_TYPE_PLAIN_0_0_4)


def as_json(content: dict[str, Any]) -> Response:
    """The answer of /status."""
    return Response(orjson.dumps(content), media_type="application/json")


def build(service: Service, queue: Queue, dead: Callable[[], str | None], tokens: Tokens | None = None) -> Starlette:
    """The admin application."""
    admin = Admin(service, queue, dead, tokens)
    return Starlette(
        routes=[
            Route("/livez", admin.livez),
            Route("/readyz", admin.readyz),
            Route("/startupz", admin.startupz),
            Route("/metrics", admin.metrics),
            Route("/status", admin.status),
        ]
    )
