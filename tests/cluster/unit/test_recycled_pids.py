"""A recorded pid may belong to another process by now."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from localcluster import paths, processes


@pytest.fixture
def somebody() -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


@pytest.fixture(autouse=True)
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(paths, "RUN", tmp_path)
    (tmp_path / "pids").mkdir()
    return tmp_path / "pids"


def _record(records: Path, pid: int, started: int) -> None:
    (records / "etcd.json").write_text(json.dumps({"pid": pid, "started": started}))


def test_a_recycled_pid_is_left_alone(records: Path, somebody: "subprocess.Popen[bytes]") -> None:
    started = processes.started_at(somebody.pid)
    assert started is not None
    _record(records, somebody.pid, started - 1)

    assert not processes.alive("etcd")
    processes.stop("etcd")
    assert somebody.poll() is None
    assert processes.names() == []


def test_the_recorded_process_itself_is_ended(records: Path, somebody: "subprocess.Popen[bytes]") -> None:
    started = processes.started_at(somebody.pid)
    assert started is not None
    _record(records, somebody.pid, started)

    assert processes.alive("etcd")
    processes.stop("etcd")
    assert somebody.wait(5) == -15


def test_a_damaged_record_counts_as_none(records: Path) -> None:
    (records / "etcd.json").write_text('{"pid": 1')
    assert processes.recorded("etcd") is None
    processes.stop("etcd")
    assert processes.names() == []


def test_a_zombie_does_not_live(records: Path) -> None:
    with subprocess.Popen(["sleep", "600"]) as process:
        started = processes.started_at(process.pid)
        assert started is not None
        _record(records, process.pid, started)
        process.kill()
        # Not waited for yet: the pid is still there, with the same start time.
        while processes.started_at(process.pid) is not None:
            pass
        assert not processes.alive("etcd")


def test_a_command_name_with_parentheses_is_read_right(tmp_path: Path) -> None:
    odd = tmp_path / "a) R 1 (b"
    odd.symlink_to("/bin/sleep")
    with subprocess.Popen([odd, "600"]) as process:
        usual = processes.started_at(process.pid)
        process.kill()
    assert usual is not None
    assert usual > 1000
