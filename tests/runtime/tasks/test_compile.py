"""SLIPWAY_COMPILE: what is compiled answers as before, is kept for the next start, and stands in nobody's way."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from slipway_runtime.settings import Settings, SettingsError
from slipway_runtime.tasks.compiled import compile_forward

from tests.runtime.conftest import Serve
from tests.support import models
from tests.support.asking import ask, load
from tests.support.runtime_server import RuntimeServer, serving
from tests.support.tiny import diffusion, generation, multimodal, quantised

LABELS = [f"label-{i}" for i in range(4)]
TEXTS = ["the film was great", "an awful movie", "paris is the capital of france ."]
FILES = "import json, sys; from pathlib import Path; from tests.support.asking import ask, load; "


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "classifier"
    return models.classifier(folder, labels=LABELS, initializer_range=0.1, **quantised.WIDE)


def scores(answers: Any) -> Any:
    return np.array([[{e["label"]: e["score"] for e in answer}[name] for name in LABELS] for answer in answers])


@pytest.mark.parametrize(("variable", "named"), [("PATH", "g++"), ("CXX", "no-such-compiler")])
def test_without_a_compiler_it_is_refused_by_name_with_what_to_do(
    variable: str, named: str, classifier: Path, tmp_path: Path
) -> None:
    variables = {"SLIPWAY_MODEL_PATH": str(classifier), "SLIPWAY_COMPILE": "1"}
    variables |= {"PATH": str(tmp_path)} if variable == "PATH" else {"CXX": named}
    with serving(tmp_path / "server", True, **variables) as server:
        error = server.wait_for_fault("BadConfiguration")
        assert f"torch.compile needs a C++ compiler, and {named} is not in this image" in error["message"]
        assert "--build-arg COMPILER=g++, or leave the variable out" in error["message"]


@pytest.mark.full
def test_where_the_compiler_fails_answers_are_the_eager_ones(classifier: Path, tmp_path: Path, serve: Serve) -> None:
    broken = tmp_path / "g++"
    broken.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "g++ 1.0" && exit 0\necho "no space left" >&2\nexit 1\n')
    broken.chmod(0o755)
    with serve(classifier, SLIPWAY_COMPILE="true", PATH=f"{tmp_path}:{os.environ['PATH']}") as server:
        assert info(server)["torch_compile"].startswith("eager: torch.compile failed (")
        assert any("SLIPWAY_COMPILE: nothing is compiled" in line["message"] for line in server.lines())
        np.testing.assert_allclose(scores(server.post({"inputs": TEXTS}).json()), eager(classifier), atol=1e-6)


def info(server: RuntimeServer) -> dict[str, Any]:
    answer: dict[str, Any] = httpx.get(f"{server.url}/info", timeout=60).json()
    return answer


def eager(folder: Path) -> Any:
    return scores(ask(load(folder), TEXTS))


@pytest.fixture
def stance() -> Iterator[None]:
    """The compiler's state is the process's: as it was, afterwards."""
    yield
    torch.compiler.set_stance("default")
    torch.compiler.reset()


def test_what_answers_otherwise_than_before_is_not_used(
    classifier: Path, tmp_path: Path, stance: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(forward: Any, **_: Any) -> Any:
        def moved(**given: Any) -> Any:
            made = forward(**given)
            if len(given["input_ids"]) > 2:
                made.logits = made.logits + 0.01
            return made

        return moved

    monkeypatch.setattr(torch, "compile", wrong)
    loaded = compile_forward(load(classifier), tmp_path / "cache")
    assert loaded.compiled.startswith("eager: compiled, outputs of text-classification for 3 requests are 0.0")
    assert loaded.compiled.endswith("away from the model's own")
    np.testing.assert_allclose(scores(ask(loaded, TEXTS)), eager(classifier), atol=1e-6)


def test_a_folder_that_others_write_to_is_not_used(classifier: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    loaded = compile_forward(load(classifier), tmp_path)
    assert "can be written by others, and what lies there is run as code" in loaded.compiled
    (tmp_path / "file").touch()
    assert "cannot be used (File exists)" in compile_forward(load(classifier), tmp_path / "file").compiled
    assert not list(tmp_path.glob("*/"))


@pytest.mark.parametrize(
    ("maker", "reason"),
    [
        (generation.bart, "eager: what it writes is not written in continuous batches"),
        (multimodal.llava, "eager: what it writes is not written in continuous batches"),
        (diffusion.text_to_image, "eager: text-to-image is not one network"),
    ],
)
def test_what_is_not_compiled_is_told_with_the_reason(maker: Any, reason: str, tmp_path: Path) -> None:
    assert compile_forward(load(maker(tmp_path / "model")), tmp_path / "cache").compiled == reason


def test_other_values_are_refused() -> None:
    given = {"SLIPWAY_MODEL_ID": "o/n"}
    assert [Settings.from_env(given | {"SLIPWAY_COMPILE": v}).compile for v in ("1", "True", "0", "false", "")] == [
        True, True, False, False, False,
    ]  # fmt: skip
    with pytest.raises(SettingsError, match="SLIPWAY_COMPILE='yes': must be one of true, false, 1, 0"):
        Settings.from_env(given | {"SLIPWAY_COMPILE": "yes"})


def test_where_neither_is_asked_for_nothing_of_them_is_imported(classifier: Path) -> None:
    code = f"{FILES}ask(load(Path(sys.argv[1])), 'a text'); print(json.dumps(sorted(sys.modules)))"
    env = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", code, str(classifier)], check=True, capture_output=True, env=env)
    assert set(json.loads(done.stdout.splitlines()[-1])).isdisjoint(
        {*(f"slipway_runtime.tasks.{name}" for name in ("int8", "compiled", "compared")), "torch._inductor.compile_fx"}
    )


@pytest.mark.full
@pytest.mark.parametrize("quantization", ["", "int8"])
@pytest.mark.timeout(1800)
def test_the_second_start_compiles_nothing_and_no_request_does(
    quantization: str, classifier: Path, tmp_path: Path
) -> None:
    assert shutil.which("g++"), "this test compiles: install g++"
    cache = tmp_path / "cache"

    def start(number: int) -> AbstractContextManager[RuntimeServer]:
        return serving(
            tmp_path / f"server-{number}", True, SLIPWAY_MODEL_PATH=str(classifier), SLIPWAY_CACHE_DIR=str(cache),
            SLIPWAY_QUANTIZATION=quantization, SLIPWAY_COMPILE="true",
        )  # fmt: skip

    with start(1) as server:
        server.wait_for_stage("Ready", 900)
        assert info(server)["torch_compile"] == "compiled"
        first = line(server)
        assert first["fromCache"] == 0
        assert first["anew"] >= 2  # one input is compiled by itself, and any number of them
        kept = sorted((cache / "compiled").rglob("*"))
        texts = [" ".join(["film"] * count) for count in (1, 2, 3, 5, 8, 13, 21, 34, 55)]
        for many in (1, 2, 4, 9):  # of lengths and numbers that it has not seen
            answer = server.post({"inputs": [*texts[:many]]})
            assert answer.status_code == 200
        found = scores(server.post({"inputs": TEXTS}).json())
        np.testing.assert_allclose(found, eager(classifier), atol=0.03 if quantization else 1e-5)
        assert sorted((cache / "compiled").rglob("*")) == kept
    with start(2) as server:
        server.wait_for_stage("Ready", 900)
        assert info(server)["torch_compile"] == "compiled"
        second = line(server)
        assert (second["anew"], second["fromCache"]) == (0, first["anew"])
        np.testing.assert_allclose(scores(server.post({"inputs": TEXTS}).json()), found, atol=0.01)
    assert (cache / "compiled").stat().st_mode & 0o777 == 0o700


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_text_is_written_by_what_is_compiled_as_before(tmp_path: Path, stance: None) -> None:
    assert shutil.which("g++"), "this test compiles: install g++"
    from torch._dynamo.utils import counters

    folder = generation.decoder(tmp_path / "model")
    counters.clear()
    plain, loaded = load(folder), compile_forward(load(folder), tmp_path / "cache")
    assert loaded.compiled == "compiled"
    graphs = counters["stats"]["unique_graphs"]
    assert graphs == 4  # prompts and steps, of one answer and of several
    prompts = ["the film was", "a", "paris is the capital of france and of what lies around it .", "x y z"]
    for many in (1, 2, 4):
        found, before = (ask(one, prompts[:many], max_new_tokens=24, details=True) for one in (loaded, plain))
        for one, other in zip(_tokens(found), _tokens(before), strict=True):
            assert [token.id for token in one] == [token.id for token in other]
            np.testing.assert_allclose([token.logprob for token in one], [token.logprob for token in other], atol=1e-3)
    assert counters["stats"]["unique_graphs"] == graphs


def _tokens(answers: Any) -> list[Any]:
    return [(answer[0] if isinstance(answer, list) else answer).tokens for answer in answers]


def line(server: RuntimeServer) -> dict[str, Any]:
    [found] = [line for line in server.lines() if line["message"] == "compiled"]
    return found
