"""The least that a kopf operator can be: it watches ModelEndpoints and says `seen` when it has seen as many as told."""

import asyncio
import sys
from typing import Any

import kopf

seen: set[str] = set()


@kopf.on.event("slipway.dev", "v1alpha1", "modelendpoints")
async def changed(uid: str, **_: Any) -> None:
    before = len(seen)
    seen.add(uid)
    if before < int(sys.argv[1]) == len(seen):
        print("seen", flush=True)


@kopf.on.startup()
async def started(**_: Any) -> None:
    if not int(sys.argv[1]):
        print("seen", flush=True)


asyncio.run(kopf.operator(standalone=True, clusterwide=True))
