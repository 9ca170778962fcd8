"""The operator with kopf's own watch of ModelEndpoints beside its reflector, as design section 3 first had it."""

import os
import sys
from collections.abc import Callable
from typing import Any, cast

import kopf
from slipway_operator import logs
from slipway_operator.handlers import lifecycle, operator
from slipway_operator.kinds import MODEL_ENDPOINT, Key
from slipway_operator.process import Process
from slipway_operator.settings import Settings

shipped: Callable[..., None] = lifecycle.register


def register(registry: kopf.OperatorRegistry, process: Process, *others: Any) -> None:
    shipped(registry, process, *others)

    @kopf.on.event(MODEL_ENDPOINT.group, MODEL_ENDPOINT.version, MODEL_ENDPOINT.plural, registry=registry)
    async def changed(namespace: str | None, name: str | None, **_: Any) -> None:
        process.enqueue(Key(namespace or "", name or ""))


lifecycle.register = cast(Any, register)
settings = Settings.from_environment(os.environ)
logs.configure(settings.log_level)
sys.exit(operator.run(settings))
