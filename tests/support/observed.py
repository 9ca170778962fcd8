"""Pods, Deployments and what is observed of an endpoint, as a cluster would show them; a test says what differs."""

from __future__ import annotations

from typing import Any

from slipway_operator import kinds, labels
from slipway_operator.contract import RuntimeFault, RuntimeStatus, ServedModel
from slipway_operator.model_endpoint import pod as pods
from slipway_operator.model_endpoint import spec
from slipway_operator.model_endpoint.observed import Observed
from slipway_operator.model_endpoint.pod import Pod
from slipway_operator.model_endpoint.render import children
from slipway_operator.model_endpoint.spec import Endpoint
from slipway_operator.settings import Settings

from tests.support.builders import stored

Object = dict[str, Any]

SETTINGS = Settings(namespace="slipway-system", pod_name="slipway-0", runtime_image="registry.example.com/runtime:1")
T0, T1, T2 = "2026-11-21T09:00:00Z", "2026-11-21T09:01:00Z", "2026-11-21T09:02:00Z"
"""Three moments, in order."""


def parsed(name: str = "emotions", **changes: Any) -> Endpoint:
    return spec.parse(stored(name, **changes))


def rendered(endpoint: Endpoint, kind: str | None = None) -> Any:
    """Its children, or the one of `kind`."""
    found = children(endpoint, SETTINGS)
    return found if kind is None else next(child for child in found if child["kind"] == kind)


def template_of(endpoint: Endpoint) -> str:
    digest: str = rendered(endpoint, "Deployment")["spec"]["template"]["metadata"]["annotations"][labels.TEMPLATE]
    return digest


def pod(name: str = "emotions-1", *, template: str = "t", ready: bool = False, **status: Any) -> Object:
    """A scheduled Pod as the API server shows it. Keyword arguments of the container's state: `waiting`, `running`,
    `terminated`, `last` (lastState.terminated), `restarts`; `conditions` and `metadata` replace and add."""
    state: Object = {key: status[key] for key in ("waiting", "terminated") if key in status}
    if not state:
        state = {"running": {"startedAt": T1}}
    conditions = status.get(
        "conditions",
        [
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": T0},
            {"type": "Ready", "status": str(ready), "lastTransitionTime": status.get("ready_since", T0)},
        ],
    )
    container = {
        "name": "serve",
        "image": "registry.example.com/runtime:1",
        "resources": {"limits": {"memory": "1Gi"}},
    }
    shown = {
        "name": "serve",
        "state": state,
        "lastState": {"terminated": status["last"]} if "last" in status else {},
        "restartCount": status.get("restarts", 0),
    }
    return {
        "metadata": {
            "name": name,
            "namespace": "default",
            "uid": f"uid-{name}",
            "creationTimestamp": T0,
            "annotations": {labels.TEMPLATE: template},
            **status.get("metadata", {}),
        },
        "spec": {"containers": [container]},
        "status": {
            "phase": status.get("phase", "Running"),
            "podIP": "10.0.0.7",
            "conditions": conditions,
            "containerStatuses": [shown] if status.get("started", True) else [],
        },
    }


def ready(name: str, template: str) -> Pod:
    return pods.parse(pod(name, template=template, ready=True))


def starting(name: str, template: str) -> Pod:
    return pods.parse(pod(name, template=template))


def ending(name: str, template: str) -> Pod:
    return pods.parse(pod(name, template=template, metadata={"deletionTimestamp": T2}))


def unscheduled(message: str, *, template: str = "t") -> Object:
    """A Pod that the scheduler finds no node for."""
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return pod(template=template, phase="Pending", started=False, conditions=[condition])


def observed(endpoint: Endpoint, *found: Pod | Object, **more: Any) -> Observed:
    """What is seen of an endpoint whose children are as rendered; `deployment` adds conditions to its Deployment."""
    live = {child["kind"]: child for child in rendered(endpoint)}
    live["Deployment"] = {
        **live["Deployment"],
        "status": {"conditions": more.pop("deployment", [])},
    }
    parsed_pods = tuple(one if isinstance(one, Pod) else pods.parse(one) for one in found)
    return Observed(uid=endpoint.uid, children=live, pods=parsed_pods, **more)


def report(stage: str = "Loading", *, reason: str | None = None, message: str = "", **more: Any) -> RuntimeStatus:
    """What a pod says on /status."""
    return RuntimeStatus(
        stage=stage,
        percent=more.get("percent"),
        estimated_seconds=more.get("seconds"),
        error=RuntimeFault(67, reason, message) if reason else None,
        model=more.get("model"),
    )


def served(**changes: Any) -> ServedModel:
    values = {"id": "a/b", "revision": "c0ffee", "task": "feature-extraction", "format": "safetensors", "size_bytes": 9}
    return ServedModel(**{**values, **changes})


def live(child: Object, *, version: int = 1, uid: str = "child-uid", **metadata: Any) -> Object:
    """A rendered child as the API server would return it: with identity, without defaults."""
    meta = {"uid": uid, "resourceVersion": str(version), **child["metadata"], **metadata}
    return {**child, "metadata": meta}


KEY = kinds.Key("default", "emotions")
