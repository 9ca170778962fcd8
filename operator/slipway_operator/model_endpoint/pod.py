"""A pod, reduced to the facts that status and faults are decided from."""

from dataclasses import dataclass

from slipway_operator import labels, names
from slipway_operator.kinds import Object, controller_of


@dataclass(frozen=True)
class Pod:
    name: str
    uid: str
    created: str
    """RFC 3339, as the API server wrote it."""
    template: str
    """Digest of the template it was made from; see labels.TEMPLATE."""
    address: str | None
    phase: str
    ready: bool
    terminating: bool
    scheduled: bool
    unschedulable: str | None
    """The scheduler's words, when it found no node."""
    image: str
    memory_limit: str | None
    waiting: tuple[str, str] | None
    """Reason and message of a container that does not run."""
    running: bool
    restarts: int
    last_exit: tuple[str, int, str] | None
    """Reason, exit code and termination message of the container's last end."""
    ended_unready: bool
    """It was not ready when it ended last, and has not been since."""

    @property
    def stuck_before_start(self) -> bool:
        """Scheduled, yet no container was made: the reason, if there is one, exists only as an Event."""
        return (
            self.scheduled and not self.running and self.waiting is not None and self.waiting[0] == "ContainerCreating"
        )


def holds_compute(pod: Object) -> bool:
    return pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")


def made_for(endpoint: str, pod: Object) -> bool:
    """Whether the endpoint's Deployment made the pod: labels alone are anybody's to write.

    A Deployment calls its ReplicaSets `<name>-<pod-template-hash>`; watching them for their owner would cost a cache
    as large as that of pods and tell no more.
    """
    controller = controller_of(pod)
    template_hash = (pod["metadata"].get("labels") or {}).get("pod-template-hash", "")
    return (
        controller is not None
        and controller["kind"] == "ReplicaSet"
        and controller["name"] == f"{endpoint}-{template_hash}"
    )


def parse(pod: Object) -> Pod:
    """A Pod object as facts. Absent fields are those of a pod that nothing has happened to yet."""
    metadata, spec, status = pod["metadata"], pod["spec"], pod.get("status", {})
    conditions = {condition["type"]: condition for condition in status.get("conditions", [])}
    scheduled = conditions.get("PodScheduled", {})
    container = _named(spec["containers"])
    state = _named(status.get("containerStatuses", []))
    waiting = state.get("state", {}).get("waiting")
    ended = state.get("state", {}).get("terminated") or state.get("lastState", {}).get("terminated")
    return Pod(
        name=metadata["name"],
        uid=metadata["uid"],
        created=metadata.get("creationTimestamp", ""),
        template=metadata.get("annotations", {}).get(labels.TEMPLATE, ""),
        address=status.get("podIP"),
        phase=status.get("phase", "Pending"),
        ready=conditions.get("Ready", {}).get("status") == "True",
        terminating="deletionTimestamp" in metadata,
        scheduled=scheduled.get("status") == "True",
        unschedulable=scheduled.get("message") if scheduled.get("reason") == "Unschedulable" else None,
        image=container.get("image", ""),
        memory_limit=container.get("resources", {}).get("limits", {}).get("memory"),
        waiting=(waiting.get("reason", ""), waiting.get("message", "")) if waiting else None,
        running="running" in state.get("state", {}),
        restarts=state.get("restartCount", 0),
        last_exit=(ended.get("reason", ""), ended.get("exitCode", 0), ended.get("message", "")) if ended else None,
        ended_unready=bool(ended) and _unready_since(conditions.get("Ready")) < ended.get("finishedAt", ""),
    )


def _unready_since(ready: Object | None) -> str:
    """RFC 3339 of the kubelet, comparable as text with its other times; after all of them while the pod is ready."""
    if ready is None:
        return ""
    return "~" if ready.get("status") == "True" else ready.get("lastTransitionTime") or ""


def _named(containers: list[Object]) -> Object:
    return next((item for item in containers if item["name"] == names.MODEL_CONTAINER), {})
