"""Faults of pods, each caused for real on the kubelet and the scheduler: told with the cause, cleared by themselves."""

from __future__ import annotations

from tests.e2e.world import LOADING, TOLD, World
from tests.support.waiting import eventually

GPU = "nvidia.com/gpu"


def test_waiting_for_a_gpu_quotes_the_scheduler_and_ends_when_one_is_freed(world: World) -> None:
    """The local node has two simulated GPUs; on another cluster, one more than there are is asked for."""
    nodes = world.kube.all("nodes", "default")
    total = sum(int(node["status"]["allocatable"].get(GPU, 0)) for node in nodes)
    if total:
        world.create("first", resources={"limits": {GPU: total}})
        world.ready("first")
    world.create("second", resources={"limits": {GPU: total or 1}})
    told = world.fault("second", "WaitingForGPU", stalled=False)
    assert f"Insufficient {GPU}" in told["message"]
    assert world.endpoint("second")["status"]["phase"] == "Pending"
    assert world.condition("second", "Scheduled")["status"] == "False"
    if total:
        world.delete("first")
        world.ready("second")
        assert not world.condition("second", "Scheduled")


def test_a_pod_that_fits_nowhere_says_so(world: World) -> None:
    world.create("huge", resources={"requests": {"memory": "4Ti"}})
    told = world.fault("huge", "Unschedulable")
    assert "Insufficient memory" in told["message"]
    world.edit("huge", {"resources": {"requests": {"memory": "300Mi"}}})
    world.ready("huge")


def test_out_of_memory_names_the_limit_and_clears_when_it_is_raised(world: World) -> None:
    world.create("hungry", resources={"limits": {"memory": "150Mi"}})
    told = world.fault("hungry", "OOMKilled", seconds=LOADING)
    assert "150Mi" in told["message"]
    assert "spec.resources.limits.memory" in told["message"]
    world.edit("hungry", {"resources": {"limits": {"memory": "3Gi"}}})
    world.ready("hungry")
    assert not world.condition("hungry", "Stalled")


def test_a_crash_loop_quotes_the_last_words(world: World) -> None:
    world.create("crash", podTemplate={"env": [{"name": "PYTHONHOME", "value": "/nowhere"}]})
    told = world.fault("crash", "CrashLoopBackOff", seconds=LOADING, stalled=True)
    assert "encodings" in told["message"]
    world.edit("crash", {"podTemplate": None})
    world.ready("crash")


def test_an_env_that_refers_to_nothing_is_a_container_config_error(world: World) -> None:
    missing = {"name": "TOKEN", "valueFrom": {"configMapKeyRef": {"name": "nothing", "key": "x"}}}
    world.create("config", podTemplate={"env": [missing]})
    told = world.fault("config", "ContainerConfigError", seconds=TOLD, stalled=True)
    assert "nothing" in told["message"]
    configmap = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "nothing", "namespace": world.namespace}}
    world.kube.apply({**configmap, "data": {"x": "1"}})
    world.ready("config")
    world.kube.kubectl("delete", "configmap", "nothing", "-n", world.namespace)


def test_a_quota_that_admits_no_pod_is_told_and_clears_when_it_is_raised(world: World) -> None:
    def quota(pods: int) -> None:
        metadata = {"name": "few", "namespace": world.namespace}
        world.kube.apply(
            {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": {"hard": {"pods": str(pods)}}}
        )

    quota(1)  # the mirror's own pod
    try:
        eventually(lambda: world.kube.get("resourcequota", "few", world.namespace).get("status", {}).get("hard"), 30)
        world.create("crowded")
        told = world.fault("crowded", "QuotaExceeded", stalled=True)
        assert "exceeded quota: few" in told["message"]
        quota(5)
        # The ReplicaSet controller tries again with a backoff of its own.
        world.ready("crowded", 300)
    finally:
        world.kube.kubectl("delete", "resourcequota", "few", "-n", world.namespace)
