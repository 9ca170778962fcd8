"""The writer of log lines: order, bounds, what is said of what was lost."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator

import pytest
from slipway_runtime.serve.observe.lines import Lines


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


def test_lines_of_many_threads_are_whole_and_each_threads_in_order(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    lines = Lines(writer)

    def write(name: str) -> None:
        for i in range(200):
            lines.add(f"{name} {i}\n".encode())

    threads = [threading.Thread(target=write, args=(f"t{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lines.flush(10)
    found = [line.split() for line in os.read(reader, 65536).decode().splitlines()]
    assert len(found) == 800
    for n in range(4):
        assert [int(number) for name, number in found if name == f"t{n}"] == list(range(200))


def test_what_finds_no_room_is_counted_and_told_when_somebody_reads_again(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    lines = Lines(writer, max_bytes=200_000)
    line = b"x" * 99 + b"\n"
    for _ in range(5000):
        lines.add(line)
    assert lines.dropped == 3000
    assert not lines.flush(0.05), "a pipe takes 65536 bytes, nobody reads the others"
    read = bytearray()
    while b"dropped" not in read:
        read += os.read(reader, 65536)
        lines.flush(0.05)
    found = bytes(read).splitlines(keepends=True)
    told = [json.loads(one) for one in found if one != line]
    assert found.count(line) == 2000
    assert sum(one["count"] for one in told) == 3000
    lines.add(line)
    assert lines.flush(10), "there is room again"


def test_lines_that_wait_are_not_written_twice_by_a_forked_process(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    lines = Lines(writer)
    lines.add(b"parent\n")
    child = os.fork()
    if child == 0:
        lines.add(b"child\n")
        os._exit(0 if lines.flush(10) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert lines.flush(10)
    assert sorted(os.read(reader, 65536).splitlines()) == [b"child", b"parent"]


def test_a_reader_who_has_gone_is_no_error() -> None:
    reader, writer = os.pipe()
    lines = Lines(writer)
    os.close(reader)
    lines.add(b"a\n")
    assert lines.flush(10)
    assert lines.dropped == 1
    os.close(writer)
