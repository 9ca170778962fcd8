"""Mounts below our folders are found by path, children first, and neighbours with a similar name are spared."""

from pathlib import Path

from localcluster import mounts

_INFO = """\
22 1 0:20 / / rw - ext4 /dev/vda rw
30 22 0:30 / /cache/slipway/cluster rw - tmpfs tmpfs rw
31 30 0:31 / /cache/slipway/cluster/pods/a\\040b/token rw - tmpfs tmpfs rw
32 22 0:32 / /cache/slipway/cluster-of-somebody rw - tmpfs tmpfs rw
33 22 0:33 / /run/slipway-cluster/containerd rw - tmpfs tmpfs rw
"""


def test_children_come_before_their_parents_and_neighbours_are_spared() -> None:
    assert mounts.below([Path("/cache/slipway/cluster"), Path("/run/slipway-cluster")], _INFO) == [
        "/run/slipway-cluster/containerd",
        "/cache/slipway/cluster/pods/a b/token",
        "/cache/slipway/cluster",
    ]


def test_nothing_mounted_gives_nothing() -> None:
    assert mounts.below([Path("/nowhere")], _INFO) == []
