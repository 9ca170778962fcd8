"""torch.compile of the network's forward, SLIPWAY_COMPILE=true: before Ready, kept on disk, compared with the eager.

Compiled once for one input and once for any number of them, of any lengths. What neither fits, and whatever the
compiler cannot do, runs as it is: nobody waits for a compiler once the model is ready.
"""

from __future__ import annotations

import itertools
import logging
import os
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import torch

from slipway_runtime.tasks.adapter import Adapter, Loaded
from slipway_runtime.tasks.compared import apart, outputs

COMPILED = "compiled"
# Inputs of the requests that it is compiled with: torch takes one for a kind of its own, and two for any number; by the
# others one sees whether it does.
_COUNTS = (1, 2, 3, 7)
_CALLS = 2  # that are compared of a request: where text is written, the prompt's and a step's
_callers = itertools.count(1)
# Of outputs' length. The compiler adds numbers up in another order; int8 and half precision make more of that.
_FINE = 1e-3
_ROUGH = 0.1

logger = logging.getLogger("slipway_runtime")


def compile_forward(loaded: Loaded, cache: Path) -> Loaded:
    """`loaded` with its forward compiled, and `compiled` says so; or as it was, and why. In the inference thread.

    `cache`: what was compiled is kept there, and taken from there the next time.
    """
    began = time.monotonic()
    graphs = Counter[str]()
    reason = _not_tried(loaded) or _folder(cache)
    if not reason:
        try:
            reason = _try(loaded, cache, graphs)
        except Exception as error:
            logger.error("torch.compile failed", exc_info=error)
            reason = f"torch.compile failed ({type(error).__name__}); the log has the place"
        if reason:
            vars(loaded.model).pop("forward", None)
    if reason:
        logger.warning("SLIPWAY_COMPILE: nothing is compiled: %s", reason)
        return replace(loaded, compiled=f"eager: {reason}")
    logger.info("compiled", extra={"fields": {"seconds": round(time.monotonic() - began, 1), **graphs}})
    return replace(loaded, compiled=COMPILED)


def _not_tried(loaded: Loaded) -> str:
    if not isinstance(loaded.model, torch.nn.Module):
        return f"{loaded.task} is not one network"
    if loaded.variants is not None:
        return "LoRA adapters change the network from batch to batch"
    if getattr(loaded.model, "can_generate", bool)() and {*map(_mode, loaded.adapters.values())} != {"continuous"}:
        return "what it writes is not written in continuous batches"
    return ""


def _folder(cache: Path) -> str:
    """Make it. What lies there is run as code, so a folder that others write to is none; empty where it can be used."""
    try:
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = cache.stat()
    except OSError as error:
        return f"{cache.name} in SLIPWAY_CACHE_DIR cannot be used ({error.strerror})"
    if found.st_uid != os.geteuid() or found.st_mode & 0o022:
        return f"{cache.name} in SLIPWAY_CACHE_DIR can be written by others, and what lies there is run as code"
    return ""


def _try(loaded: Loaded, cache: Path, graphs: Counter[str]) -> str:
    """Compile and compare; why it is not right, or empty. `graphs`: how many were made, by where from."""
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(cache)
    import torch._inductor.config as inductor  # noqa: PLC0415 - half a second, for those who compile
    from torch._dynamo.utils import counters  # noqa: PLC0415

    inductor.compile_threads = 1  # else there are processes beside this one for ever
    torch.compiler.set_stance("default")  # an attempt to load before this one may have changed it
    counters.clear()
    sizes = [(adapter, count) for adapter in loaded.adapters.values() for count in _COUNTS]
    eager = [_outputs(loaded, *size) for size in sizes]
    loaded.model.forward = torch.compile(loaded.model.forward, dynamic=True)
    weights = {weight.dtype for weight in loaded.model.parameters()}
    most = _FINE if weights <= {torch.float32, torch.float64} else _ROUGH
    for (adapter, count), before in zip(sizes, eager, strict=True):
        moved = apart(_outputs(loaded, adapter, count), before)
        if not moved <= most:
            return f"compiled, outputs of {adapter.task} for {count} requests are {moved:.2g} away from the model's own"
    torch.compiler.set_stance("eager_on_recompile")
    found = counters["inductor"]
    graphs.update(fromCache=found["fxgraph_cache_hit"], anew=found["fxgraph_cache_miss"])
    if not graphs.total():
        return "torch.compile found nothing that it could compile"
    writers = [adapter for adapter in loaded.adapters.values() if _mode(adapter)]
    return next((reason for adapter in writers if (reason := adapter.differs_now())), "")  # type: ignore[attr-defined]


def _mode(adapter: Adapter) -> str:
    return getattr(adapter, "mode", "")


def _outputs(loaded: Loaded, adapter: Adapter, count: int) -> dict[str, torch.Tensor]:
    items = [item for _ in range(count) for item in adapter.warmup()]
    # Each of a caller of its own: nothing is found of what another one has had read.
    items = [replace(item, caller=f"compiled-{next(_callers)}") for item in items]
    # A hook on a part would be compiled with it.
    return outputs(loaded, items, parts=False, calls=_CALLS)
