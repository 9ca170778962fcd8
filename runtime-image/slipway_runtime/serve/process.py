"""A server process: sockets first, then everything else.

1. bind both ports
2. answer on them, while torch is imported in one thread and the model fetched in another
3. load, warm up, Ready
4. SIGTERM: unready, accept a moment longer, finish what is in flight, exit 0. A second one: end now
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import orjson
import uvloop

from slipway_runtime import cpu, memory
from slipway_runtime.errors import ModelFault
from slipway_runtime.serve import admin, app
from slipway_runtime.serve.edge.accepting import Turns
from slipway_runtime.serve.edge.connection import ConnectionLimits
from slipway_runtime.serve.edge.draining import drain
from slipway_runtime.serve.edge.listening import Server, allow_files, listen
from slipway_runtime.serve.edge.tokens import Tokens
from slipway_runtime.serve.inference.batcher import Batcher
from slipway_runtime.serve.inference.queue import Queue
from slipway_runtime.serve.inference.service import Service
from slipway_runtime.serve.life.lifecycle import Lifecycle
from slipway_runtime.serve.life.watchdog import Watchdog
from slipway_runtime.serve.loading.model import self_check, steps_for
from slipway_runtime.serve.observe.logs import as_worker, configure, event, lines, logger
from slipway_runtime.serve.observe.metrics import Metrics
from slipway_runtime.serve.observe.tracing import Tracing
from slipway_runtime.settings import Settings, SettingsError

LOG_SECONDS = 1.0  # for the last lines, where nobody reads them
TRACE_SECONDS = 2.0  # for the last spans, where the collector does not answer


@dataclass(frozen=True)
class Opened:
    """Both ports, and what there is to serve; `fault`: why that cannot be."""

    settings: Settings
    fault: ModelFault | None
    http: socket.socket
    admin: socket.socket


@dataclass(frozen=True)
class Worker:
    """A process that serves the port together with others: see workers/."""

    number: int
    """From 0."""
    turns: Turns
    weights: int
    """The file, by its descriptor, in which the weights lie once for all."""


def open_ports(env: Mapping[str, str]) -> Opened | int:
    """The exit code where a port cannot be opened."""
    configure()
    fault = None
    try:
        settings = Settings.from_env(env)
    except SettingsError as error:
        # Still alive and unready, with the sentence in /status: an exit would only make the pod crash for ever.
        fault = ModelFault("BadConfiguration", str(error), "env")
        settings = error.usable
    try:
        sockets = [listen(settings.host, port) for port in (settings.http_port, settings.admin_port)]
    except OSError as error:
        ports = f"{settings.http_port} and {settings.admin_port}"
        return last_word(settings, 64, "BadConfiguration", f"ports {ports} cannot be opened ({error.strerror})")
    return Opened(settings, fault, *sockets)


def serve(opened: Opened, worker: Worker | None = None) -> NoReturn:
    """Until SIGTERM; ends the process."""
    settings, sockets = opened.settings, (opened.http, opened.admin)
    if worker is not None:
        as_worker(worker.number)
        memory.divide(settings.workers)
    threads = cpu.threads(settings.threads, settings.workers)
    cpu.set_thread_variables(os.environ, threads)
    memory.keep_freed()
    memory.bound_kernel_caches(os.environ)
    os.environ.update(HF_HUB_DISABLE_TELEMETRY="1", HF_HUB_DISABLE_PROGRESS_BARS="1", TOKENIZERS_PARALLELISM="false")
    # Its warnings hold whole URLs, which may be signed; what matters of them becomes a fault in our own words.
    os.environ["HF_HUB_VERBOSITY"] = "critical"
    os.environ["HF_ENDPOINT"] = settings.hf_endpoint
    os.environ.setdefault("HF_HOME", f"{settings.cache_dir}/huggingface")  # the root file system is read-only
    event("listening", http=sockets[0].getsockname()[1], admin=sockets[1].getsockname()[1], threads=threads)
    try:
        uvloop.run(Process(settings.of_worker, opened.fault, threads, worker).serve(*sockets))
    except Exception as error:
        logger.error("the server ended", exc_info=error)
        code = last_word(settings, 1, "InternalError", f"the server ended ({type(error).__name__}); see its log")
    else:
        event("stopped")
        code = 0
    # Threads that still run a forward or an import must not hold the exit up; everything that had to be said was said.
    lines.flush(LOG_SECONDS)
    os._exit(code)


def last_word(settings: Settings, code: int, reason: str, message: str) -> int:
    """The termination message that the operator reads from the pod's status; returns the exit code."""
    word = {"code": code, "reason": reason, "message": message, "param": None}
    event("fatal", reason=reason, detail=message)
    try:
        Path(settings.termination_log).write_bytes(orjson.dumps(word)[:4096])
    except OSError:
        event("the termination message could not be written")
    lines.flush(LOG_SECONDS)
    return code


@dataclass
class Process:
    """One event loop's objects."""

    settings: Settings
    fault: ModelFault | None
    threads: int
    worker: Worker | None = None

    async def serve(self, http: socket.socket, admin_socket: socket.socket) -> None:
        """Until SIGTERM or SIGINT has been drained."""
        settings, worker = self.settings, self.worker
        inference = ThreadPoolExecutor(1, thread_name_prefix="inference")
        workers = ThreadPoolExecutor(max(2, self.threads), thread_name_prefix="worker")
        metrics, queue = Metrics(), Queue(settings.max_queue_tokens, settings.max_queue_seconds)
        lifecycle = Lifecycle(
            steps_for(settings, self.fault, inference, worker.weights if worker is not None else None),
            retry_seconds=settings.retry_seconds,
            retry_max_seconds=settings.retry_max_seconds,
        )
        service = Service(settings, lifecycle, queue, workers, metrics)
        batcher = Batcher(queue, inference, metrics, budget=settings.max_batch_tokens)
        metrics.running.set_function(lambda: batcher.running)
        tracing = Tracing(settings, metrics)
        tracing.start()
        watchdog = Watchdog(
            lifecycle,
            inference,
            busy_since=lambda: batcher.busy_since,
            self_check=lambda: self_check(lifecycle.loaded),
            refuse=queue.refuse,
            forward_seconds=settings.forward_timeout_seconds or max(settings.request_timeout_seconds, 60.0),
        )
        batcher.on_fault = watchdog.forward_failed
        loading = asyncio.create_task(lifecycle.run(), name="lifecycle")
        background = [
            asyncio.create_task(batcher.run(), name="batcher"),
            asyncio.create_task(watchdog.run(), name="watchdog"),
        ]

        def dead() -> str | None:
            for task in background:
                if task.done():
                    return f"the {task.get_name()} has ended"
            if loading.done() and lifecycle.loaded is None and lifecycle.stage != "Draining":
                return "loading has ended without a model"
            return watchdog.dead

        tokens = Tokens(Path(settings.api_tokens_dir)) if settings.api_tokens_dir else None
        if tokens is not None:
            tokens.watch()
        allow_files(settings.max_connections)
        limits = ConnectionLimits.of(settings, metrics.refused)
        turns = (worker.turns, worker.number) if worker is not None else None
        routes = app.build(service, tokens, tracing)
        api = Server(routes, drain_seconds=settings.drain_seconds, limits=limits, turns=turns)
        probes = Server(admin.build(service, queue, dead, tokens), drain_seconds=1, limits=limits)
        stop, hurry = asyncio.Event(), asyncio.Event()

        def told_to_stop() -> None:
            (hurry if stop.is_set() else stop).set()

        for sig in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(sig, told_to_stop)
        api_task = asyncio.create_task(api.serve([http]))
        probes_task = asyncio.create_task(probes.serve([admin_socket]))
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait((stopped, api_task, probes_task), return_when=asyncio.FIRST_COMPLETED)
        if not stop.is_set():
            raise RuntimeError("a listener ended by itself")
        event("draining", inFlight=service.in_flight)
        answered = lifecycle.loaded is not None  # else no Service has ever sent anybody here
        await lifecycle.drain()
        if answered:
            await _unless_set(hurry, settings.unready_seconds)
        await drain(api, http, seconds=settings.drain_seconds, hurry=hurry)
        api_task.cancel()
        probes.should_exit = True
        await probes_task
        for task in (loading, *background):
            task.cancel()
        await asyncio.to_thread(tracing.stop, TRACE_SECONDS)


async def _unless_set(event_: asyncio.Event, seconds: float) -> None:
    """Sleep, unless or until it is set."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event_.wait()
