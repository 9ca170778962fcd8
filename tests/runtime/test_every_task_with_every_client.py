"""The table tasks × clients: every cell is called, or holds the reason why the client has no such call.

What a client makes of an answer is compared with what curl got for the same request.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from slipway_runtime.tasks.table import TASKS

from tests.runtime.clients import hub_calls, openai_calls
from tests.runtime.clients.rows import ROWS, Row
from tests.runtime.conftest import Serve
from tests.support.runtime_server import RuntimeServer
from tests.support.tiny import MAKERS

REPOSITORY = Path(__file__).parents[2]
OLDER = REPOSITORY / ".venv/clients/bin/python"
HUB, OLD_HUB = ("hub", "hub-async"), ("hub-0.36", "hub-0.36-async")
TGI, OPENAI = ("text_generation", "text_generation-async"), ("openai", "openai-async")


class Older:
    """The older clients, in one process of their environment."""

    def __init__(self) -> None:
        words = [str(OLDER), "-m", "tests.runtime.clients.hub_calls"]
        self._process = subprocess.Popen(
            words, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def __call__(self, url: str, task: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{url} {task}\n")
        results: dict[str, Any] = json.loads(self._process.stdout.readline())
        return results

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture(scope="module")
def older() -> Iterator[Older]:
    clients = Older()
    yield clients
    clients.close()


class Asked:
    """One task's server, what curl got, and what the clients of the older environment got."""

    def __init__(self, task: str, server: RuntimeServer, folder: Path, older: Older) -> None:
        self.task, self.server, self.row = task, server, ROWS[task]
        self.curl = curl(server.url, self.row, folder)
        self.older = older(server.url, task)


@pytest.fixture(scope="module")
def asked(
    request: pytest.FixtureRequest, serve: Serve, older: Older, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Asked]:
    task = request.param
    folder = tmp_path_factory.mktemp(task)
    with serve(MAKERS[task](folder / "model"), SLIPWAY_ENDPOINT="tiny", SLIPWAY_TASK=task) as server:
        yield Asked(task, server, folder, older)


def curl(url: str, row: Row, folder: Path) -> Any:
    """The answer as curl prints it: JSON decoded, or the bytes of sound and images."""
    body = folder / "body"
    body.write_bytes(row.body if isinstance(row.body, bytes) else json.dumps(row.body).encode())
    kind = ["-H", "Content-Type: application/json"] if isinstance(row.body, dict) else ["-H", "Content-Type:"]
    words = ["curl", "-sS", "--fail-with-body", url + "/", "--data-binary", f"@{body}", *kind]
    done = subprocess.run(words, capture_output=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    try:
        return json.loads(done.stdout)
    except ValueError:
        return done.stdout


def test_every_task_has_a_row_and_a_model() -> None:
    assert set(ROWS) == set(TASKS) == set(MAKERS)


@pytest.mark.parametrize("asked", ROWS, indirect=True)
def test_curl(asked: Asked) -> None:
    assert asked.curl not in (None, [], {}, b"")


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # of how the async client calls httpx
@pytest.mark.parametrize("client", HUB)
@pytest.mark.parametrize("asked", ROWS, indirect=True)
def test_huggingface_hub(asked: Asked, client: str) -> None:
    if asked.row.hub is None:
        has_no_method(huggingface_hub.InferenceClient, asked.task)
        return
    call = hub_calls.hub if client == "hub" else hub_calls.hub_async
    agrees(asked, call(asked.server.url, asked.task))


@pytest.mark.parametrize("client", OLD_HUB)
@pytest.mark.parametrize("asked", ROWS, indirect=True)
def test_huggingface_hub_before_1_0(asked: Asked, client: str) -> None:
    if asked.row.hub is None:
        has_no_method(huggingface_hub.InferenceClient, asked.task)  # the newer one has every method of the older
        return
    agrees(asked, asked.older[client])


@pytest.mark.parametrize("client", TGI)
@pytest.mark.parametrize("asked", ROWS, indirect=True)
def test_text_generation(asked: Asked, client: str) -> None:
    if not asked.row.text_generation:
        assert asked.task != "text-generation", "its client speaks text generation, and that only"
        return
    body = {"inputs": "the film was", "parameters": {"max_new_tokens": 8, "return_full_text": False}}
    assert asked.older[client] == asked.server.post(body).json()[0]["generated_text"]


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # of the client's own translations
@pytest.mark.parametrize("client", OPENAI)
@pytest.mark.parametrize("asked", ROWS, indirect=True)
def test_openai(asked: Asked, client: str) -> None:
    if not asked.row.openai:
        refused_with_the_tasks_that_it_does(asked)
        return
    call = openai_calls.call if client == "openai" else openai_calls.call_async
    results = {name: call(asked.server.url, "tiny", name) for name in asked.row.openai}
    for name, result in results.items():
        pair = results.get(f"{name}_stream")
        assert pair is None or pair == result, "a stream gives the same text"
    if "completion" in results:
        assert results["completion"] == asked.curl[0]["generated_text"]
    if "embeddings" in results:
        assert results["embeddings"] == pytest.approx(results["embeddings_float"], abs=1e-6)
    if "transcription" in results:
        assert results["transcription"] == asked.curl["text"].strip()  # as OpenAI has it


def agrees(asked: Asked, result: Any) -> None:
    """`result` of a client holds what curl's answer holds."""
    assert not (isinstance(result, dict) and set(result) == {"error"}), result
    if asked.row.loose:
        assert result
        return
    expected = asked.row.pick(asked.curl)
    if isinstance(expected, dict | list):
        same(_without_nothing(hub_calls.plain(result)), _without_nothing(expected))
    else:
        assert result == expected


def same(result: Any, expected: Any) -> None:
    """Equal, numbers to 1e-5: a batch of other sizes moves the last digits."""
    if isinstance(expected, dict):
        for name in result:  # a client drops fields that it does not know
            same(result[name], expected[name])
    elif isinstance(expected, list):
        assert len(result) == len(expected)
        for one, other in zip(result, expected, strict=True):
            same(one, other)
    elif isinstance(expected, float):
        assert result == pytest.approx(expected, abs=1e-5)
    else:
        assert result == expected


def _without_nothing(value: Any) -> Any:
    """Clients fill in None for what an answer does not have."""
    if isinstance(value, dict):
        return {name: _without_nothing(entry) for name, entry in value.items() if entry is not None}
    if isinstance(value, list):
        return [_without_nothing(entry) for entry in value]
    return value


def has_no_method(client: type, task: str) -> None:
    assert not hasattr(client, hub_calls.method_of(task)), f"{client.__name__} can ask for {task}: give it a row"


def refused_with_the_tasks_that_it_does(asked: Asked) -> None:
    """OpenAI's API has no call for this task: its routes say what the model is for, in OpenAI's shape."""
    answer = asked.server.post(
        {"model": "tiny", "messages": [{"role": "user", "content": "a"}]}, "/v1/chat/completions"
    )
    assert answer.status_code == 404, answer.text
    assert asked.task in answer.json()["error"]["message"]
