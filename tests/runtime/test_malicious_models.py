"""Models that want to run code or read other files. A canary file proves that nothing of theirs ever ran."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support import models
from tests.support.hub_mirror import running
from tests.support.runtime_server import RuntimeServer, serving


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "canary"


def test_pickle_only_is_refused_never_opened_and_heals_with_safetensors(tmp_path: Path, canary: Path) -> None:
    folder = models.pickle_only(tmp_path / "hub/some/model", canary)
    with running(tmp_path / "hub") as (url, mirror):
        with serving(tmp_path / "server", SLIPWAY_MODEL_ID="some/model", HF_ENDPOINT=url) as server:
            error = server.wait_for_fault("UnsafeFormat")
            assert error["code"] == 68
            assert "only as pickle (pytorch_model.bin)" in error["message"]
            assert "add a model.safetensors to the repository" in error["message"]
            models.classifier(folder)
            server.wait_for_stage("Ready")
        assert not any(seen.path.endswith(".bin") for seen in mirror.requests)
    assert not canary.exists()


def test_code_and_pickle_beside_good_weights_are_neither_fetched_nor_run(tmp_path: Path, canary: Path) -> None:
    models.poisoned(tmp_path / "hub/some/model", canary)
    with running(tmp_path / "hub") as (url, mirror):
        with serving(tmp_path / "server", SLIPWAY_MODEL_ID="some/model", HF_ENDPOINT=url) as server:
            server.wait_for_stage("Ready")
            assert server.post({"inputs": "a film"}).status_code == 200
        fetched = [seen.path for seen in mirror.requests]
        assert not any(path.endswith((".py", ".bin", "requirements.txt")) for path in fetched)
    assert not canary.exists()


def test_code_and_pickle_in_a_mounted_folder_are_not_run(tmp_path: Path, canary: Path) -> None:
    folder = models.poisoned(tmp_path / "model", canary)
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "evil/base"}))
    with serving(tmp_path / "server", SLIPWAY_MODEL_PATH=str(folder)) as server:
        server.wait_for_stage("Ready")
    assert not canary.exists()


@pytest.mark.parametrize(
    ("key", "file"),
    [("auto_map", "config.json"), ("custom_pipelines", "config.json"), ("auto_map", "tokenizer_config.json")],
)
def test_a_config_that_asks_for_code_is_refused_by_name(tmp_path: Path, canary: Path, key: str, file: str) -> None:
    models.remote_code(tmp_path / "hub/some/model", canary, key=key, file=file)
    with (
        running(tmp_path / "hub") as (url, _),
        serving(tmp_path / "server", SLIPWAY_MODEL_ID="some/model", HF_ENDPOINT=url) as server,
    ):
        error = server.wait_for_fault("UnsafeFormat")
        assert f"needs code of its own ({key} in {file}), which is never run" in error["message"]
    assert not canary.exists()


def fault_of_folder(tmp_path: Path, folder: Path, reason: str) -> str:
    with serving(tmp_path / "server", SLIPWAY_MODEL_PATH=str(folder)) as server:
        return str(server.wait_for_fault(reason)["message"])


def test_a_link_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder = models.classifier(tmp_path / "model")
    (folder / "vocab.txt").symlink_to("/etc/passwd")
    message = fault_of_folder(tmp_path, folder, "UnsafeFormat")
    assert "vocab.txt is a link that leads out of the folder" in message


def test_a_module_path_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder = models.sentence_transformer(tmp_path / "model")
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["path"] = "../../etc"
    (folder / "modules.json").write_text(json.dumps(modules))
    assert "'../../etc', outside the model" in fault_of_folder(tmp_path, folder, "UnsafeFormat")


def test_a_module_of_its_own_code_is_refused(tmp_path: Path) -> None:
    folder = models.sentence_transformer(tmp_path / "model")
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["type"] = "custom_st.Transformer"
    (folder / "modules.json").write_text(json.dumps(modules))
    assert "'custom_st.Transformer' in modules.json" in fault_of_folder(tmp_path, folder, "UnsafeFormat")


def test_inputs_that_are_urls_or_paths_are_only_text(classifier: RuntimeServer) -> None:
    for text in ("http://169.254.169.254/latest/meta-data", "file:///etc/passwd", "/etc/passwd"):
        assert classifier.post({"inputs": text}).status_code == 200
