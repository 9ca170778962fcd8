"""Resident memory with nothing, a hundred and a thousand endpoints, all with children and a ready pod."""

from __future__ import annotations

from functools import partial

from bench.machine import memory
from bench.operator.figure import Figure, Row
from bench.operator.process import unchanged
from bench.operator.world import world
from tests.support.waiting import eventually

BOUNDS = {100: 100.0}
SIZES = (0, 100, 1000)


def measure() -> list[Row]:
    rows: list[Row] = []
    with world() as here:
        operator = here.operator()
        for size in SIZES:
            here.grow(size, operator)
            lived = memory(operator.pid)
            operator.stop()
            operator.start()
            operator.settle()
            fresh = memory(operator.pid)
            with here.bare_kopf(size) as (kopf, _):
                eventually(unchanged(partial(memory, kopf.pid), times=4), interval=0.25)
                bare = memory(kopf.pid)
            name, bound = "bare kopf, same endpoints", BOUNDS.get(size)
            rows.append(Row(f"{size} endpoints, made while it ran", lived, "MiB", name, bare, below=bound))
            rows.append(Row(f"{size} endpoints, after a restart", fresh, "MiB", name, bare, below=bound))
    return rows


FIGURE = Figure(
    name="memory",
    title="Resident memory (VmRSS)",
    how="One process for all sizes, restarted at each; endpoints with ServiceAccount, Service, Deployment and a ready "
    "pod. Pods are made by the bench as a ReplicaSet would.",
    limits="Without endpoints the interpreter, kopf and kubernetes.aio. An endpoint with its four objects is 10 kB "
    "of JSON and 38 kB of Python dicts, 30 of them for the pod and the Deployment; the rest of the growth is what "
    "lists of 500 with their managedFields leave behind, and TLS buffers of up to 64 connections.",
    better="Dropping managedFields as each page of a list comes, and pages of 100 (tried: 143 to 119 MiB with "
    "1000); fewer connections (24 for 64: 9 MiB less after a burst); keeping of a pod only what is parsed.",
    measure=measure,
)
