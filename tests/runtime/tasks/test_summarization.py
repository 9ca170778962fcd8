"""summarization: as the repository sets it, with its prefix."""

from __future__ import annotations

from pathlib import Path

import pytest
from slipway_runtime.tasks.adapter import Loaded

from tests.runtime.tasks.test_text2text_generation import TEXTS, Reference
from tests.support.asking import ask, load
from tests.support.tiny import generation


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generation.t5(tmp_path_factory.mktemp("model") / "t5")


@pytest.fixture(scope="module")
def model(folder: Path) -> Loaded:
    return load(folder, task="summarization")


def test_it_is_the_default_where_it_was_asked_for(model: Loaded) -> None:
    assert model.task == "summarization"
    assert set(model.adapters) == {"summarization", "translation", "text2text-generation"}


def test_summaries_are_those_of_generate_with_the_repositorys_settings(model: Loaded, folder: Path) -> None:
    reference = Reference(folder)
    expected = [
        {"summary_text": reference(f"summarize: {text}", num_beams=2, max_length=12, min_length=4)} for text in TEXTS
    ]
    assert ask(model, TEXTS) == expected
    assert [ask(model, text)[0] for text in TEXTS] == expected


def test_a_prefix_is_not_written_twice(model: Loaded) -> None:
    assert ask(model, "summarize: a cat") == ask(model, "a cat")


def test_a_request_changes_what_the_repository_sets(model: Loaded, folder: Path) -> None:
    expected = Reference(folder)("summarize: a cat", num_beams=1, max_new_tokens=6, min_new_tokens=3)
    assert ask(model, "a cat", num_beams=1, max_new_tokens=6) == [{"summary_text": expected}]
