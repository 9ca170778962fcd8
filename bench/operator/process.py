"""Processes that are measured: the operator and the yardsticks."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.support.apiserver import ROOT, Cluster
from tests.support.operator import Operator
from tests.support.waiting import eventually

OPERATOR_COMMAND = ("-m", "slipway_operator", "run")


def start(command: Sequence[str], environment: dict[str, str], **options: Any) -> subprocess.Popen[bytes]:
    """A Python process from the repository's root that ends with this one."""
    words = ["setpriv", "--pdeathsig", "KILL", "--", sys.executable, *command]
    return subprocess.Popen(words, cwd=ROOT, env={"PATH": os.environ["PATH"], **environment}, **options)


class Measured(Operator):
    """The operator of the tests, with `command` in place of its own where a variant is measured."""

    def __init__(
        self, cluster: Cluster, folder: Path, *, command: Sequence[str] = OPERATOR_COMMAND, **settings: Any
    ) -> None:
        super().__init__(cluster, folder, **settings)
        self._command = command

    def start(self, *, wait: bool = True) -> None:
        with self._log.open("ab") as log:
            environment = {"KUBECONFIG": str(self.kubeconfig), **self._environment}
            self.process = start(self._command, environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        if wait:
            eventually(self.leads, timeout=60)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def reconciles(self) -> int:
        samples = self.metrics().items()
        return int(sum(value for name, value in samples if name.startswith("controller_runtime_reconcile_total{")))

    @property
    def waiting(self) -> int:
        return int(self.metrics().get('workqueue_depth{name="ModelEndpoint"}', 0))

    def cached(self, plural: str) -> int:
        return int(self.metrics().get(f'slipway_cached_objects{{resource="{plural}"}}', 0))

    def settle(self) -> None:
        """Waits until nothing was reconciled for a second and a half."""
        eventually(unchanged(lambda: (self.reconciles, self.waiting), times=6), timeout=120, interval=0.25)


def unchanged(value: Callable[[], object], *, times: int) -> Callable[[], bool]:
    """A check that holds once `value` was the same so many times in a row."""
    seen: list[object] = []

    def check() -> bool:
        now = value()
        if seen and seen[-1] != now:
            seen.clear()
        seen.append(now)
        return len(seen) > times

    return check
