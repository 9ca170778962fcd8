"""Faults of the source: each has its reason, says what to do, and clears without a restart once mended."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support import models
from tests.support.hub_mirror import Mirror, running
from tests.support.runtime_server import RuntimeServer, free_ports, serving

BODY = {"inputs": "the film was great"}


@pytest.fixture
def good(hub_root: Path) -> Path:
    return hub_root / "tiny/classifier"


@contextmanager
def of(
    tmp_path: Path, repository: str = "some/model", warm: bool = True, /, **variables: str
) -> Iterator[tuple[RuntimeServer, Mirror]]:
    """A server for a repository of a mirror of its own, whose root is tmp_path/hub."""
    (tmp_path / "hub").mkdir(exist_ok=True)
    with running(tmp_path / "hub") as (url, mirror):
        env = {"SLIPWAY_MODEL_ID": repository, "HF_ENDPOINT": url} | variables
        with serving(tmp_path / "server", warm, **env) as server:
            yield server, mirror


def heals(server: RuntimeServer) -> None:
    """Ready in the same process, answering, with no error left."""
    status = server.wait_for_stage("Ready")
    assert status["error"] is None
    assert server.post(BODY).status_code == 200
    assert server.process.poll() is None


def test_a_missing_repository_is_found_once_published(tmp_path: Path, good: Path) -> None:
    with of(tmp_path) as (server, _):
        error = server.wait_for_fault("ModelNotFound")
        assert error["code"] == 67
        assert error["param"] == "model.id"
        assert "some/model" in error["message"]
        assert "spelling of model.id" in error["message"]
        answer = server.post(BODY)
        assert answer.status_code == 503
        assert answer.json()["error"].startswith("Model some/model cannot be served: ModelNotFound:")
        assert int(answer.headers["Retry-After"]) >= 1
        assert server.probe("livez") == 200
        assert server.probe("readyz") == 503
        shutil.copytree(good, tmp_path / "hub/some/model")
        heals(server)


def test_a_wrong_revision_is_named(tmp_path: Path, good: Path) -> None:
    shutil.copytree(good, tmp_path / "hub/some/model")
    with of(tmp_path, SLIPWAY_MODEL_REVISION="v9") as (server, _):
        error = server.wait_for_fault("ModelNotFound")
        assert error["param"] == "model.revision"
        assert "has no revision 'v9'" in error["message"]


def test_a_gated_repository_opens_once_the_token_file_is_mended(tmp_path: Path, good: Path) -> None:
    models.gated(Path(shutil.copytree(good, tmp_path / "hub/some/model")), "hf_right")
    token = tmp_path / "token"
    token.write_text("hf_wrong\n")
    # The retry waits 5 minutes here, so that it is the changed file that wakes it.
    slow = {"SLIPWAY_RETRY_SECONDS": "300", "SLIPWAY_RETRY_MAX_SECONDS": "300"}
    with of(tmp_path, SLIPWAY_MODEL_TOKEN_FILE=str(token), **slow) as (server, _):
        error = server.wait_for_fault("ModelGated")
        assert error["code"] == 67
        assert error["param"] == "model.tokenSecretRef"
        assert "was refused with the given token" in error["message"]
        token.write_text("hf_right\n")
        heals(server)
        log = server.log.read_text() + server.metrics() + str(server.status())
        assert "hf_right" not in log
        assert "hf_wrong" not in log


def test_a_gated_repository_without_a_token_says_what_to_set(tmp_path: Path, good: Path) -> None:
    models.gated(Path(shutil.copytree(good, tmp_path / "hub/some/model")), "hf_right")
    with of(tmp_path) as (server, mirror):
        error = server.wait_for_fault("ModelGated")
        assert "accept the model's terms on its page and set model.tokenSecretRef" in error["message"]
        assert not any(seen.authorized for seen in mirror.requests)


def test_a_missing_token_file_is_named(tmp_path: Path) -> None:
    with of(tmp_path, SLIPWAY_MODEL_TOKEN_FILE=str(tmp_path / "absent/token")) as (server, _):
        error = server.wait_for_fault("ModelGated")
        assert "absent/token cannot be read" in error["message"]


def test_an_unreachable_source_is_tried_again_until_it_is_up(tmp_path: Path, good: Path) -> None:
    shutil.copytree(good, tmp_path / "hub/some/model")
    [port] = free_ports(1)
    with serving(
        tmp_path / "server", True, SLIPWAY_MODEL_ID="some/model", HF_ENDPOINT=f"http://127.0.0.1:{port}"
    ) as server:
        error = server.wait_for_fault("SourceUnreachable")
        assert error["code"] == 67
        assert f"http://127.0.0.1:{port} cannot be reached" in error["message"]
        with running(tmp_path / "hub", port=port):
            heals(server)


def test_a_source_that_answers_503_is_unreachable_and_then_not(tmp_path: Path, good: Path) -> None:
    shutil.copytree(good, tmp_path / "hub/some/model")
    with running(tmp_path / "hub") as (url, mirror):
        mirror.faults.failures = 3
        with serving(tmp_path / "server", True, SLIPWAY_MODEL_ID="some/model", HF_ENDPOINT=url) as server:
            assert "HTTP 503" in server.wait_for_fault("SourceUnreachable")["message"]
            heals(server)


def test_a_truncated_file_is_corrupt_and_fetched_anew_once_uploaded_again(tmp_path: Path) -> None:
    folder = models.truncated(tmp_path / "hub/some/model")
    with of(tmp_path) as (server, _):
        error = server.wait_for_fault("ModelCorrupt")
        assert error["code"] == 68
        assert "model.safetensors of some/model@main is truncated or damaged" in error["message"]
        models.classifier(folder)
        heals(server)


def test_missing_shards_are_named(tmp_path: Path) -> None:
    folder = models._save(tmp_path / "hub/some/model", "BertForSequenceClassification", shard="30KB")
    [*_, last] = sorted(folder.glob("model-*.safetensors"))
    last.unlink()
    with of(tmp_path) as (server, _):
        error = server.wait_for_fault("ModelCorrupt")
        assert f"names {last.name}, which the repository does not have" in error["message"]


def test_a_sharded_model_is_served(tmp_path: Path) -> None:
    models._save(tmp_path / "hub/some/model", "BertForSequenceClassification", shard="30KB")
    with of(tmp_path) as (server, _):
        heals(server)


def test_a_task_that_the_model_cannot_do_is_refused_before_its_weights_are_fetched(tmp_path: Path, good: Path) -> None:
    shutil.copytree(good, tmp_path / "hub/some/model")
    with of(tmp_path, SLIPWAY_TASK="fill-mask") as (server, mirror):
        error = server.wait_for_fault("TaskNotSupported")
        assert error["code"] == 64
        assert error["param"] == "task"
        assert "cannot do fill-mask: it can do text-classification" in error["message"]
        assert not any(seen.path.endswith(".safetensors") for seen in mirror.requests)


def test_a_base_model_without_a_trained_head_is_refused_and_not_filled_with_random_numbers(
    tmp_path: Path, hub_root: Path
) -> None:
    import json

    folder = Path(shutil.copytree(hub_root / "tiny/encoder", tmp_path / "hub/some/model"))
    config = json.loads((folder / "config.json").read_text()) | {"architectures": ["BertForSequenceClassification"]}
    (folder / "config.json").write_text(json.dumps(config))
    with of(tmp_path) as (server, _):
        error = server.wait_for_fault("ModelCorrupt", timeout=120)
        assert (
            "lack 2 weights of BertForSequenceClassification, first classifier.bias, classifier.weight"
            in error["message"]
        )


def test_a_configuration_that_cannot_be_used_is_said_and_the_process_stays(tmp_path: Path) -> None:
    with serving(tmp_path / "server", True, SLIPWAY_MAX_INPUTS="many") as server:
        error = server.wait_for_fault("BadConfiguration")
        assert error["code"] == 64
        assert "SLIPWAY_MAX_INPUTS='many': must be a whole number of at least 1" in error["message"]
        assert "SLIPWAY_MODEL_ID: set it to a Hub repository" in error["message"]
        assert server.probe("livez") == 200
        assert server.probe("readyz") == 503


def test_a_port_in_use_ends_the_process_with_a_last_word(tmp_path: Path) -> None:
    import json
    import socket
    import subprocess
    import sys

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "slipway_runtime", "serve"],
            env={
                "SLIPWAY_HOST": "127.0.0.1",
                "SLIPWAY_HTTP_PORT": str(port),
                "SLIPWAY_ADMIN_PORT": str(free_ports(1)[0]),
                "SLIPWAY_MODEL_ID": "some/model",
                "SLIPWAY_TERMINATION_LOG": str(tmp_path / "termination"),
            },
            capture_output=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 64
    word = json.loads((tmp_path / "termination").read_text())
    assert (word["code"], word["reason"]) == (64, "BadConfiguration")
    assert f"ports {port} and" in word["message"]
    assert "cannot be opened (Address already in use)" in word["message"]


def test_a_folder_is_served_without_writing_to_it_or_calling_anybody(
    tmp_path: Path, good: Path, hub_root: Path
) -> None:
    folder = Path(shutil.copytree(good, tmp_path / "volume/model"))
    before = sorted((p, p.stat().st_mtime_ns) for p in folder.rglob("*"))
    with running(hub_root) as (url, mirror):
        with serving(tmp_path / "server", SLIPWAY_MODEL_PATH=str(folder), HF_ENDPOINT=url) as server:
            heals(server)
            assert server.status()["model"]["id"] == "model"
        assert mirror.requests == []
    assert sorted((p, p.stat().st_mtime_ns) for p in folder.rglob("*")) == before


def test_nothing_is_asked_of_the_hub_after_the_download(tmp_path: Path, good: Path) -> None:
    shutil.copytree(good, tmp_path / "hub/some/model")
    with of(tmp_path, "some/model", False) as (server, mirror):
        server.wait_for_stage("Ready")
        last = mirror.requests[-1]
        assert last.path.endswith("model.safetensors")
        count = len(mirror.requests)
        assert server.post(BODY).status_code == 200
        assert len(mirror.requests) == count
        assert {seen.path.rpartition("/")[2] for seen in mirror.requests if "/resolve/" in seen.path} == {
            "config.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "model.safetensors",
        }


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with serving(tmp_path / "server", True, SLIPWAY_MODEL_PATH="/mnt/absent") as server:
        error = server.wait_for_fault("ModelNotFound")
        assert error["param"] == "model.uri"
        assert httpx.get(f"{server.url}/health").json()["status"] == "failed"
