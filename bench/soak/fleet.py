"""The servers of a soak: real processes of tiny models, one of which is replaced now and then, as in a rollout."""

from __future__ import annotations

import asyncio
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench.soak.growth import Sample
from bench.soak.traffic import CLASSIFICATION, EMBEDDINGS, GENERATION, IMAGES, Scene, Seen, Target
from tests.support import models
from tests.support.load import Pool, get
from tests.support.memory import held
from tests.support.poison import spoil
from tests.support.runtime_server import RuntimeServer, serving
from tests.support.tiny import generation, vision

OUT = Path(__file__).parents[2] / "out/soak"
"""Where the logs of servers go that something unexpected came from."""
SETTINGS = {"SLIPWAY_THREADS": "1", "SLIPWAY_UNREADY_SECONDS": "2", "SLIPWAY_DRAIN_SECONDS": "30"}


@dataclass(frozen=True)
class Kind:
    """A model, and what is asked of it."""

    name: str
    make: Callable[[Path], Path]
    scenes: tuple[Scene, ...]
    share: float
    """Of all requests."""
    replaced: bool = False
    """SIGTERM ends it now and then; another process takes its place first."""


KINDS = (
    Kind("classifier", lambda folder: spoil(models.classifier(folder)), CLASSIFICATION, 0.35),
    Kind("embeddings", models.sentence_transformer, EMBEDDINGS, 0.25, replaced=True),
    Kind("generation", generation.chat_decoder, GENERATION, 0.25),
    Kind("images", vision.vit, IMAGES, 0.15),
)


@dataclass
class Life:
    """One process."""

    server: RuntimeServer
    target: Target
    admin: Pool
    stack: ExitStack
    samples: list[Sample] = field(default_factory=list)
    exit_code: int | None = None


class Member:
    """One place of the fleet: the process that serves now, and those before it."""

    def __init__(self, kind: Kind, folder: Path, code: Path) -> None:
        self.kind = kind
        self.seen = Seen()
        self.lives: list[Life] = []
        self._folder = folder
        self._code = code
        self._model = kind.make(folder / "model")

    @property
    def life(self) -> Life:
        return self.lives[-1]

    async def start(self) -> None:
        """A further process, Ready; requests go to it from now on."""
        stack = ExitStack()
        try:
            server = await asyncio.to_thread(self._started, stack)
        except BaseException:
            stack.close()
            raise
        self.lives.append(
            Life(server, Target(server.http_port, Pool(server.http_port)), Pool(server.admin_port), stack)
        )

    def _started(self, stack: ExitStack) -> RuntimeServer:
        place = {"SLIPWAY_MODEL_PATH": str(self._model), "SLIPWAY_ENDPOINT": self.kind.name}
        folder = self._folder / f"server-{len(self.lives)}"
        # Not the tree's own code, which may change meanwhile: PYTHONPATH comes before what is installed.
        server = stack.enter_context(serving(folder, False, PYTHONPATH=str(self._code), **place, **SETTINGS))
        server.wait_for_stage("Ready", timeout=900)  # four at once, on a busy machine
        return server

    async def replace(self) -> None:
        """What a rollout does: the next process first, then SIGTERM for this one, which must end well."""
        old = self.life
        await self.start()
        await self._end(old)

    async def stop(self) -> None:
        """SIGTERM, as above."""
        if self.lives and self.life.exit_code is None:
            await self._end(self.life)

    async def _end(self, life: Life) -> None:
        life.server.process.send_signal(signal.SIGTERM)
        try:
            life.exit_code = await asyncio.to_thread(life.server.process.wait, 120)
        finally:
            await life.target.connections.close()
            await life.admin.close()
            life.stack.close()
        if life.exit_code != 0:
            self.seen.fault(f"SIGTERM: exit code {life.exit_code}")
        errors = {line["message"] for line in life.server.lines() if line["level"] in ("error", "critical")}
        # The poisoned texts are meant to fail.
        for error in sorted(errors - {"a forward failed"}):
            self.seen.fault(f"in the log: {error}")
        if self.seen.unexpected:
            kept = OUT / f"{self.kind.name}-{self.lives.index(life)}.log"
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(life.server.log, kept)

    async def sample(self, since: float) -> None:
        """What the present process holds, and how long its event loop lets a probe wait."""
        life, began = self.life, time.monotonic()
        if (status := (await life.admin.ask(get("/livez"))).status) != 200:
            self.seen.fault(f"/livez: {status or 'no answer'}")
        lag = time.monotonic() - began
        if life.exit_code is None:
            now = held(life.server.process.pid)
            life.samples.append(Sample(began - since, now.megabytes, now.handles, now.threads, lag))

    async def check_idle(self) -> None:
        """After a pause nothing may be left of what was asked before."""
        for _ in range(120):
            status = (await self.life.admin.ask(get("/status"))).json()
            if not status["inFlight"] and not status["queued"]:
                return
            await asyncio.sleep(0.5)
        self.seen.fault(f"idle, yet {status['inFlight']} requests in flight, {status['queued']} queued")
