"""Run with the runtime's interpreter: prints as JSON what the runtime really says and serves.

{"statuses": {name: /status}, "paths": [...], "reasons": {reason: code}}. The model is played; stages, faults and shapes
are the runtime's own.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, cast

from slipway_runtime.artifacts import Artifact
from slipway_runtime.artifacts.progress import Progress
from slipway_runtime.errors import REASON_CODES, ModelFault
from slipway_runtime.serve import admin
from slipway_runtime.serve.life.lifecycle import Lifecycle, Steps, describe

ARTIFACT = Artifact(Path("/x"), "org/name", "c0ffee", {}, (), 90_868_376)


class Loaded:
    task = "feature-extraction"
    device = "cpu"


async def statuses() -> dict[str, Any]:
    found: dict[str, Any] = {}
    life: Lifecycle

    async def fetch(progress: Progress) -> Artifact:
        found["unknown size"] = describe(life)
        progress.expect(1000)
        progress.add(250)
        found["downloading"] = describe(life)
        return ARTIFACT

    async def load(_: Artifact) -> Any:
        found["loading"] = describe(life)
        return Loaded()

    async def warm_up(_: Any) -> None:
        return

    life = Lifecycle(Steps(fetch, load, warm_up, lambda: None))
    found["starting"] = describe(life)
    await life.run()
    found["ready"] = describe(life)
    await life.drain()
    found["draining"] = describe(life)
    for reason in REASON_CODES:
        found[reason] = await failed(reason)
    return found


async def failed(reason: str) -> dict[str, Any]:
    async def fetch(_: Progress) -> Artifact:
        raise ModelFault(reason, f"what is wrong: {reason}", "model.id")

    async def never(_: Any) -> Any:
        raise AssertionError

    life = Lifecycle(Steps(fetch, never, never, lambda: None))
    running = asyncio.create_task(life.run())
    await life.wait_until_settled()
    said = describe(life)
    running.cancel()
    return said


def main() -> None:
    nothing = cast(Any, None)
    paths = [getattr(route, "path", "") for route in admin.build(nothing, nothing, nothing).routes]
    print(json.dumps({"statuses": asyncio.run(statuses()), "paths": paths, "reasons": REASON_CODES}))


if __name__ == "__main__":
    main()
