"""From process start to Ready: import, fetch, load, warm up; on a fault wait and try again, for ever.

A Deployment would only restart a process that exits, so a server never exits on a ModelFault: it says why in /status
and heals by itself once the Secret or the repository is mended.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from slipway_runtime.artifacts import Artifact
from slipway_runtime.artifacts.progress import Progress
from slipway_runtime.errors import ModelFault
from slipway_runtime.serve.life.estimate import seconds_until_ready
from slipway_runtime.serve.observe.logs import event, logger
from slipway_runtime.tasks.adapter import Loaded

FRESH_SECRET_SECONDS = 2.0  # how often the token file is looked at while waiting


@dataclass(frozen=True)
class Steps:
    """What one attempt does; each is awaited in turn. Parameters, so that tests need no model."""

    fetch: Callable[[Progress], Awaitable[Artifact]]
    load: Callable[[Artifact], Awaitable[Loaded]]
    warm_up: Callable[[Loaded], Awaitable[None]]
    fingerprint: Callable[[], object]
    """Changes when a retry may succeed early: the token file's content."""


class Lifecycle:
    """The state that probes, /status and the service look at."""

    def __init__(
        self,
        steps: Steps,
        *,
        retry_seconds: float = 10.0,
        retry_max_seconds: float = 300.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._steps = steps
        self._retry_seconds, self._retry_max_seconds = retry_seconds, retry_max_seconds
        self._clock, self._sleep = clock, sleep
        self._started = self._stage_since = clock()
        self._retry_at = 0.0
        self._stage = "Starting"
        self.progress = Progress(clock)
        self.artifact: Artifact | None = None
        self.loaded: Loaded | None = None
        self.fault: ModelFault | None = None
        self.changed = asyncio.Condition()

    async def run(self) -> None:
        """Until the model answers. Cancel to stop."""
        attempt = 0
        while self._stage != "Draining":
            try:
                await self._attempt()
                return
            except ModelFault as fault:
                await self._fail(fault, min(self._retry_seconds * 2**attempt, self._retry_max_seconds))
            except Exception as error:
                logger.error("loading failed", exc_info=error)
                unforeseen = ModelFault(
                    "ModelCorrupt",
                    f"loading failed unexpectedly ({type(error).__name__}); the log has the place",
                    "model",
                )
                await self._fail(unforeseen, min(self._retry_seconds * 2**attempt, self._retry_max_seconds))
            attempt += 1
            await self._wait_for_retry()

    async def _attempt(self) -> None:
        self.progress = Progress(self._clock)
        await self._enter("Downloading")
        self.artifact = await self._steps.fetch(self.progress)
        await self._enter("Loading")
        loaded = await self._steps.load(self.artifact)
        await self._steps.warm_up(loaded)
        self.loaded, self.fault = loaded, None
        await self._enter("Ready")
        event("ready", task=loaded.task, model=self.artifact.id, revision=self.artifact.revision, device=loaded.device,
              seconds=round(self._clock() - self._started, 2))  # fmt: skip

    async def _enter(self, stage: str) -> None:
        async with self.changed:
            if self._stage != "Draining":
                self._stage, self._stage_since = stage, self._clock()
            self.changed.notify_all()

    async def _fail(self, fault: ModelFault, retry_in: float) -> None:
        self.fault, self._retry_at = fault, self._clock() + retry_in
        event("model cannot be served", reason=fault.reason, detail=fault.message, retryInSeconds=retry_in)
        await self._enter("Failed")

    async def _wait_for_retry(self) -> None:
        before = self._steps.fingerprint()
        while (left := self.retry_in_seconds) > 0:
            await self._sleep(min(left, FRESH_SECRET_SECONDS))
            if self._steps.fingerprint() != before:
                event("the token file changed, trying again")
                return

    async def suspend(self, fault: ModelFault, retry_in: float) -> None:
        """A loaded model does not answer any more: unready until `resume`. Again: what has changed since."""
        self.fault, self._retry_at = fault, self._clock() + retry_in
        if self._stage != "Failed":
            await self._enter("Failed")

    async def resume(self) -> None:
        """It answers again."""
        self.fault = None
        await self._enter("Ready")

    async def drain(self) -> None:
        """Unready from now on."""
        self._stage = "Draining"
        await self._enter("Draining")

    @property
    def stage(self) -> str:
        """Starting, Downloading, Loading, Ready, Draining or Failed.

        An attempt after a failure counts as Failed until the source has been listed and checked: looking at a
        repository that is still missing must not look like recovery.
        """
        if self._stage == "Downloading" and self.fault is not None and not self.progress.total:
            return "Failed"
        return self._stage

    @property
    def retry_in_seconds(self) -> float:
        """Until the next attempt; 0 unless Failed."""
        return max(0.0, self._retry_at - self._clock())

    @property
    def estimated_seconds(self) -> float | None:
        """Until ready, by what is known."""
        return seconds_until_ready(
            stage=self.stage,
            in_stage=self._clock() - self._stage_since,
            since_start=self._clock() - self._started,
            download_seconds=self.progress.remaining_seconds,
            size_bytes=self.progress.total or (self.artifact.size_bytes if self.artifact else 0),
        )

    async def wait_until_settled(self) -> None:
        """Return when the model is loaded or has failed to load."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.loaded is not None or self._stage in ("Failed", "Draining"))

    async def wait_until_loaded(self) -> None:
        """Return when the model is loaded, however many attempts it takes."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.loaded is not None or self._stage == "Draining")


def describe(lifecycle: Lifecycle) -> dict[str, Any]:
    """The part of /status that tells of the model (operator/decisions/0002)."""
    artifact, loaded = lifecycle.artifact, lifecycle.loaded
    fault = lifecycle.fault if lifecycle.stage in ("Failed", "Draining") else None
    estimate = lifecycle.estimated_seconds
    return {
        "kind": "serve",
        "stage": lifecycle.stage,
        "percent": lifecycle.progress.percent if lifecycle.stage in ("Downloading", "Failed") else None,
        "estimatedSeconds": round(estimate, 1) if estimate is not None else None,
        "message": fault.message if fault else _SENTENCES[lifecycle.stage],
        "error": None
        if fault is None
        else {
            "code": fault.code,
            "reason": fault.reason,
            "message": fault.message,
            "param": fault.param,
            "retryInSeconds": round(lifecycle.retry_in_seconds, 1),
        },
        "model": None
        if artifact is None
        else {
            "id": artifact.id,
            "revision": artifact.revision,
            "task": loaded.task if loaded else None,
            "format": artifact.format,
            "sizeBytes": artifact.size_bytes,
            "fromCache": bool(artifact.offline),
        },
    }


_SENTENCES = {
    "Starting": "the process has started",
    "Downloading": "the model is being fetched",
    "Loading": "the model is being loaded into memory",
    "Ready": "the model answers",
    "Draining": "shutting down: requests in flight are finished",
    "Failed": "the model cannot be served",
}
