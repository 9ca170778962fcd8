"""Why is an endpoint not as asked? Ordered checks, each of one fact; the first that holds is what the user is told.

The order is that of a pod's life: what keeps it from being made, placed, started, kept alive, loaded. A later
symptom never hides an earlier cause.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import orjson

from slipway_operator import kinds, reasons
from slipway_operator.kinds import Object
from slipway_operator.model_endpoint.observed import Observed
from slipway_operator.model_endpoint.pod import Pod
from slipway_operator.model_endpoint.spec import Endpoint
from slipway_operator.reasons import Reason

IMAGE_REASONS = frozenset(
    {"ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"}
)
OOM_IS_STALLED = 2
"""Kills after which an OOM is no accident."""
LOOP_RESTARTS = 2
"""Restarts after which a container that ends before it was ever ready is in a loop."""
LAST_LINES = 3
"""Of a log that stands in for a termination message."""
DETAIL_LIMIT = 400
"""Characters of somebody else's words in a message of ours."""


@dataclass(frozen=True)
class Fault:
    reason: Reason
    message: str
    stalled: bool
    kind: str = ""
    """Of the child that it is about, where it is about one."""

    @classmethod
    def of(cls, reason: Reason, *, stalled: bool | None = None, **words: object) -> "Fault":
        kind = str(words.get("kind", ""))
        return cls(reason, reason.message.format(**words), reason.stalled if stalled is None else stalled, kind)


def find(endpoint: Endpoint, observed: Observed, template: str) -> Fault | None:
    """The first fault of the endpoint's pods; pods of another `template` belong to the past and are not asked."""
    if endpoint.desired_replicas == 0:
        return None
    if (fault := _creation(endpoint, observed)) is not None:
        return fault
    pods = [pod for pod in observed.pods if pod.template == template and not pod.ready and not pod.terminating]
    for check in POD_CHECKS:
        for pod in pods:
            if (fault := check(endpoint, observed, pod)) is not None:
                return fault
    return _deadline(endpoint, observed)


def _creation(endpoint: Endpoint, observed: Observed) -> Fault | None:
    """The ReplicaSet may not make pods: only the Deployment tells."""
    failure = _deployment_condition(observed, "ReplicaFailure")
    if failure is None or failure["status"] != "True":
        return None
    detail = _brief(failure.get("message", ""))
    if "exceeded quota" in detail:
        return Fault.of(reasons.QUOTA_EXCEEDED, detail=detail)
    return Fault.of(reasons.POD_REFUSED, namespace=endpoint.namespace, name=endpoint.name, detail=detail)


def _placement(endpoint: Endpoint, _: Observed, pod: Pod) -> Fault | None:
    if pod.unschedulable is None:
        return None
    detail = _brief(pod.unschedulable)
    if missing := re.search(r'persistentvolumeclaim "([^"]+)" not found', detail):
        claim = missing.group(1)
        return Fault.of(reasons.VOLUME_CLAIM_NOT_FOUND, claim=claim, namespace=endpoint.namespace)
    for resource in _gpus(endpoint):
        if f"Insufficient {resource}" in detail:
            return Fault.of(reasons.WAITING_FOR_GPU, pod=pod.name, resource=resource, detail=detail)
    return Fault.of(reasons.UNSCHEDULABLE, pod=pod.name, detail=detail)


def _gpus(endpoint: Endpoint) -> list[str]:
    """Extended resources that the endpoint asks for: device plugins name them with a domain."""
    asked = {**endpoint.resources.get("limits", {}), **endpoint.resources.get("requests", {})}
    return [name for name in asked if "/" in name and name.rpartition("/")[2] not in ("hugepages",)]


def _image(_: Endpoint, __: Observed, pod: Pod) -> Fault | None:
    if pod.waiting is None or pod.waiting[0] not in IMAGE_REASONS:
        return None
    return Fault.of(reasons.IMAGE_PULL, pod=pod.name, image=pod.image, detail=_brief(pod.waiting[1] or pod.waiting[0]))


def _mount(endpoint: Endpoint, observed: Observed, pod: Pod) -> Fault | None:
    for message in observed.events.get(pod.name, ()):
        detail = _brief(message)
        if "pod sandbox" in message:
            return Fault.of(reasons.CONTAINER_START, pod=pod.name, detail=detail)
        if missing := re.search(r'secret "([^"]+)" not found|references non-existent secret key', message):
            token = endpoint.model.token
            secret = missing.group(1) or (token.name if token else "")
            field = "spec.model.tokenSecretRef" if token and token.name == secret else "spec.podTemplate"
            return Fault.of(
                reasons.SECRET_NOT_FOUND,
                field=field,
                secret=secret,
                pod=pod.name,
                detail=detail,
                namespace=endpoint.namespace,
            )
        return Fault.of(reasons.MOUNT_FAILED, pod=pod.name, detail=detail)
    return None


def _configuration(_: Endpoint, __: Observed, pod: Pod) -> Fault | None:
    if pod.waiting is None:
        return None
    reason, message = pod.waiting
    if reason == "CreateContainerConfigError":
        return Fault.of(reasons.CONTAINER_CONFIG, pod=pod.name, detail=_brief(message))
    if reason in ("CreateContainerError", "RunContainerError"):
        return Fault.of(reasons.CONTAINER_START, pod=pod.name, detail=_brief(message))
    return None


def _memory(_: Endpoint, __: Observed, pod: Pod) -> Fault | None:
    if pod.last_exit is None or pod.last_exit[0] != "OOMKilled":
        return None
    limit = pod.memory_limit or "the node"
    return Fault.of(
        reasons.OUT_OF_MEMORY, stalled=pod.restarts >= OOM_IS_STALLED, pod=pod.name, limit=limit, restarts=pod.restarts
    )


def _crash(endpoint: Endpoint, _: Observed, pod: Pod) -> Fault | None:
    # The kubelet says CrashLoopBackOff only while it waits; a loop is one, too, while the next try is running.
    waits = pod.waiting is not None and pod.waiting[0] == "CrashLoopBackOff"
    if pod.last_exit is None or not (waits or (pod.restarts >= LOOP_RESTARTS and pod.ended_unready)):
        return None
    reason, code, message = pod.last_exit
    detail = _last_word(message) or reason
    return Fault.of(
        reasons.CRASH_LOOP, pod=pod.name, restarts=pod.restarts, code=code, detail=detail, namespace=endpoint.namespace
    )


def _runtime(_: Endpoint, observed: Observed, pod: Pod) -> Fault | None:
    report = observed.reports.get(pod.name)
    if report is None or report.error is None:
        return None
    known = reasons.BY_RUNTIME_REASON.get(report.error.reason, reasons.BAD_CONFIGURATION)
    return Fault.of(known, detail=_brief(report.error.message))


POD_CHECKS: tuple[Callable[[Endpoint, Observed, Pod], Fault | None], ...] = (
    _placement,
    _image,
    _mount,
    _configuration,
    _memory,
    _crash,
    _runtime,
)


def _deadline(endpoint: Endpoint, observed: Observed) -> Fault | None:
    progressing = _deployment_condition(observed, "Progressing")
    if progressing is None or progressing.get("reason") != "ProgressDeadlineExceeded":
        return None
    seconds = observed.children[kinds.DEPLOYMENT.kind]["spec"].get("progressDeadlineSeconds")
    return Fault.of(
        reasons.ROLLOUT_STUCK,
        namespace=endpoint.namespace,
        name=endpoint.name,
        seconds=seconds,
        detail=_brief(progressing.get("message", "")),
    )


def _deployment_condition(observed: Observed, kind: str) -> Object | None:
    deployment = observed.children.get(kinds.DEPLOYMENT.kind, {})
    conditions: list[Object] = deployment.get("status", {}).get("conditions", [])
    return next((condition for condition in conditions if condition["type"] == kind), None)


def _last_word(message: str) -> str:
    """A termination message: the runtime's JSON, or the log's tail that the kubelet falls back to."""
    try:
        data = orjson.loads(message)
    except orjson.JSONDecodeError:
        # The very last line alone is often a frame or a caret below the error.
        lines = [line for line in message.splitlines() if line.strip()]
        return _brief(" | ".join(line.strip() for line in lines[-LAST_LINES:]))
    return _brief(str(data.get("message", ""))) if isinstance(data, dict) else ""


def _brief(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= DETAIL_LIMIT else f"{flat[: DETAIL_LIMIT - 1]}…"
