"""From a user's request to pause to a Deployment at zero."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import aiohttp

from bench.operator.api import MERGE, Request, answer, changes, session
from bench.operator.figure import Figure, Row
from bench.operator.world import CHILDREN, ENDPOINTS, World, world
from bench.table import percentile
from tests.support.apiserver import Object
from tests.support.waiting import aeventually

ROUNDS = 50
NAME, PLAIN = "e-00000", "plain"
DEPLOYMENTS = CHILDREN["deployments"]


class Deployments:
    """What a watch of the Deployments last said of each, and who waits for what."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self._last: dict[str, Object] = {}
        self._changed = asyncio.Condition()

    async def follow(self, http: aiohttp.ClientSession) -> None:
        async for kind, obj in changes(http, DEPLOYMENTS):
            if not kind:
                self.opened.set()
                continue
            async with self._changed:
                self._last[obj["metadata"]["name"]] = obj
                self._changed.notify_all()

    async def when(self, name: str, holds: Callable[[Object], bool]) -> float:
        """The moment at which the watch told of a Deployment for which it holds."""
        async with asyncio.timeout(30), self._changed:
            await self._changed.wait_for(lambda: name in self._last and holds(self._last[name]))
            return time.perf_counter()


def measure() -> list[Row]:
    with world(controllers=True) as here:
        here.grow(1, here.operator())
        ours, plain = asyncio.run(_rounds(here))
    own = "the script's own PATCH of a Deployment"
    return [
        Row("Deployment's replicas at 0, median", percentile(ours[0], 0.5), "ms", own, percentile(plain[0], 0.5)),
        Row(
            "Deployment's replicas at 0, p99",
            percentile(ours[0], 0.99),
            "ms",
            own,
            percentile(plain[0], 0.99),
            below=1000,
        ),
        Row("no pod left, median", percentile(ours[1], 0.5), "ms", own, percentile(plain[1], 0.5)),
        Row("no pod left, p99", percentile(ours[1], 0.99), "ms", own, percentile(plain[1], 0.99), below=1000),
    ]


async def _rounds(here: World) -> tuple[list[list[float]], list[list[float]]]:
    """Milliseconds from request to replicas at zero and to no pods left, of the endpoint and of the yardstick."""
    ours: list[list[float]] = [[], []]
    plain: list[list[float]] = [[], []]
    async with session(here.cluster) as http:
        seen = Deployments()
        following = asyncio.create_task(seen.follow(http))
        await seen.opened.wait()
        await _make_plain(http)
        endpoint, deployment = f"{ENDPOINTS}/{NAME}", f"{DEPLOYMENTS}/{PLAIN}"
        for _ in range(ROUNDS):
            await _round(http, seen, endpoint, NAME, down={"paused": True}, up={"paused": False}, into=ours)
            await aeventually(lambda: asyncio.to_thread(_runs, here), interval=0.1)
            await _round(http, seen, deployment, PLAIN, down={"replicas": 0}, up={"replicas": 1}, into=plain)
        following.cancel()
    return ours, plain


def _runs(here: World) -> bool:
    here.kubelet.make_ready()
    return here.all_run()


async def _round(
    http: aiohttp.ClientSession,
    seen: Deployments,
    path: str,
    name: str,
    *,
    down: dict[str, Any],
    up: dict[str, Any],
    into: list[list[float]],
) -> None:
    """One pause and resume; the milliseconds to replicas at zero and to no pods left go into `into`."""
    began = time.perf_counter()
    patched = asyncio.create_task(answer(http, Request("PATCH", path, {"spec": down}, MERGE)))
    at_zero = await seen.when(name, lambda one: one["spec"]["replicas"] == 0)
    empty = await seen.when(name, lambda one: _settled(one, 0))
    await patched
    into[0].append((at_zero - began) * 1000)
    into[1].append((empty - began) * 1000)
    await answer(http, Request("PATCH", path, {"spec": up}, MERGE))
    await seen.when(name, lambda one: _settled(one, 1))


def _settled(deployment: Object, replicas: int) -> bool:
    status = deployment.get("status", {})
    followed: bool = status.get("observedGeneration") == deployment["metadata"]["generation"]
    return followed and bool(deployment["spec"]["replicas"] == status.get("replicas", 0) == replicas)


async def _make_plain(http: aiohttp.ClientSession) -> None:
    """The endpoint's Deployment under another name, without what makes it the operator's."""
    live = await answer(http, Request("GET", f"{DEPLOYMENTS}/{NAME}"))
    labels = {"app": PLAIN}
    template = {**live["spec"]["template"], "metadata": {"labels": labels}}
    spec = {**live["spec"], "selector": {"matchLabels": labels}, "template": template}
    plain = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": PLAIN}, "spec": spec}
    await answer(http, Request("POST", DEPLOYMENTS, plain))


FIGURE = Figure(
    name="pause",
    title="Pause: request to Deployment at zero",
    how=f"{ROUNDS} pauses of a running endpoint and of a plain Deployment, in turn; from before the PATCH is sent "
    "to the moment at which a watch tells. Pods are ended by the real controllers; there is no kubelet, so their "
    "grace period is left out.",
    limits="Two writes and one watch event in line, where the yardstick needs one write.",
    better="Little: watch event, reconcile and second write together are the difference of the medians.",
    measure=measure,
)
