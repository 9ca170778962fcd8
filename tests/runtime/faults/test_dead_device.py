"""A device that fails whatever it is given: unready at once, then not live. Inputs that fail alone do not count."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import breaking, models
from tests.support.runtime_server import RuntimeServer, serving
from tests.support.waiting import consistently, eventually

BODY = {"inputs": "the film was great"}


@pytest.fixture(scope="module")
def switches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("switches")


@pytest.fixture(scope="module")
def server(switches: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeServer]:
    folder = tmp_path_factory.mktemp("server")
    model = models.classifier(folder / "model", labels=["bad", "good"])
    prepare = functools.partial(breaking.forwards, str(switches))
    with serving(folder, True, prepare, SLIPWAY_MODEL_PATH=str(model)) as running:
        running.wait_for_stage("Ready")
        yield running


def failed_checks(server: RuntimeServer) -> int:
    return sum(line["message"] == "a self-check has failed" for line in server.lines())


def test_a_device_that_fails_every_forward_makes_the_pod_unready_at_once_then_not_live_until_it_works(
    server: RuntimeServer, switches: Path
) -> None:
    (switches / "fail").touch()
    assert server.post(BODY).status_code == 500  # nobody knew
    eventually(lambda: server.probe("readyz") == 503)
    answer = server.post(BODY)
    assert answer.status_code == 503
    assert "forwards fail, a small one of the server's own too (AcceleratorError" in answer.json()["error"]
    assert int(answer.headers["Retry-After"]) >= 1
    assert server.wait_for_fault("ForwardFailed")["code"] == 1

    eventually(lambda: server.probe("livez") == 503)
    eventually(lambda: failed_checks(server) >= 4)  # it was tried again before
    assert "CUDA error" not in server.log.read_text(), "an error's text may quote an input"

    (switches / "fail").unlink()
    eventually(lambda: server.probe("readyz") == 200)
    assert server.probe("livez") == 200
    assert server.post(BODY).status_code == 200


def test_inputs_that_fail_are_their_callers_alone(server: RuntimeServer, switches: Path) -> None:
    before = failed_checks(server)
    (switches / "poison").touch()
    poisoned = {"inputs": "film " * (breaking.POISON_TOKENS + 5)}

    def fails_alone() -> bool:
        return server.post(poisoned).status_code == 500 and server.post(BODY).status_code == 200

    consistently(lambda: fails_alone() and server.probe("readyz") == server.probe("livez") == 200, duration=2.5)
    assert failed_checks(server) == before
