"""The status of an endpoint, a pure function of its spec, what is observed, and the status before.

What each condition and phase means: decisions/0003-ready-serving-phase.md.
"""

from dataclasses import dataclass

from slipway_operator import conditions, kinds, labels, names, reasons
from slipway_operator.conditions import Condition
from slipway_operator.contract import RuntimeStatus
from slipway_operator.kinds import Object
from slipway_operator.model_endpoint.faults import Fault
from slipway_operator.model_endpoint.observed import Observed
from slipway_operator.model_endpoint.pod import Pod
from slipway_operator.model_endpoint.spec import Endpoint

CONDITIONS = frozenset({"Ready", "Serving", "Reconciling", "Stalled", "SpecValid", "ModelAvailable", "Scheduled"})
"""The types that are ours; others' stay beside them."""


@dataclass(frozen=True)
class Counts:
    """Pods by what they mean for the rollout; terminating pods hold compute but serve nobody new."""

    desired: int
    active: int
    updated_ready: int
    ready: int
    terminating: int

    @property
    def settled(self) -> bool:
        """Exactly the pods that were asked for, all of the present template and ready; those ending do not matter."""
        return self.active == self.desired == self.updated_ready


def count(endpoint: Endpoint, pods: tuple[Pod, ...], template: str) -> Counts:
    active = [pod for pod in pods if not pod.terminating]
    return Counts(
        desired=endpoint.desired_replicas,
        active=len(active),
        updated_ready=sum(pod.ready and pod.template == template for pod in active),
        ready=sum(pod.ready for pod in active),
        terminating=len(pods) - len(active),
    )


@dataclass(frozen=True)
class _State:
    """Phase and the reason and message that go with it."""

    phase: str
    ready: bool
    reason: str
    message: str
    stalled: bool = False


def compute(
    endpoint: Endpoint, observed: Observed, *, template: str, fault: Fault | None, previous: Object, now: str
) -> Object:
    """The whole status object. `template` is the digest of the rendered pod template, `now` RFC 3339 with seconds."""
    counts = count(endpoint, observed.pods, template)
    state = _state(endpoint, counts, observed, fault)
    status: Object = {
        "observedGeneration": endpoint.generation,
        "phase": state.phase,
        "url": names.service_url(endpoint.name, endpoint.namespace),
        "replicas": counts.active,
        "readyReplicas": counts.ready,
        "selector": f"{labels.ENDPOINT}={endpoint.name}",
        "conditions": conditions.render(
            _conditions(endpoint, counts, state, fault), previous.get("conditions", []), endpoint.generation, now
        ),
    }
    if (model := _model(endpoint, observed, template, previous)) is not None:
        status["model"] = model
    if (progress := _progress(observed)) is not None and state.phase in ("Initializing", "Updating"):
        status["progress"] = progress
    return status


def invalid(obj: Object, message: str, *, now: str) -> Object:
    """The status of an endpoint whose spec cannot be parsed: what was known stays, the conditions say what is wrong."""
    generation, previous = obj["metadata"].get("generation", 0), own(obj.get("status") or {})
    reason = reasons.INVALID_SPEC.name
    served = conditions.find(previous.get("conditions", []), "Serving")
    answered = served is not None and served["status"] == "True"
    wanted = [
        Condition("Ready", False, reason, message),
        Condition("SpecValid", False, reason, message),
        Condition("Stalled", True, reason, message),
        Condition(
            "Serving",
            answered,
            reasons.SERVING if answered else reasons.NOT_SERVING,
            "The spec is not valid; what ran before is left as it is.",
        ),
    ]
    return {
        **previous,
        "observedGeneration": generation,
        "phase": "Failed",
        "conditions": conditions.render(wanted, previous.get("conditions", []), generation, now),
    }


def own(status: Object) -> Object:
    """A status without other writers' conditions, sorted as ours: what the next one is compared with."""
    if not status:
        return {}
    mine = [condition for condition in status.get("conditions", []) if condition["type"] in CONDITIONS]
    return {**status, "conditions": sorted(mine, key=lambda condition: condition["type"])}


def known_model(status: Object, generation: int) -> bool:
    """Whether a status tells what the pods of this generation serve, so that they need not be asked."""
    settled = status.get("phase") in ("Running", "Paused") and status.get("observedGeneration") == generation
    return settled and "model" in status


def _state(endpoint: Endpoint, counts: Counts, observed: Observed, fault: Fault | None) -> _State:
    if fault is not None:
        return _faulty(counts, fault)
    if counts.desired == 0:
        return _pausing(endpoint, counts)
    if counts.settled:
        return _State("Running", True, reasons.RUNNING, f"{counts.ready} of {counts.desired} pods are ready.")
    if counts.ready == 0:
        return _State("Initializing", False, reasons.STARTING, _starting(counts, observed))
    words = f"{counts.updated_ready} of {counts.desired} pods of the present spec are ready, {counts.active} run."
    return _State("Updating", False, reasons.UPDATING, words)


def _faulty(counts: Counts, fault: Fault) -> _State:
    if not fault.stalled:
        waiting = fault.reason.condition == "Scheduled" and counts.ready == 0
        phase = "Pending" if waiting else "Updating" if counts.ready else "Initializing"
    else:
        phase = "UpdateFailed" if counts.ready else "Failed"
    return _State(phase, False, fault.reason.name, fault.message, stalled=fault.stalled)


def _pausing(endpoint: Endpoint, counts: Counts) -> _State:
    how = "spec.paused is true" if endpoint.paused else "spec.replicas is 0"
    left = counts.active + counts.terminating
    if left:
        return _State("Updating", False, reasons.PAUSING, f"{how}; {left} pods are still ending.")
    resume = (
        f"Set it to false to run {endpoint.replicas} replicas again."
        if endpoint.paused
        else "Scale to 1 or more to resume."
    )
    return _State("Paused", True, reasons.PAUSED, f"{how}; the endpoint uses no compute. {resume}")


def _starting(counts: Counts, observed: Observed) -> str:
    """One reason for all of a start: a change of reason is written at once, a change of words is paced (pacing.py)."""
    words = f"{counts.ready} of {counts.desired} pods are ready."
    if _downloading(observed) is None:
        return words
    return f"{words} The model is being downloaded; see status.progress."


def _conditions(endpoint: Endpoint, counts: Counts, state: _State, fault: Fault | None) -> list[Condition]:
    # A Service of that name that is somebody else's sends requests elsewhere, however many pods are ready.
    serving = counts.ready > 0 and counts.desired > 0 and not _elsewhere(fault)
    wanted = [
        Condition("Ready", state.ready, state.reason, state.message),
        Condition(
            "Serving",
            serving,
            reasons.SERVING if serving else reasons.PAUSED if counts.desired == 0 else reasons.NOT_SERVING,
            f"{counts.ready} pods answer requests." if serving else _silent(endpoint, counts),
        ),
    ]
    if state.stalled:
        wanted.append(Condition("Stalled", True, state.reason, state.message))
    elif not state.ready:
        wanted.append(Condition("Reconciling", True, state.reason, state.message))
    if fault is not None and fault.reason.condition is not None:
        wanted.append(Condition(fault.reason.condition, False, fault.reason.name, fault.message))
    return wanted


def _elsewhere(fault: Fault | None) -> bool:
    return fault is not None and fault.reason is reasons.NAME_CONFLICT and fault.kind == kinds.SERVICE.kind


def _silent(endpoint: Endpoint, counts: Counts) -> str:
    if counts.desired and counts.ready:
        return "Pods are ready, but the URL leads to a Service that is not ours."
    if counts.desired:
        return "No pod is ready; requests to the URL are refused until one is."
    return (
        f"The endpoint is paused. It never wakes by itself: kubectl patch mep {endpoint.name}, or scale it, to resume."
    )


def _downloading(observed: Observed) -> RuntimeStatus | None:
    reports = [report for report in observed.reports.values() if report.stage == "Downloading"]
    return min(reports, key=lambda report: report.percent or 0.0, default=None)


def _progress(observed: Observed) -> Object | None:
    """Of the slowest pod. Only downloads: loading takes seconds, and a write for it would tell nobody anything."""
    report = _downloading(observed)
    if report is None:
        return None
    progress: Object = {"stage": report.stage}
    if report.percent is not None:
        progress["percent"] = int(report.percent)
    if report.estimated_seconds is not None:
        progress["estimatedSeconds"] = int(report.estimated_seconds)
    return progress


def _model(endpoint: Endpoint, observed: Observed, template: str, previous: Object) -> Object | None:
    """What a ready pod of the present template serves; else what was known before, as long as it is the same source."""
    for pod in observed.pods:
        report = observed.reports.get(pod.name)
        if report is not None and report.model is not None and pod.ready and pod.template == template:
            known = {
                "id": endpoint.model.display,
                "revision": report.model.revision,
                "task": report.model.task,
                "format": report.model.format,
                "sizeBytes": report.model.size_bytes,
            }
            return {name: value for name, value in known.items() if value is not None}
    before: Object | None = previous.get("model")
    return before if before is not None and before.get("id") == endpoint.model.display else None
