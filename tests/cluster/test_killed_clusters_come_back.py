"""Every process of the cluster ended by SIGKILL: `cluster-up` works again, and `cluster-down` leaves nothing behind."""

import os
import signal
from pathlib import Path

import pytest
from localcluster import containerd, paths, processes, registry
from localimages import oci

from tests.support.waiting import eventually

from .cluster import Cluster, phase, pod
from .images_to_pull import CHECK, many_files, slow_registry
from .machine import Machine, look

_SNAPSHOTS = paths.CONTAINERD_ROOT / "root" / "io.containerd.snapshotter.v1.overlayfs" / "snapshots"


@pytest.mark.parametrize("kill", ["everything", pytest.param("daemons", marks=pytest.mark.full)])
def test_idle_with_pods(bare: Machine, local: Cluster, kill: str) -> None:
    """Killed with everything in it, and without the pods' own processes, which then live on unwatched."""
    local.up()
    local.apply(pod("bystander"))
    eventually(lambda: phase(local.get("pod", "bystander")) == "Running", timeout=60)
    local.kill_everything() if kill == "everything" else local.kill_daemons()

    assert local.status().returncode == 1
    local.up()
    assert local.get("pod", "bystander") == {}, "a killed cluster starts empty"
    local.works()
    local.down()
    assert bare.differences(look()) == []


def test_while_a_layer_is_downloaded(bare: Machine, local: Cluster) -> None:
    local.up()
    with slow_registry() as (image, half, release):
        local.apply(pod("puller", command="echo pulled", image=image))
        assert half.wait(60), "nobody asked for the layer"
        local.kill_everything()
        local.up()
        release.set()
        local.apply(pod("puller", command="echo pulled", image=image))
        eventually(lambda: phase(local.get("pod", "puller")) == "Succeeded", timeout=90)
    local.works()
    local.down()
    assert bare.differences(look()) == []


@pytest.mark.full
def test_while_an_image_is_unpacked(bare: Machine, local: Cluster) -> None:
    local.up()
    image = many_files()
    _forget(image)
    before = set(_SNAPSHOTS.iterdir())
    local.apply(pod("puller", command=CHECK, image=image))
    eventually(lambda: _unpacked_folders(before) >= 3, timeout=60, interval=0.005)
    local.kill_everything()
    assert _unpacked_folders(before) < 40, "the kill came too late to be in the middle of the unpacking"

    local.up()
    local.apply(pod("puller", command=CHECK, image=image))
    eventually(lambda: phase(local.get("pod", "puller")) in {"Succeeded", "Failed"}, timeout=90)
    assert phase(local.get("pod", "puller")) == "Succeeded", local.kubectl("logs", "puller")[-500:]
    local.works()
    # 80 MB that nobody needs any more: the next start finds them gone from the registry, and forgets them everywhere.
    oci.Registry(paths.REGISTRY).delete(image)
    registry.GARBAGE.touch()
    local.down()
    assert bare.differences(look()) == []


def test_while_it_starts(bare: Machine, local: Cluster) -> None:
    starting = local.start()
    eventually(lambda: processes.alive("kube-apiserver"), timeout=60, interval=0.02)
    os.killpg(starting.pid, signal.SIGKILL)
    local.kill_everything()
    starting.communicate()

    local.up()
    local.works()
    local.down()
    assert bare.differences(look()) == []


def test_down_after_everything_was_killed(bare: Machine, local: Cluster) -> None:
    local.up()
    local.apply(pod("bystander"))
    eventually(lambda: phase(local.get("pod", "bystander")) == "Running", timeout=60)
    local.kill_daemons()
    local.down()
    assert bare.differences(look()) == []


@pytest.mark.full
@pytest.mark.parametrize("name", ["kube-apiserver", "etcd", "containerd", "kubelet", "mountspace", "registry"])
def test_one_part_that_died_is_started_again_and_pods_live_on(running: Cluster, name: str) -> None:
    running.apply(pod("survivor"))
    eventually(lambda: phase(running.get("pod", "survivor")) == "Running", timeout=60)
    uid = running.get("pod", "survivor")["metadata"]["uid"]
    record = processes.recorded(name)
    assert record
    os.kill(record.pid, signal.SIGKILL)
    eventually(lambda: not processes.alive(name))

    running.up()
    assert running.status().returncode == 0, running.status().stdout
    survivor = running.get("pod", "survivor")
    assert (survivor["metadata"]["uid"], phase(survivor)) == (uid, "Running")
    node = running.get("node", paths.NODE)
    assert node["status"]["allocatable"]["nvidia.com/gpu"] == "2"
    running.works()
    running.kubectl("delete", "pod", "survivor", "--now")


def _unpacked_folders(before: set[Path]) -> int:
    """How many of the image's folders the snapshot that is being made has so far."""
    return sum(len(list((new / "fs" / "many").glob("*"))) for new in set(_SNAPSHOTS.iterdir()) - before)


def _forget(image: str) -> None:
    """Has containerd unpack the image anew when it is next pulled."""
    rows = [line.split() for line in containerd.ctr("images", "list").splitlines()]
    digests = {row[2] for row in rows if row[0] == image}
    # The same image under its digest, and under the name that the kubelet uses.
    if names := [row[0] for row in rows if row[2] in digests]:
        containerd.ctr("images", "rm", "--sync", *names)
