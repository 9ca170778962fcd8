"""Faults of pods, each caused for real on the kubelet and the scheduler: told with the cause, cleared by themselves.

Some are changes of the shared endpoint, whose old pod serves on: taken back, they cost no further pod.
"""

from __future__ import annotations

from tests.e2e.world import LOADING, TOLD, World
from tests.support.kube import Object
from tests.support.waiting import eventually

GPU = "nvidia.com/gpu"


def test_waiting_for_a_gpu_quotes_the_scheduler_and_ends_when_one_is_freed(world: World) -> None:
    """The local node has two simulated GPUs; on another cluster, one more than there are is asked for."""
    nodes = world.kube.all("nodes", "default")
    total = sum(int(node["status"]["allocatable"].get(GPU, 0)) for node in nodes)
    holder = world.idle_pod("holder", limits={GPU: total})
    if total:
        world.kube.apply(holder)
        world.kube.kubectl("wait", "-n", world.namespace, "--for=condition=Ready", "pod/holder", "--timeout=120s")
    try:
        world.create("waiting", resources={"limits": {GPU: total or 1}})
        told = world.fault("waiting", "WaitingForGPU", stalled=False)
        assert f"Insufficient {GPU}" in told["message"]
        assert world.endpoint("waiting")["status"]["phase"] == "Pending"
        assert world.condition("waiting", "Scheduled")["status"] == "False"
    finally:
        world.kube.kubectl("delete", "pod/holder", "-n", world.namespace, "--ignore-not-found")
    if total:
        world.ready("waiting")
        assert not world.condition("waiting", "Scheduled")


def test_a_pod_that_fits_nowhere_says_so(world: World, emotions: Object) -> None:
    world.edit("emotions", {"resources": {"requests": {"memory": "4Ti"}}})
    told = world.fault("emotions", "Unschedulable")
    assert "Insufficient memory" in told["message"]
    world.edit("emotions", {"resources": emotions["spec"]["resources"]})
    world.ready()
    assert not world.condition("emotions", "Scheduled")


def test_out_of_memory_names_the_limit_and_clears_when_it_is_taken_away(world: World, emotions: Object) -> None:
    world.edit("emotions", {"resources": {"requests": {"memory": "100Mi"}, "limits": {"memory": "150Mi"}}})
    told = world.fault("emotions", "OOMKilled", seconds=LOADING)
    assert "150Mi" in told["message"]
    assert "spec.resources.limits.memory" in told["message"]
    world.edit("emotions", {"resources": {**emotions["spec"]["resources"], "limits": None}})
    world.ready()
    assert not world.condition("emotions", "Stalled")


def test_a_crash_loop_quotes_the_last_words(world: World, emotions: Object) -> None:
    assert "podTemplate" not in emotions["spec"]
    world.edit("emotions", {"podTemplate": {"env": [{"name": "PYTHONHOME", "value": "/nowhere"}]}})
    told = world.fault("emotions", "CrashLoopBackOff", seconds=LOADING, stalled=True)
    assert "encodings" in told["message"]
    world.edit("emotions", {"podTemplate": None})
    world.ready()


def test_an_env_that_refers_to_nothing_is_a_container_config_error(world: World) -> None:
    missing = {"name": "TOKEN", "valueFrom": {"configMapKeyRef": {"name": "nothing", "key": "x"}}}
    world.create("config", podTemplate={"env": [missing]})
    told = world.fault("config", "ContainerConfigError", seconds=TOLD, stalled=True)
    assert "nothing" in told["message"]
    configmap = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "nothing", "namespace": world.namespace}}
    world.kube.apply({**configmap, "data": {"x": "1"}})
    try:
        world.ready("config")
    finally:
        world.kube.kubectl("delete", "configmap", "nothing", "-n", world.namespace)


def test_a_quota_that_admits_no_pod_is_told_and_clears_when_it_is_raised(world: World) -> None:
    def quota(pods: int) -> None:
        metadata = {"name": "few", "namespace": world.namespace}
        world.kube.apply(
            {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": {"hard": {"pods": str(pods)}}}
        )

    quota(0)  # those that are there stay
    try:
        eventually(lambda: world.kube.get("resourcequota", "few", world.namespace).get("status", {}).get("hard"), TOLD)
        world.create("crowded")
        told = world.fault("crowded", "QuotaExceeded", stalled=True)
        assert "exceeded quota: few" in told["message"]
        quota(50)
        # The ReplicaSet controller tries again with a backoff of its own.
        world.ready("crowded", 2 * LOADING)
    finally:
        world.kube.kubectl("delete", "resourcequota", "few", "-n", world.namespace)
