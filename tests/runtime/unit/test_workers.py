"""Several workers: what of it needs no server."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from slipway_runtime import cpu, memory
from slipway_runtime.errors import ModelFault
from slipway_runtime.serve.edge.accepting import Turns
from slipway_runtime.serve.observe.lines import Lines
from slipway_runtime.serve.workers import answers
from slipway_runtime.settings import Settings
from slipway_runtime.tasks import sharing
from slipway_runtime.tasks.adapter import Loaded

# Bounds


def test_the_workers_parts_are_no_more_together_than_what_was_set() -> None:
    settings = Settings(workers=3, max_requests=10, max_connections=2, max_queue_tokens=100, max_prefix_tokens=0)
    part = settings.of_worker
    assert (part.max_requests, part.max_connections, part.max_queue_tokens) == (3, 1, 33)
    assert part.max_prefix_tokens == 0, "none stays none"
    assert Settings(max_requests=7).of_worker == Settings(max_requests=7), "one worker has all"


@pytest.mark.parametrize(("cpus", "workers", "each"), [(8, 1, 8), (8, 2, 4), (8, 3, 2), (2, 4, 1)])
def test_the_processors_are_divided(cpus: int, workers: int, each: int, tmp_path: Any) -> None:
    assert cpu.threads(0, workers, root=tmp_path, available=cpus) == each
    assert cpu.threads(5, workers, root=tmp_path, available=cpus) == 5, "what was asked for is each worker's"


def test_the_memory_that_is_left_is_divided(tmp_path: Any) -> None:
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("400\n")
    assert memory.left(tmp_path, tmp_path / "absent") == 600
    memory.divide(3)
    try:
        assert memory.left(tmp_path, tmp_path / "absent") == 200
        assert memory.left(tmp_path / "absent", tmp_path / "absent") is None
    finally:
        memory.divide(1)


# Connections


def test_whoever_has_more_connections_gives_way_but_not_to_one_that_has_left() -> None:
    turns = Turns(2)
    assert not turns.more_than_another(0, 0)
    assert turns.more_than_another(0, 1)
    assert not turns.more_than_another(1, 1)
    assert turns.more_than_another(1, 2)
    turns.leave(0)
    assert not turns.more_than_another(1, 3)


# The admin port


def one(stage: str, **changes: Any) -> dict[str, Any]:
    whole = {"kind": "serve", "stage": stage, "percent": None, "message": stage, "lastRequestAge": None}
    return whole | {"inFlight": 0, "queued": 0, "apiTokens": None} | changes


def test_a_pod_is_as_far_as_the_worker_that_is_least_far() -> None:
    for stages, expected in [
        (("Ready", "Ready"), "Ready"),
        (("Ready", "Loading"), "Loading"),
        (("Downloading", "Loading"), "Downloading"),
        (("Starting", "Failed"), "Failed"),
        (("Draining", "Ready"), "Draining"),
    ]:
        assert answers.status([one(stage) for stage in stages], stopping=False)["stage"] == expected


def test_of_two_that_download_the_one_is_shown_that_knows_how_far_it_is() -> None:
    told = [one("Downloading"), one("Downloading", percent=40)]
    assert answers.status(told, stopping=False)["percent"] == 40


def test_status_has_the_sums_the_youngest_request_and_each_workers_stage() -> None:
    told = [one("Ready", inFlight=2, queued=1, lastRequestAge=9.0), one("Ready", inFlight=3, lastRequestAge=0.5)]
    status = answers.status(told, stopping=False)
    assert (status["inFlight"], status["queued"], status["lastRequestAge"]) == (5, 1, 0.5)
    assert status["workers"][0] == {"stage": "Ready", "inFlight": 2, "queued": 1}


def test_a_worker_that_says_nothing_hangs_or_has_ended() -> None:
    hangs = answers.status([one("Ready"), None], stopping=False)
    assert (hangs["stage"], hangs["message"], hangs["error"]) == ("Starting", "worker 1 does not answer", None)
    ended = answers.status([None, None], stopping=True)
    assert (ended["stage"], ended["message"]) == ("Draining", "worker 0 has ended")


def test_a_probe_tells_of_the_first_worker_that_is_not_well() -> None:
    assert answers.probe([(200, "ok"), (200, "ok")]) == (200, "ok")
    assert answers.probe([(200, "ok"), (503, "a forward has been running for 9 s")]) == (
        503,
        "worker 1: a forward has been running for 9 s",
    )
    assert answers.probe([None, (200, "ok")]) == (503, "worker 0 does not answer")


def test_labels_that_only_one_worker_has_and_those_of_its_process_stay_apart() -> None:
    texts = [
        '# TYPE a counter\na_total{code="200"} 1.0\n# TYPE slipway_ready gauge\nslipway_ready 1.0\n',
        '# TYPE a counter\na_total{code="200"} 2.0\na_total{code="422"} 5.0\n# TYPE slipway_ready gauge\n'
        "slipway_ready 0.0\n# TYPE process_open_fds gauge\nprocess_open_fds 9.0\n",
    ]
    found = {
        (s.name, *s.labels.values()): s.value for family in answers.Summed(texts).collect() for s in family.samples
    }
    assert found == {
        ("a_total", "200"): 3.0,
        ("a_total", "422"): 5.0,
        ("slipway_ready",): 0.0,
        ("process_open_fds", "1"): 9.0,
    }


# The log


def test_lines_of_several_processes_on_one_pipe_stay_whole() -> None:
    reader, writer = os.pipe()
    children = []
    for name in "ab":
        if (child := os.fork()) == 0:
            lines = Lines(writer)
            lines.several = True
            for _ in range(3000):
                lines.add(name.encode() * 99 + b"\n")
            os._exit(0 if lines.flush(60) else 1)
        children.append(child)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        found = pipe.read().splitlines()
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    assert sorted(found) == [b"a" * 99] * 3000 + [b"b" * 99] * 3000


# The weights


BYTES = 4 * (64 * 8 + 32 * 8 + 8 * 16 + 8) + 2 * 9 * 8 + 8


class Tied(torch.nn.Module):
    """Weights of every sort: tied, a part of a whole, transposed, a buffer, another type."""

    mean: torch.Tensor
    count: torch.Tensor

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first = torch.nn.Parameter(torch.randn(64, 8))
        self.tied = self.first
        whole = torch.randn(32, 8)
        self.upper, self.lower = torch.nn.Parameter(whole[:16]), torch.nn.Parameter(whole[16:])
        self.turned = torch.nn.Parameter(torch.randn(8, 16).t())
        self.bfloat = torch.nn.Parameter(torch.randn(9, 8).bfloat16())
        self.register_buffer("mean", torch.randn(8))
        self.register_buffer("count", torch.tensor(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        whole = torch.cat([self.first, self.tied, self.upper, self.lower, self.turned, self.bfloat.float()])
        return (x - self.mean) @ whole.t() * self.count


@pytest.fixture
def file() -> Iterator[int]:
    fd = os.memfd_create("weights")
    yield fd
    os.close(fd)


def test_shared_weights_answer_as_they_did_and_lie_in_one_file(file: int) -> None:
    x = torch.randn(2, 8)
    models = [Tied(), Tied()]
    expected = models[0](x)
    found = []
    for model in models:
        with sharing.turn(file):
            found.append(sharing.share(model, file))
        assert torch.equal(model(x), expected)
        assert model.tied is model.first
    assert found == [sharing.Shared(0, BYTES, 0)] * 2
    for parameter in [*models[1].parameters(), *models[1].buffers()]:
        assert parameter.untyped_storage().data_ptr() == models[1].first.untyped_storage().data_ptr()


def test_who_writes_to_shared_weights_changes_only_its_own(file: int) -> None:
    writes, reads = Tied(), Tied()
    before = copy.deepcopy(reads.first.detach())
    for model in (writes, reads):
        sharing.share(model, file)
    with torch.no_grad():
        writes.first.zero_()
    assert torch.equal(reads.first, before)


def test_weights_that_differ_from_those_in_the_file_stay_where_they_are(file: int) -> None:
    sharing.share(Tied(), file)
    other = Tied(seed=1)
    before = copy.deepcopy(other.first.detach())
    found = sharing.share(other, file)
    assert torch.equal(other.first, before)
    assert found == sharing.Shared(0, 8, BYTES - 8), "the count is the same"


def test_weights_of_another_size_stay_where_they_are(file: int) -> None:
    sharing.share(Tied(), file)
    other = torch.nn.Linear(3, 3)
    assert sharing.share(other, file) == sharing.Shared(0, 0, 4 * 12)


def test_several_workers_are_refused_where_there_is_a_gpu() -> None:
    sharing.check_device(2, lambda: 0)
    with pytest.raises(
        ModelFault, match=r"SLIPWAY_WORKERS=2: .* this pod has a GPU \(1 found\).* Leave the variable out"
    ):
        sharing.check_device(2, lambda: 1)


def test_several_workers_are_refused_where_there_are_no_weights_to_share() -> None:
    loaded = Loaded(task="text-to-image", adapters={}, max_input_tokens=0, device="cpu", parameters=0)
    with pytest.raises(ModelFault, match="text-to-image is served by one process"):
        sharing.check_model(2, loaded)
