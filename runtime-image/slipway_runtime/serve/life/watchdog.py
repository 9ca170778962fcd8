"""Whether forwards still work, once one has: the part of readiness and liveness that start-up cannot know.

A forward that runs for too long, or a device that fails whatever it is given, makes the pod unready: requests that come
or wait are answered 503 at once, and the Service sends them elsewhere. Ready again when a forward works. Not live when
none does for long: only a new process gets a new context on a GPU.

                       unready                                   not live
    hung forward       longer than `limit`                       longer than twice `limit`
    failing device     a failed batch, then a failed self-check  SELF_CHECKS failed in a row, with growing pauses
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor

from slipway_runtime.errors import ModelFault, ModelUnavailable
from slipway_runtime.serve.life.lifecycle import Lifecycle
from slipway_runtime.serve.observe.logs import event, logger

SELF_CHECKS = 4
CHECK_SECONDS = 1.0  # a caller who sends poisoned inputs must not keep the model busy with self-checks
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 30.0
LOOK_SECONDS = 0.25
SLOWER = 4.0  # a forward may take so many times longer than the longest that has come back
HUNG_RETRY_SECONDS = 10.0


class Watchdog:
    """Watches the one inference thread.

    `busy_since`: when its present forward or step began, by `clock`. `self_check`: a small forward of the server's own,
    for the inference thread; raises where it fails. `refuse`: answers what waits in the queue with an error.
    """

    def __init__(
        self,
        lifecycle: Lifecycle,
        inference: Executor,
        *,
        busy_since: Callable[[], float | None],
        self_check: Callable[[], None],
        refuse: Callable[[Callable[[], Exception]], int],
        forward_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lifecycle = lifecycle
        self._inference = inference
        self._busy_since = busy_since
        self._self_check = self_check
        self._refuse = refuse
        self._forward_seconds = forward_seconds
        self._clock = clock
        self._longest = 0.0
        self._seen: tuple[float, float] | None = None  # the busy_since last seen, and when
        self._checking_since: float | None = None
        self._checked = -CHECK_SECONDS
        self._owed = False  # a self-check was left out, because one had just worked
        self._failures = 0
        self._error = ""
        self._retry_at: float | None = None
        self._fault: ModelFault | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken = asyncio.Event()

    async def run(self) -> None:
        """For ever."""
        self._loop = asyncio.get_running_loop()
        while True:
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._woken.wait()
            except TimeoutError:
                pass
            self._woken.clear()
            await self.look()

    def forward_failed(self, _: Exception) -> None:
        """A batch has failed, and each of its items alone: its inputs, or the device? In the inference thread."""
        if self._failures:
            return  # tried again already, with pauses
        if self._clock() - self._checked < CHECK_SECONDS:
            self._owed = True
        else:
            self._check()

    @property
    def limit(self) -> float:
        """Seconds that a forward, or a step of a continuous one, may take."""
        return max(self._forward_seconds, SLOWER * self._longest)

    @property
    def dead(self) -> str | None:
        """Why only a restart is left, or None."""
        if self._failures >= SELF_CHECKS:
            return f"{self._failures} self-checks in a row have failed ({self._error})"
        running = self._running()
        return f"a forward has been running for {running:.0f} s" if running > 2 * self.limit else None

    async def look(self) -> None:
        """Once: what has changed since the last time."""
        self._learn()
        now = self._clock()
        if self._retry_at is not None and now >= self._retry_at:
            self._retry_at = None
            self._inference.submit(self._check)
        elif self._owed and now - self._checked >= CHECK_SECONDS:
            self._owed = False
            self._inference.submit(self._check)
        fault = self._find()
        if fault is None and self._fault is not None:
            event("forwards work again")
            await self._lifecycle.resume()
        elif fault is not None:
            if self._fault is None:
                event("unready", level=logging.ERROR, reason=fault.reason, detail=fault.message)
            await self._lifecycle.suspend(fault, self._retry_seconds(now))
            seconds, text = self._lifecycle.retry_in_seconds, fault.message
            self._refuse(lambda: ModelUnavailable(f"not run: {text}", max(1.0, seconds)))
        self._fault = fault

    def _find(self) -> ModelFault | None:
        if self._failures:
            return ModelFault(
                "ForwardFailed",
                f"forwards fail, a small one of the server's own too ({self._error}, {self._failures} times); "
                f"the log has the place. After {SELF_CHECKS} the process is not live",
            )
        if self._running() > self.limit:
            return ModelFault(
                "ForwardFailed",
                f"a forward has been running for more than {self.limit:g} s; after {2 * self.limit:g} s the process is "
                "not live. If that is how long the model takes, raise SLIPWAY_FORWARD_TIMEOUT_SECONDS",
            )
        return None

    def _retry_seconds(self, now: float) -> float:
        return self._retry_at - now if self._retry_at is not None else HUNG_RETRY_SECONDS

    def _running(self) -> float:
        """Seconds since the present forward, step or self-check began; 0 where nothing runs."""
        began = self._checking_since if self._checking_since is not None else self._busy_since()
        return 0.0 if began is None else self._clock() - began

    def _learn(self) -> None:
        """How long forwards take that come back, as seen from time to time: long ones are what matters."""
        began, now = self._busy_since(), self._clock()
        if self._seen is not None and began != self._seen[0]:
            took = self._seen[1] - self._seen[0]
            if took <= self.limit:
                self._longest = max(self._longest, took)
        self._seen = None if began is None else (began, now)

    def _check(self) -> None:
        """In the inference thread."""
        self._checking_since = self._clock()
        try:
            self._self_check()
        except Exception as error:
            logger.error("a self-check has failed", exc_info=error)
            self._failures += 1
            self._error = type(error).__name__
            pause = min(FIRST_PAUSE_SECONDS * 2 ** (self._failures - 1), LONGEST_PAUSE_SECONDS)
            self._retry_at = self._clock() + pause
        else:
            self._failures = 0
        finally:
            self._checked, self._checking_since = self._clock(), None
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._woken.set)
