"""fill-mask against transformers' pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import InferenceClient

from tests.support.runtime_server import RuntimeServer

ONE = "paris is the [MASK] of france"
TWO = "[MASK] is the capital of [MASK]"


@pytest.fixture(scope="module")
def pipeline(hub_root: Path) -> Any:
    from transformers import pipeline

    return pipeline("fill-mask", model=str(hub_root / "tiny/masked-lm"))


def _same(answer: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    for name in ("token", "token_str", "sequence"):
        assert [entry[name] for entry in answer] == [entry[name] for entry in expected]
    assert [e["score"] for e in answer] == pytest.approx([e["score"] for e in expected], abs=1e-4)


def test_one_mask_gives_a_flat_list_that_the_client_reads(masked_lm: RuntimeServer, pipeline: Any) -> None:
    answer = InferenceClient(model=masked_lm.url).fill_mask(ONE, top_k=3)
    _same([vars(entry) for entry in answer], pipeline(ONE, top_k=3))


def test_several_masks_give_a_list_each(masked_lm: RuntimeServer, pipeline: Any) -> None:
    answer = masked_lm.post({"inputs": TWO}).json()
    expected = pipeline(TWO)
    assert len(answer) == 2
    for row, wanted in zip(answer, expected, strict=True):
        _same(row, wanted)


def test_targets_limit_the_choice(masked_lm: RuntimeServer, pipeline: Any) -> None:
    answer = InferenceClient(model=masked_lm.url).fill_mask(ONE, targets=["city", "river", "capital"])
    _same([vars(entry) for entry in answer], pipeline(ONE, targets=["city", "river", "capital"]))


def test_a_target_outside_the_vocabulary_counts_as_its_first_token(masked_lm: RuntimeServer, pipeline: Any) -> None:
    answer = masked_lm.post({"inputs": ONE, "parameters": {"targets": "citywide"}}).json()
    _same(answer, pipeline(ONE, targets=["citywide"]))


def test_a_list_gives_an_answer_each_whatever_the_padding(masked_lm: RuntimeServer, pipeline: Any) -> None:
    texts = [ONE, "the sun is [MASK] . " + "very good " * 15]
    for answer, text in zip(masked_lm.post({"inputs": texts}).json(), texts, strict=True):
        _same(answer, pipeline(text))


def test_a_text_without_a_mask_is_refused_with_the_mask_to_write(masked_lm: RuntimeServer) -> None:
    answer = masked_lm.post({"inputs": "no mask here"})
    assert answer.status_code == 422
    assert answer.json()["error"] == "inputs: has no mask; write [MASK] where a word is to be found"


def test_a_long_text_is_refused_and_never_cut(masked_lm: RuntimeServer) -> None:
    answer = masked_lm.post({"inputs": "good " * 100 + "[MASK]"})
    assert (answer.status_code, answer.json()["error"]) == (
        422,
        "inputs: has 103 tokens, the model takes 64; shorten it",
    )
