"""What several workers answer on their admin ports, as one answer of the pod. Pure.

None is a worker that said nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

# The pod is as far as the worker that is least far.
_STAGES = ("Failed", "Starting", "Downloading", "Loading", "Draining", "Ready")
_OF_ONE_PROCESS = "process_"  # weights that are mapped are in the memory of each: a sum would be wrong
_OF_ALL = "slipway_ready"


def probe(answers: Sequence[tuple[int, str] | None]) -> tuple[int, str]:
    """Status and text: 200 where every worker says so, else what the first says that does not."""
    for number, answer in enumerate(answers):
        if answer is None:
            return 503, f"worker {number} does not answer"
        status, text = answer
        if status != 200:
            return 503, f"worker {number}: {text}"
    return 200, "ok"


def status(answers: Sequence[dict[str, Any] | None], *, stopping: bool) -> dict[str, Any]:
    """/status: of the worker that is least far, with the sums of all, and each one's stage."""
    told = [answer if answer is not None else _silent(number, stopping) for number, answer in enumerate(answers)]
    nearest: dict[str, Any] = min(told, key=_distance)
    ages = [one["lastRequestAge"] for one in told if one["lastRequestAge"] is not None]
    return {
        **nearest,
        "inFlight": sum(one["inFlight"] for one in told),
        "queued": sum(one["queued"] for one in told),
        "lastRequestAge": min(ages, default=None),
        "workers": [{key: one[key] for key in ("stage", "inFlight", "queued")} for one in told],
    }


def _silent(number: int, stopping: bool) -> dict[str, Any]:
    nothing: dict[str, Any] = dict.fromkeys(("percent", "estimatedSeconds", "error", "model", "lastRequestAge"))
    return {
        "kind": "serve",
        "stage": "Draining" if stopping else "Starting",
        "message": f"worker {number} {'has ended' if stopping else 'does not answer'}",
        "inFlight": 0,
        "queued": 0,
        **nothing,
        "apiTokens": None,
    }


def _distance(one: dict[str, Any]) -> tuple[int, float]:
    """Those that fetch nothing themselves, but wait for another that does, know no percentage."""
    return _STAGES.index(one["stage"]), one["percent"] if one["percent"] is not None else 101


class Summed(Collector):
    """Sums over the samples of all workers; `process_…` are each worker's own, with its number as the label worker."""

    def __init__(self, texts: Sequence[str]) -> None:
        """`texts`: /metrics of each, in Prometheus' text format."""
        self._texts = texts

    def collect(self) -> Iterable[Metric]:
        families: dict[str, Metric] = {}
        values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
        for number, text in enumerate(self._texts):
            for family in text_string_to_metric_families(text):
                families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                found = values.setdefault(family.name, {})
                further = {"worker": str(number)} if family.name.startswith(_OF_ONE_PROCESS) else {}
                for sample in family.samples:
                    key = (sample.name, tuple({**sample.labels, **further}.items()))
                    if family.name == _OF_ALL:
                        found[key] = min(found.get(key, 1.0), sample.value)
                    else:
                        found[key] = found.get(key, 0.0) + sample.value
        for name, family in families.items():
            for (sample_name, labels), value in values[name].items():
                family.add_sample(sample_name, dict(labels), value)
            yield family
