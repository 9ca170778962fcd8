"""Runs a Process under kopf."""

import asyncio
import logging
from typing import Any, cast

import kopf

from slipway_operator import errors
from slipway_operator.handlers import lifecycle
from slipway_operator.handlers.probes import Probes
from slipway_operator.process import Process
from slipway_operator.settings import Settings

LAST_TURNS_SECONDS = 0.1  # connections that were aborted end in the loop's next turns, some in several

logger = logging.getLogger(__name__)


def run(settings: Settings) -> int:
    """Runs until SIGTERM (returns 0); returns 1 if it cannot start, or when the process is of no more use."""
    return asyncio.run(_run(settings))


async def _run(settings: Settings) -> int:
    process, registry, stop_flag = Process(settings), kopf.OperatorRegistry(), asyncio.Event()
    probes = Probes(process)
    try:
        await process.connect()
        await probes.start()
    except (errors.NotConfigured, OSError) as error:
        logger.critical("the operator cannot start: %s", error)
        await probes.stop()
        await process.disconnect()
        return 1
    lifecycle.register(registry, process, probes, stop_flag)
    await kopf.operator(
        registry=registry,
        # Never kopf's peering: equal priorities pause each other, and a stale peer pauses everybody.
        standalone=True,
        # Its own guess asks for the name of a user that the image need not have.
        identity=cast(Any, settings.pod_name),
        clusterwide=not settings.watch_namespaces,
        namespaces=settings.watch_namespaces,
        stop_flag=stop_flag,
    )
    # All work has ended. kopf leaves its watch's generator behind, which complains when asyncio closes it.
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: logger.debug("at the end: %s", context["message"])
    )
    # Also where kopf has cut the clean-up off. The Lease was given up before, so nobody waits for this.
    await process.disconnect()
    await asyncio.sleep(LAST_TURNS_SECONDS)
    return 1 if process.failed is not None and process.failed.done() else 0
