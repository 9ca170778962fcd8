"""Writes of objects for a new endpoint, from nothing until it is Ready, by the API server's audit log."""

from __future__ import annotations

from collections import Counter

from bench.operator.api import Request, send
from bench.operator.figure import Figure, Row
from bench.operator.world import CHILDREN, ENDPOINTS, resource, world, writes
from tests.support.waiting import eventually

COUNT = 20


def measure() -> list[Row]:
    with world(controllers=True) as here:
        operator = here.operator()
        for one in here.new(COUNT):
            send(here.cluster, [Request("POST", ENDPOINTS, one)])
        # Pods become ready some time after they are there, as with a kubelet: the status before is seen and written.
        eventually(lambda: operator.cached("pods") >= COUNT and here.all_have_status(), timeout=60)
        here.make_ready()
        operator.settle()
        requests = here.requests()
    per_endpoint: Counter[str] = Counter(one["objectRef"].get("name", "") for one in writes(requests))
    by_resource: Counter[str] = Counter(resource(one) for one in writes(requests))
    most = max(per_endpoint.values())
    rows = [Row("writes of the endpoint with most", most, "", "objects that it then has, itself apart", 3, most=5)]
    rows += [
        Row(f"{name}, per endpoint", by_resource[name] / COUNT, "", "one each", 1)
        for name in (*CHILDREN, "modelendpoints/status")
    ]
    rows.append(Row("all other writes, together", by_resource.total() - sum(by_resource[n] for n in _NAMED), ""))
    return rows


_NAMED = (*CHILDREN, "modelendpoints/status")

FIGURE = Figure(
    name="writes",
    title="Writes per new endpoint until Ready",
    how=f"{COUNT} endpoints with real controllers; Events and the Lease apart. There is no kubelet: the bench marks "
    "pods ready through their status and answers /status for them.",
    limits="One write per child and two of the status (starting, running); the rest is not written.",
    better="Nothing short of leaving out the first status, which tells a user that work has begun.",
    measure=measure,
)
