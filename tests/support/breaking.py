"""What breaks in a server's own process: for `prepare` of warm_process.py. The switches are files in a folder.

hang     forwards that begin or run wait while it is there, as on a driver that does not answer
fail     forwards raise what torch raises on a GPU that is lost
poison   forwards of more than POISON_TOKENS tokens raise
slow     each forward takes SLOW_SECONDS longer
load     loading waits while it is there
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

POISON_TOKENS = 40
SLOW_SECONDS = 0.02


def forwards(folder: str) -> None:
    """From now on the switches in `folder` count."""
    import torch
    from slipway_runtime.tasks import loading

    switches, load_network = Path(folder), loading.load_network

    def broken(forward: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(forward)
        def run(*args: Any, **kwargs: Any) -> Any:
            _wait(switches / "hang")
            if (switches / "fail").exists():
                raise torch.AcceleratorError("CUDA error: unspecified launch failure")
            if (switches / "poison").exists() and kwargs["input_ids"].shape[-1] > POISON_TOKENS:
                raise RuntimeError("an input that no kernel takes")
            if (switches / "slow").exists():
                time.sleep(SLOW_SECONDS)
            return forward(*args, **kwargs)

        return run

    def load_broken(*args: Any, **kwargs: Any) -> Any:
        _wait(switches / "load")
        network = load_network(*args, **kwargs)
        network.model.forward = broken(network.model.forward)
        return network

    loading.load_network = load_broken


def _wait(switch: Path) -> None:
    while switch.exists():
        time.sleep(0.005)
