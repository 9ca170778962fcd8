"""What a machine lacks is said at once, all of it, each with what to do."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from localcluster.preflight import GIB, Machine, image_programs, problems

GOOD = Machine(
    system="Linux",
    root=True,
    debian=True,
    go=(1, 26, 8),
    missing_packages=(),
    free_disk=100 * GIB,
    wanted_disk=30 * GIB,
    taken_ports=(),
    clashing_routes=(),
)


def test_a_good_machine_has_no_problems() -> None:
    assert problems(GOOD) == []


def test_everything_is_said_together() -> None:
    bad = replace(
        GOOD,
        root=False,
        go=None,
        missing_packages=("containerd", "runc"),
        free_disk=3 * GIB,
        taken_ports=("127.0.0.1:5001, wanted by docker-registry",),
        clashing_routes=("10.96.0.0/16 via 192.0.2.1 dev eth0",),
    )
    said = problems(bad)
    assert len(said) == 6
    for word in (
        "Not root",
        "Go is missing",
        "containerd runc",
        "3 GiB free",
        "127.0.0.1:5001",
        "10.96.0.0/16 via 192.0.2.1",
    ):
        assert sum(word in sentence for sentence in said) == 1, word


def test_packages_are_no_problem_where_apt_can_install_them() -> None:
    assert problems(replace(GOOD, missing_packages=("runc",))) == []
    assert problems(replace(GOOD, missing_packages=("runc",), debian=False)) == [
        "Missing programs; install these packages: runc."
    ]


def test_an_old_go_is_named_with_what_is_wanted() -> None:
    assert problems(replace(GOOD, go=(1, 19, 8))) == ["Go 1.19.8 is too old: install Go 1.26 or later."]


def test_go_is_not_asked_for_where_nothing_is_compiled() -> None:
    assert problems(replace(GOOD, go=None), go=False) == []


def test_another_system_gets_one_answer() -> None:
    (sentence,) = problems(replace(GOOD, system="Darwin", root=False, go=None))
    assert sentence.startswith("This is Darwin; the local cluster needs Linux.")
    assert "SLIPWAY_KUBECONFIG" in sentence


@pytest.mark.parametrize(("code", "wanted"), [(1, {"debootstrap", "buildah"}), (0, {"debootstrap"})])
def test_a_docker_client_without_its_daemon_builds_nothing(
    code: int, wanted: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker = tmp_path / "docker"
    docker.write_text(f"#!/bin/sh\nexit {code}\n")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([str(tmp_path), "/bin"]))
    assert set(image_programs()) == wanted
