"""Models that want to run code or read other files. A canary file proves that nothing of theirs ever ran."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest
from slipway_runtime.artifacts.folder import open_folder
from slipway_runtime.artifacts.selection import select
from slipway_runtime.errors import ModelFault

from tests.support import models
from tests.support.hub_mirror import running
from tests.support.runtime_server import RuntimeServer, serving


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "canary"


def test_pickle_only_is_refused_never_opened_and_heals_with_safetensors(tmp_path: Path, canary: Path) -> None:
    folder = models.pickle_only(tmp_path / "hub/some/model", canary)
    with running(tmp_path / "hub") as (url, mirror):
        with serving(tmp_path / "server", True, SLIPWAY_MODEL_ID="some/model", HF_ENDPOINT=url) as server:
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
        with serving(tmp_path / "server", True, SLIPWAY_MODEL_ID="some/model", HF_ENDPOINT=url) as server:
            server.wait_for_stage("Ready")
            assert server.post({"inputs": "a film"}).status_code == 200
        fetched = [seen.path for seen in mirror.requests]
        assert not any(path.endswith((".py", ".bin", "requirements.txt")) for path in fetched)
    assert not canary.exists()


def test_code_and_pickle_in_a_mounted_folder_are_not_run(tmp_path: Path, canary: Path) -> None:
    folder = models.poisoned(tmp_path / "model", canary)
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "evil/base"}))
    with serving(tmp_path / "server", True, SLIPWAY_MODEL_PATH=str(folder)) as server:
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
        serving(tmp_path / "server", True, SLIPWAY_MODEL_ID="some/model", HF_ENDPOINT=url) as server,
    ):
        error = server.wait_for_fault("UnsafeFormat")
        assert f"needs code of its own ({key} in {file}), which is never run" in error["message"]
    assert not canary.exists()


def fault_of_folder(tmp_path: Path, folder: Path, reason: str) -> str:
    with serving(tmp_path / "server", True, SLIPWAY_MODEL_PATH=str(folder)) as server:
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


NESTED = {"text_config": {"auto_map": {"AutoModel": "modeling_custom.Custom"}}}
KERNEL = {"attn_implementation": "evil/kernel"}


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        (NESTED, "auto_map"),
        ({"parts": [NESTED]}, "auto_map"),
        (KERNEL, "attn_implementation"),
        ({"vision_config": {"_attn_implementation": "evil/kernel"}}, "_attn_implementation"),
    ],
)
def test_code_is_found_at_any_depth_of_a_config(tmp_path: Path, changes: dict[str, Any], key: str) -> None:
    folder = models.classifier(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(config))
    fault = refused(folder)
    assert fault.reason == "UnsafeFormat"
    assert f"({key} in config.json)" in fault.message


def refused(folder: Path) -> ModelFault:
    with pytest.raises(ModelFault) as caught:
        open_folder(str(folder), folder.parent / "cache", lambda *_: None)
    return caught.value


HEADERS: dict[str, Any] = {
    "larger than the file": struct.pack("<Q", 2**20) + b"{}",
    "larger than memory": struct.pack("<Q", 2**63) + b"{}",
    "not JSON": struct.pack("<Q", 4) + b"evil",
    "empty": b"",
    "offsets that lead out": lambda: header({"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 2**40]}}),
    "offsets that go back": lambda: header({"w": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}),
    "a shape that overflows": lambda: header({"w": {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 4]}}),
    "two tensors on the same bytes": lambda: header(
        {name: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for name in "ab"}
    ),
    "a hole": lambda: header({"w": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}),
}


def header(tensors: dict[str, Any]) -> bytes:
    text = json.dumps(tensors).encode()
    return struct.pack("<Q", len(text)) + text + bytes(8)


@pytest.mark.parametrize("kind", HEADERS)
def test_a_header_of_weights_that_lies_is_corrupt(tmp_path: Path, kind: str) -> None:
    folder = models.classifier(tmp_path / "model")
    content = HEADERS[kind]
    (folder / "model.safetensors").write_bytes(content() if callable(content) else content)
    fault = refused(folder)
    assert fault.reason == "ModelCorrupt"
    assert "model.safetensors of" in fault.message


def test_a_config_that_is_nested_without_end_is_corrupt(tmp_path: Path) -> None:
    folder = models.classifier(tmp_path / "model")
    (folder / "config.json").write_text('{"a":' * 100_000 + "1" + "}" * 100_000)
    assert refused(folder).reason == "ModelCorrupt"


def test_names_with_newlines_and_names_that_differ_in_case(tmp_path: Path) -> None:
    names = ["config.json", "config.json\n", "model.safetensors", "model.safetensors\n", "evil\x00.model"]
    assert select(names, "m").descriptions == ("config.json",)
    assert select(names, "m").weights == ("model.safetensors",)
    with pytest.raises(ModelFault, match=r"has both Spiece.model and spiece.model"):
        select([*names, "Spiece.model", "spiece.model"], "m")


def test_hard_links_in_a_folder_are_plain_files_and_devices_are_not(tmp_path: Path) -> None:
    folder = models.classifier(tmp_path / "model")
    os.mkfifo(folder / "vocab.txt")
    (folder / "merges.txt").hardlink_to(folder / "config.json")
    artifact = open_folder(str(folder), tmp_path / "cache", lambda *_: None)
    assert not (artifact.folder / "vocab.txt").exists()


# What a chat template may try: attributes that lead to Python, and files beside the model.
TEMPLATES = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ cycler.__init__.__globals__.os.popen('touch CANARY').read() }}",
    "{{ messages.__class__.__init__.__globals__ }}",
    "{% set _ = messages.append({'role': 'x'}) %}",
    "{% include '/etc/passwd' %}",
    "{{ raise_exception.__globals__['os'].system('touch CANARY') }}",
    "{{ strftime_now.__globals__['__builtins__']['open']('CANARY', 'w') }}",
]


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_chat_template_stays_in_its_sandbox(tmp_path: Path, canary: Path, template: str) -> None:
    """In transformers' own sandbox, which the adapters render with; what it raises never becomes an answer."""
    import jinja2
    from transformers import AutoTokenizer

    folder = models.classifier(tmp_path / "model")
    (folder / "chat_template.jinja").write_text(template.replace("CANARY", str(canary)))
    artifact = open_folder(str(folder), tmp_path / "cache", lambda *_: None)
    tokenizer = AutoTokenizer.from_pretrained(str(artifact.folder), trust_remote_code=False, local_files_only=True)
    with pytest.raises((jinja2.TemplateError, TypeError)):
        tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False)
    assert not canary.exists()


def test_inputs_that_are_urls_or_paths_are_only_text(classifier: RuntimeServer) -> None:
    for text in ("http://169.254.169.254/latest/meta-data", "file:///etc/passwd", "/etc/passwd"):
        assert classifier.post({"inputs": text}).status_code == 200
