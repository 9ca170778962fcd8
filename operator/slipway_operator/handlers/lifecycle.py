"""Start-up, login and clean-up under kopf: it owns the event loop, the signals and their order."""

import asyncio
import itertools
from typing import Any

import kopf

from slipway_operator.handlers.probes import Probes
from slipway_operator.process import Process


def register(registry: kopf.OperatorRegistry, process: Process, probes: Probes, stop_flag: asyncio.Event) -> None:
    """Registers the activities of the process. `stop_flag` is set when the process is of no more use."""
    patience = itertools.chain((0,), _Backoffs())

    @kopf.on.startup(registry=registry, errors=kopf.ErrorsMode.PERMANENT)
    async def start(settings: kopf.OperatorSettings, **_: Any) -> None:
        configure(settings)
        await process.start()
        assert process.failed is not None  # noqa: S101 - start() makes it
        process.failed.add_done_callback(lambda _: stop_flag.set())

    @kopf.on.login(registry=registry, errors=kopf.ErrorsMode.PERMANENT)
    async def login(**_: Any) -> kopf.AiohttpSession:
        # kopf closes a session that met a 401 and comes here again; it gives up when it gets equal credentials back.
        # Ours are renewed with each request, so all it needs is another session and some patience.
        await asyncio.sleep(next(patience))
        return kopf.AiohttpSession(server=process.client.server, aiohttp_session=process.client.lend())

    @kopf.on.cleanup(registry=registry)
    async def stop(**_: Any) -> None:
        await process.stop()
        await probes.stop()
        # kopf waits 5 s at its end for the task that waits for this flag.
        stop_flag.set()


def configure(settings: kopf.OperatorSettings) -> None:
    """kopf's settings: never give up on the API server, never write to objects."""
    # kopf's own list sums to 54 s and then ends the process; ours has no end.
    settings.networking.error_backoffs = _Backoffs()
    settings.networking.request_timeout = 30
    # Only explicit Events, and those by our own recorder.
    settings.posting.enabled = False
    # No handler of kopf's looks at resources (decisions/0008-kopf.md), so there is nothing to look for.
    settings.scanning.disabled = True


class _Backoffs:
    """An iterable that starts anew for each request and never ends."""

    def __iter__(self) -> Any:
        return itertools.chain((0.5, 1, 2, 4, 8), itertools.repeat(15))
