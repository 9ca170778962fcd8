"""Many endpoints applied at once, until all their children are there."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

import aiohttp
import orjson
from slipway_operator.model_endpoint import spec
from slipway_operator.model_endpoint.render import children
from slipway_operator.settings import Settings

from bench.machine import cpu
from bench.operator.api import Request, answers, changes, session
from bench.operator.figure import Figure, Row
from bench.operator.process import start
from bench.operator.world import CHILDREN, ENDPOINTS, RESOURCES, World, resource, world
from tests.support.apiserver import Object
from tests.support.builders import stored
from tests.support.chart import OPERATOR

ROUNDS = {100: 3, 500: 1}
SETTINGS = Settings(
    namespace="slipway-system", pod_name="bench", runtime_image="registry.example.com/slipway/runtime:1"
)


@dataclass(frozen=True)
class Burst:
    seconds: float
    """From before the first request until a watch has told of every child."""
    cpu: float
    requests: tuple[Object, ...] = ()
    """Audit events of the operator."""


def measure() -> list[Row]:
    rows: list[Row] = []
    for size, rounds in ROUNDS.items():
        bares, bursts = zip(*((_yardstick(size), _operator(size)) for _ in range(rounds)), strict=True)
        bare, burst = _median(bares), _median(bursts)
        requests = bursts[-1].requests
        by_kind = Counter(f"{one['verb']} {resource(one)}" for one in requests if one["verb"] != "watch")
        of, name = f"{size} endpoints: ", "apply alone, 16 at a time"
        rows += [
            Row(f"{of}all children are there", burst.seconds, "s", name, bare.seconds),
            Row(f"{of}CPU until then, per endpoint", burst.cpu / size * 1000, "ms", name, bare.cpu / size * 1000),
            Row(f"{of}requests per endpoint", by_kind.total() / size, "", name, 3),
        ]
        rows += [Row(f"{of}· {kind}", count / size, "") for kind, count in by_kind.most_common() if count >= size / 20]
    return rows


def _median(bursts: tuple[Burst, ...]) -> Burst:
    return Burst(statistics.median(one.seconds for one in bursts), statistics.median(one.cpu for one in bursts))


def _operator(size: int) -> Burst:
    with world() as here:
        operator = here.operator()
        mark, before = len(here.requests()), cpu(operator.pid)
        seconds = asyncio.run(_burst(here, size, lambda _: None))
        return Burst(seconds, cpu(operator.pid) - before, tuple(here.requests()[mark:]))


def _yardstick(size: int) -> Burst:
    """The same objects by a process that only applies; it is told of each endpoint when the API server has it."""
    with world() as here, ExitStack() as stack:
        template = here.folder / "rendered.json"
        shape = stored("NAME", namespace="bench", resources=RESOURCES, metadata={"uid": "UID"})
        template.write_bytes(orjson.dumps(children(spec.parse(shape), SETTINGS)))
        token = here.cluster.token(OPERATOR)
        authority = str(here.cluster.authority.certificate)
        arguments = [here.cluster.url, authority, str(template), str(SETTINGS.workers)]
        command = ["-m", "bench.operator.yardsticks.apply_only", *arguments]
        process = stack.enter_context(start(command, {}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0))
        stack.callback(process.kill)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{token}\n".encode())
        process.stdout.readline()

        def tell(created: Object) -> None:
            assert process.stdin is not None
            metadata = created["metadata"]
            process.stdin.write(f"{metadata['name']} {metadata['uid']}\n".encode())

        seconds = asyncio.run(_burst(here, size, tell))
        process.stdin.close()
        return Burst(seconds, float(process.stdout.readline()))


async def _burst(here: World, size: int, tell: Callable[[Object], None]) -> float:
    async with session(here.cluster) as http:
        opened = asyncio.Barrier(len(CHILDREN) + 1)
        counting = [asyncio.create_task(_counted(http, path, size, opened)) for path in CHILDREN.values()]
        await opened.wait()
        began = time.perf_counter()
        await answers(http, [Request("POST", ENDPOINTS, one) for one in here.new(size)], tell)
        async with asyncio.timeout(300):
            return max(await asyncio.gather(*counting)) - began


async def _counted(http: aiohttp.ClientSession, path: str, size: int, opened: asyncio.Barrier) -> float:
    """The moment at which a watch has told of `size` new objects."""
    count = 0
    async for kind, _ in changes(http, path):
        if not kind:
            await opened.wait()
        count += kind == "ADDED"
        if count == size:
            return time.perf_counter()
    raise RuntimeError(f"the watch of {path} ended after {count} objects")


FIGURE = Figure(
    name="burst",
    title="Many endpoints at once",
    how="The bench posts the endpoints 16 at a time and watches the children; without controllers, so no pods. Median "
    "of three rounds with 100, one with 500. The "
    "yardstick is told of each endpoint by the bench and applies the same objects. Requests are those until all "
    "children are there, status and Events included.",
    limits="The API server, which shares two cores with everything here; of the operator's own time, one core.",
    better="Half of the requests look for strangers' objects of the same names, one list per child, before the "
    "first apply. Of the CPU a tenth compares what an apply returned with what was sent (`unchanged`), most of the "
    "rest is aiohttp.",
    measure=measure,
)
