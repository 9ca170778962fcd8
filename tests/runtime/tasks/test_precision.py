"""SLIPWAY_DTYPE: what models are computed in, and that answers are plain numbers all the same."""

from __future__ import annotations

import importlib
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
import torch
from slipway_runtime.artifacts.folder import open_folder
from slipway_runtime.serve.inference.batcher import run_batch
from slipway_runtime.tasks.adapter import Limits, Loaded
from slipway_runtime.tasks.detect import choose_task
from slipway_runtime.tasks.precision import converts
from slipway_runtime.tasks.table import TASKS

from tests.runtime.conftest import Serve
from tests.support import models
from tests.support.asking import ask
from tests.support.tiny import MAKERS

TEXTS = ["the film was great", "an awful movie", "paris is the capital of france ."]
# One of each kind; the others take their way, and come with the long tests.
SAMPLE = ("fill-mask", "text-generation", "automatic-speech-recognition", "image-classification")


def load(folder: Path, dtype: str) -> Loaded:
    """As the server does it with SLIPWAY_DTYPE."""
    artifact = replace(open_folder(str(folder), folder.parent / "cache", lambda *_: None), dtype=dtype)
    task = choose_task("", artifact.config, artifact.modules, folder.name)
    loaded: Loaded = importlib.import_module(TASKS[task].module).load(artifact, Limits())
    return loaded


def scores(answers: Any) -> Any:
    return np.array([[{e["label"]: e["score"] for e in answer}[f"label-{i}"] for i in range(4)] for answer in answers])


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "classifier"
    return models.classifier(folder, labels=[f"label-{i}" for i in range(4)], initializer_range=0.1)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_scores_in_half_precision_are_near_those_in_float32_and_plain_numbers(classifier: Path, dtype: str) -> None:
    plain, half = load(classifier, "auto"), load(classifier, dtype)
    assert (plain.dtype, half.dtype) == ("float32", dtype)
    answers = ask(half, TEXTS)
    np.testing.assert_allclose(scores(answers), scores(ask(plain, TEXTS)), atol=9e-3)
    assert not np.array_equal(scores(answers), scores(ask(plain, TEXTS)))
    assert orjson.loads(orjson.dumps(answers)) == answers


def test_vectors_in_bfloat16_are_float32_and_point_the_same_way(tmp_path: Path) -> None:
    folder = models.sentence_transformer(tmp_path / "sentences")
    plain, half = (ask(load(folder, dtype), TEXTS) for dtype in ("float32", "bfloat16"))
    for one, other in zip(plain, half, strict=True):
        assert other.dtype == np.float32
        assert float(one @ other) > 0.999
        assert float(np.linalg.norm(other)) == pytest.approx(1, abs=1e-5)


def test_auto_is_float32_on_a_processor_whatever_the_file_holds(tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    folder = models.classifier(tmp_path / "half")
    AutoModelForSequenceClassification.from_pretrained(folder).bfloat16().save_pretrained(folder)
    loaded = load(folder, "auto")
    assert {p.dtype for p in loaded.model.parameters()} == {torch.float32}
    assert {p.dtype for p in load(folder, "bfloat16").model.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize(
    "task", [pytest.param(task, marks=[] if task in SAMPLE else [pytest.mark.full]) for task in MAKERS]
)
def test_every_task_answers_in_bfloat16(task: str, tmp_path: Path) -> None:
    loaded = load(MAKERS[task](tmp_path / "model"), "bfloat16")
    assert loaded.dtype == "bfloat16"
    for adapter in loaded.adapters.values():
        assert not [outcome for outcome in run_batch(adapter.warmup()) if isinstance(outcome, Exception)]


@pytest.mark.parametrize(
    ("dtype", "able", "slow"),
    [
        ("float32", {}, False),
        ("bfloat16", {"avx512_f": True}, True),
        ("bfloat16", {"avx512_f": True, "avx512_bf16": True}, False),
        ("bfloat16", {"amx_bf16": True}, False),
        ("bfloat16", {"neon": True, "bf16": True}, False),
        ("float16", {"avx512_bf16": True, "avx512_fp16": False}, True),
        ("float16", {"amx_fp16": True}, False),
    ],
)
def test_which_processors_convert_a_type(dtype: str, able: dict[str, bool], slow: bool) -> None:
    assert converts(dtype, able) is slow


def test_the_log_warns_where_the_processor_is_slow_with_the_type(
    classifier: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_f": True})
    with caplog.at_level(logging.WARNING, "slipway_runtime"):
        load(classifier, "float32")
        assert caplog.messages == []
        load(classifier, "bfloat16")
    [message] = caplog.messages
    assert (
        "converts bfloat16 at every step, which is slower than float32: it has none of avx512_bf16, amx_bf16" in message
    )


def test_a_server_computes_in_the_type_of_its_variable_and_says_so(classifier: Path, serve: Serve) -> None:
    with serve(classifier, SLIPWAY_DTYPE="BFloat16") as server:
        assert httpx.get(f"{server.url}/info", timeout=60).json()["model_dtype"] == "bfloat16"
        [answer] = server.post({"inputs": TEXTS[0]}).json()
        assert sum(entry["score"] for entry in answer) == pytest.approx(1, abs=1e-5)
