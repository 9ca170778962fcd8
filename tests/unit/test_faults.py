"""Each row of reasons.py, from the pod status that a kubelet or scheduler writes in that case."""

from __future__ import annotations

from typing import Any

import pytest
from slipway_operator import reasons
from slipway_operator.model_endpoint import faults
from slipway_operator.model_endpoint.faults import Fault
from slipway_operator.reasons import Reason

from tests.support.observed import T0, T1, T2, observed, parsed, pod, report, unscheduled

Object = dict[str, Any]

GPU = {"resources": {"limits": {"nvidia.com/gpu": 1}}}
TOKEN = {"model": {"id": "a/b", "tokenSecretRef": {"name": "hub"}}}
VOLUME = {"model": {"uri": "pvc://weights/minilm"}}
NO_GPU = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu. preemption: 0/1 nodes are available"
NO_CPU = "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available"
NO_CLAIM = '0/1 nodes are available: persistentvolumeclaim "weights" not found. preemption: 0/1 nodes are available'
NO_SECRET = 'MountVolume.SetUp failed for volume "source-token" : secret "hub" not found'
NO_KEY = 'MountVolume.SetUp failed for volume "source-token" : references non-existent secret key: token'
SANDBOX = "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox"
CREATING = {"reason": "ContainerCreating"}
PULL = {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "registry.example.com/runtime:1": not found'}
NO_CONFIG = {"reason": "CreateContainerConfigError", "message": 'configmap "settings" not found'}
NO_START = {"reason": "RunContainerError", "message": "exec: no such file"}
BACKOFF = {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container"}
OOM = {"reason": "OOMKilled", "exitCode": 137, "finishedAt": T1}
EXIT = {"reason": "Error", "exitCode": 1, "finishedAt": T1, "message": '{"code": 64, "message": "port 8080 is taken"}'}


def told(*pods: Object, spec: Object | None = None, **more: Any) -> Fault | None:
    endpoint = parsed(**(spec or {}))
    return faults.find(endpoint, observed(endpoint, *pods, **more), "t")


def failed(message: str) -> list[Object]:
    return [{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}]


EXCEEDED = 'pods "x" is forbidden: exceeded quota: gpus, requested: pods=1, used: pods=0, limited: pods=0'
SECURITY = 'pods "x" is forbidden: violates PodSecurity "restricted:latest"'
STUCK = [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "has timed out"}]

ROWS: list[tuple[Reason, dict[str, Any], list[str]]] = [
    (reasons.QUOTA_EXCEEDED, {"deployment": failed(EXCEEDED)}, ["limited: pods=0", "spec.replicas"]),
    (reasons.POD_REFUSED, {"deployment": failed(SECURITY)}, ["violates PodSecurity", "default/emotions"]),
    (reasons.WAITING_FOR_GPU, {"pods": [unscheduled(NO_GPU)], "spec": GPU}, ["nvidia.com/gpu", "emotions-1", NO_GPU]),
    (reasons.UNSCHEDULABLE, {"pods": [unscheduled(NO_CPU)]}, [NO_CPU, "spec.resources"]),
    (reasons.UNSCHEDULABLE, {"pods": [unscheduled(NO_GPU)]}, [NO_GPU]),
    (reasons.VOLUME_CLAIM_NOT_FOUND, {"pods": [unscheduled(NO_CLAIM)], "spec": VOLUME}, ["weights", "spec.model.uri"]),
    (reasons.IMAGE_PULL, {"pods": [pod(waiting=PULL)]}, ["registry.example.com/runtime:1", "imagePullSecrets"]),
    (
        reasons.SECRET_NOT_FOUND,
        {"pods": [pod(waiting=CREATING)], "spec": TOKEN, "events": {"emotions-1": (NO_SECRET,)}},
        ["spec.model.tokenSecretRef", "Secret hub", "namespace default"],
    ),
    (
        reasons.SECRET_NOT_FOUND,
        {"pods": [pod(waiting=CREATING)], "spec": TOKEN, "events": {"emotions-1": (NO_KEY,)}},
        ["spec.model.tokenSecretRef", "Secret hub", "non-existent secret key: token"],
    ),
    (
        reasons.MOUNT_FAILED,
        {"pods": [pod(waiting=CREATING)], "events": {"emotions-1": ("Unable to attach or mount volumes",)}},
        ["Unable to attach"],
    ),
    (
        reasons.CONTAINER_START,
        {"pods": [pod(waiting=CREATING)], "events": {"emotions-1": (SANDBOX,)}},
        ["failed to setup network"],
    ),
    (
        reasons.CONTAINER_CONFIG,
        {"pods": [pod(waiting=NO_CONFIG)]},
        ['configmap "settings" not found', "podTemplate.env"],
    ),
    (reasons.CONTAINER_START, {"pods": [pod(waiting=NO_START)]}, ["exec: no such file"]),
    (reasons.OUT_OF_MEMORY, {"pods": [pod(last=OOM, restarts=1)]}, ["1Gi", "restarts: 1", "limits.memory"]),
    (
        reasons.CRASH_LOOP,
        {"pods": [pod(waiting=BACKOFF, last=EXIT, restarts=3)]},
        ["port 8080 is taken", "exit code 1"],
    ),
    (reasons.CRASH_LOOP, {"pods": [pod(last=EXIT, restarts=2, ready_since=T0)]}, ["port 8080 is taken"]),
    (reasons.ROLLOUT_STUCK, {"pods": [pod()], "deployment": STUCK}, ["1800 s", "has timed out"]),
    *(
        (
            reason,
            {"pods": [pod()], "reports": {"emotions-1": report("Failed", reason=name, message="its own words")}},
            ["its own words"],
        )
        for name, reason in reasons.BY_RUNTIME_REASON.items()
    ),
]


@pytest.mark.parametrize(("reason", "case", "words"), ROWS, ids=[f"{row[0].name}-{n}" for n, row in enumerate(ROWS)])
def test_a_cause_is_told_by_its_name_and_in_words(reason: Reason, case: dict[str, Any], words: list[str]) -> None:
    case = dict(case)
    fault = told(*case.pop("pods", []), **case)
    assert fault is not None
    assert fault.reason is reason
    for word in words:
        assert word in fault.message


def test_every_row_of_the_table_has_a_case_here_or_in_the_tests_of_apply() -> None:
    of_apply = {reasons.INVALID_SPEC, reasons.NAME_CONFLICT, reasons.APPLY_FORBIDDEN}
    assert {row[0] for row in ROWS} | of_apply == set(reasons.FAULTS)


def test_a_reason_of_a_newer_runtime_is_shown_all_the_same() -> None:
    fault = told(pod(), reports={"emotions-1": report("Failed", reason="Invented", message="words")})
    assert fault is not None
    assert (fault.reason, fault.message) == (reasons.BAD_CONFIGURATION, "words")


def test_the_second_kill_for_memory_is_no_accident() -> None:
    first, second = told(pod(last=OOM, restarts=1)), told(pod(last=OOM, restarts=2))
    assert first is not None and second is not None
    assert (first.stalled, second.stalled) == (False, True)


@pytest.mark.parametrize(
    "healthy",
    [
        pod(),
        pod(waiting=CREATING),
        pod(waiting={"reason": "PodInitializing"}),
        pod(last=EXIT, restarts=1),
        pod(ready=True, last=EXIT, restarts=9),
        # It was ready until after its last end: restarted long ago, and not ready for a moment now.
        pod(last=EXIT, restarts=9, ready_since=T2),
        pod(metadata={"deletionTimestamp": T2}, waiting=PULL),
        pod(template="of an earlier spec", waiting=PULL),
        pod(started=False),
    ],
)
def test_what_is_on_its_way_or_past_is_no_fault(healthy: Object) -> None:
    assert told(healthy) is None


def test_a_paused_endpoint_has_no_faults() -> None:
    assert told(pod(waiting=PULL), spec={"paused": True}) is None
    assert told(deployment=failed(EXCEEDED), spec={"replicas": 0}) is None


LIFE: list[tuple[Reason, dict[str, Any]]] = [
    (reasons.QUOTA_EXCEEDED, {"deployment": failed(EXCEEDED)}),
    (reasons.UNSCHEDULABLE, {"pods": [unscheduled(NO_CPU)]}),
    (reasons.IMAGE_PULL, {"pods": [pod("b", waiting=PULL)]}),
    (reasons.MOUNT_FAILED, {"pods": [pod("c", waiting=CREATING)], "events": {"c": ("no volume",)}}),
    (reasons.CONTAINER_CONFIG, {"pods": [pod("d", waiting=NO_CONFIG)]}),
    (reasons.OUT_OF_MEMORY, {"pods": [pod("e", last=OOM, restarts=1)]}),
    (reasons.CRASH_LOOP, {"pods": [pod("f", waiting=BACKOFF, last=EXIT)]}),
    (reasons.NO_SPACE, {"pods": [pod("g")], "reports": {"g": report("Failed", reason="NoSpace", message="x")}}),
    (reasons.ROLLOUT_STUCK, {"deployment": STUCK}),
]


@pytest.mark.parametrize("first", range(len(LIFE)))
def test_a_later_symptom_never_hides_an_earlier_cause(first: int) -> None:
    merged: dict[str, Any] = {"pods": [], "deployment": [], "events": {}, "reports": {}}
    for _, case in reversed(LIFE[first:]):
        merged["pods"] = merged["pods"] + case.get("pods", [])
        merged["deployment"] = merged["deployment"] + case.get("deployment", [])
        merged["events"] |= case.get("events", {})
        merged["reports"] |= case.get("reports", {})
    fault = told(*merged.pop("pods"), **merged)
    assert fault is not None
    assert fault.reason is LIFE[first][0]


def test_somebody_elses_words_are_cut_and_put_on_one_line() -> None:
    fault = told(pod(waiting={"reason": "ErrImagePull", "message": "a\n\tb" + "x" * 9999}))
    assert fault is not None
    assert "a b" in fault.message
    assert len(fault.message) < 700


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ('{"code": 64, "message": "said by the runtime"}', "said by the runtime"),
        ("line 0\nline 1\nTraceback\n\nValueError: last line\n", "line 1 | Traceback | ValueError: last line"),
        ("[1, 2]", "Error"),
        ("", "Error"),
    ],
)
def test_a_termination_message_is_json_or_the_end_of_a_log(message: str, words: str) -> None:
    fault = told(pod(waiting=BACKOFF, last={**EXIT, "message": message}))
    assert fault is not None
    assert f"exit code 1): {words}." in fault.message


def test_every_message_has_all_its_words() -> None:
    for reason in reasons.FAULTS:
        assert reason.cause
        assert reason.clears
        assert reason.condition in (None, "SpecValid", "ModelAvailable", "Scheduled")
