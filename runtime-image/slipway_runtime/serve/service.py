"""One request's way, in terms of no protocol: admit → wait for the model → parse → preprocess → queue → postprocess."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from slipway_runtime.errors import (
    DeadlineExceeded,
    ModelLoading,
    ModelUnavailable,
    NotFound,
    Overloaded,
)
from slipway_runtime.serve.lifecycle import Lifecycle
from slipway_runtime.serve.metrics import Metrics
from slipway_runtime.serve.queue import Queue
from slipway_runtime.settings import Settings
from slipway_runtime.tasks.adapter import Adapter, Loaded
from slipway_runtime.tasks.parameters import convert
from slipway_runtime.tasks.table import canonical


@dataclass
class TaskRequest:
    """What a dialect makes of a request."""

    inputs: Any
    parameters: dict[str, Any]
    task: str | None = None
    """As the path names it; None: the endpoint's own."""
    model: str | None = None
    wait_for_model: bool = False
    """Hold while loading as long as a request may last."""
    served_as: str = "-"
    """The adapter that took it, for logs and metrics; never what a caller made up."""


class Service:
    """What dialects call. One per process."""

    def __init__(
        self,
        settings: Settings,
        lifecycle: Lifecycle,
        queue: Queue,
        workers: Executor,
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self.lifecycle = lifecycle
        self.metrics = metrics
        self._queue = queue
        self._workers = workers
        self._clock = clock
        self.in_flight = 0
        self.last_request: float | None = None

    def enter(self) -> None:
        """Count a request in; Overloaded before its body is read if too many are here. Pair with `leave`."""
        if self.in_flight >= self.settings.max_requests:
            raise Overloaded(
                f"{self.in_flight} requests are held, queued or running, the most allowed; try again later",
                self._queue.drain_seconds(),
            )
        self.in_flight += 1
        self.metrics.in_flight.set(self.in_flight)

    def leave(self) -> None:
        """Count a request out."""
        self.in_flight -= 1
        self.last_request = self._clock()
        self.metrics.in_flight.set(self.in_flight)

    @property
    def last_request_age(self) -> float | None:
        """Seconds since the last request was answered, None before the first."""
        return None if self.last_request is None else self._clock() - self.last_request

    async def answer(self, request: TaskRequest) -> Any:
        """The task's result: JSON types and numpy arrays. Raises RequestError. Cancelling it drops its queued work."""
        loaded = await self._model(wait=request.wait_for_model)
        try:
            async with asyncio.timeout(self.settings.request_timeout_seconds):
                return await self._answer(loaded, request)
        except TimeoutError:
            raise DeadlineExceeded(
                f"not answered within {self.settings.request_timeout_seconds:g} s; send less at once, or later"
            ) from None

    async def _answer(self, loaded: Loaded, request: TaskRequest) -> Any:
        loop = asyncio.get_running_loop()
        adapter = self._adapter(loaded, request)
        request.served_as = adapter.task
        call = adapter.parse(request.inputs, convert(request.parameters, adapter.parameters))
        items = await loop.run_in_executor(self._workers, adapter.preprocess, call)
        works = self._queue.put(items)
        self.metrics.input_tokens.labels(adapter.task).inc(sum(item.length for item in items))
        try:
            outputs = await asyncio.gather(*(work.output for work in works))
        finally:
            self.metrics.dropped.inc(self._queue.drop(works))
        return await loop.run_in_executor(self._workers, adapter.postprocess, call, outputs)

    async def _model(self, *, wait: bool) -> Loaded:
        """The loaded model; held while loading. A failed load answers at once, unless the caller asked to wait."""
        lifecycle, settings = self.lifecycle, self.settings
        if lifecycle.loaded is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(settings.request_timeout_seconds if wait else settings.hold_seconds):
                    await (lifecycle.wait_until_loaded() if wait else lifecycle.wait_until_settled())
        if lifecycle.loaded is not None:
            return lifecycle.loaded
        name = self.settings.model_name
        if lifecycle.fault is not None and lifecycle.stage == "Failed":
            raise ModelUnavailable(
                f"Model {name} cannot be served: {lifecycle.fault.reason}: {lifecycle.fault.message}",
                max(1.0, lifecycle.retry_in_seconds),
            )
        estimate = lifecycle.estimated_seconds
        raise ModelLoading(f"Model {name} is currently loading", round(estimate if estimate is not None else 1.0, 1))

    def _adapter(self, loaded: Loaded, request: TaskRequest) -> Adapter:
        if request.model is not None and request.model not in (self.settings.model_id, self.settings.endpoint):
            known = " or ".join(name for name in (self.settings.endpoint, self.settings.model_id) if name)
            raise NotFound(f"model {request.model[:200]!r} is not served here; this is {known}")
        if request.task is None:
            default = loaded.adapters[loaded.task]
            if default.accepts(request.inputs):
                return default
            return next((a for a in loaded.adapters.values() if a.accepts(request.inputs)), default)
        task = canonical(request.task)
        if task is None or task not in loaded.adapters:
            raise NotFound(
                f"task {request.task[:80]!r} is not served here; this model does {', '.join(loaded.adapters)}"
            )
        return loaded.adapters[task]
