"""text-classification, as clients see it, against the model's own forward and transformers' pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import InferenceClient

from tests.support.runtime_server import RuntimeServer

TEXT = "the film was great, I love it"


@pytest.fixture(scope="module")
def pipeline(hub_root: Path) -> Any:
    from transformers import pipeline

    return pipeline("text-classification", model=str(hub_root / "tiny/classifier"))


def test_one_text_gives_the_five_best_labels_of_seven_as_the_client_expects(
    classifier: RuntimeServer, pipeline: Any
) -> None:
    answer = InferenceClient(model=classifier.url).text_classification(TEXT)
    expected = pipeline(TEXT, top_k=5)
    assert [entry.label for entry in answer] == [entry["label"] for entry in expected]
    np.testing.assert_allclose([e.score for e in answer], [e["score"] for e in expected], atol=1e-4)
    assert len(answer) == 5


def test_scores_are_those_of_a_direct_forward(classifier: RuntimeServer, direct: Any) -> None:
    model = direct("tiny/classifier", "AutoModelForSequenceClassification")
    [answer] = classifier.post({"inputs": TEXT, "parameters": {"top_k": 7}}).json()
    scores = model(TEXT).logits[0].softmax(-1).tolist()
    expected = {model.model.config.id2label[i]: score for i, score in enumerate(scores)}
    assert {e["label"]: e["score"] for e in answer} == pytest.approx(expected, abs=1e-4)
    assert [e["score"] for e in answer] == sorted((e["score"] for e in answer), reverse=True)


@pytest.mark.parametrize("function", ["sigmoid", "softmax", "none"])
def test_function_to_apply(classifier: RuntimeServer, pipeline: Any, function: str) -> None:
    answer = InferenceClient(model=classifier.url).text_classification(TEXT, function_to_apply=function, top_k=7)  # type: ignore[arg-type]
    expected = {e["label"]: e["score"] for e in pipeline(TEXT, top_k=7, function_to_apply=function)}
    assert {e.label: e.score for e in answer} == pytest.approx(expected, abs=1e-4)


def test_a_list_gives_one_list_each_equal_to_one_by_one_whatever_the_padding(classifier: RuntimeServer) -> None:
    texts = ["good", TEXT, "an awful movie , very bad . " * 5, "rain"]
    together = classifier.post({"inputs": texts}).json()
    for text, answer in zip(texts, together, strict=True):
        [alone] = classifier.post({"inputs": text}).json()
        assert [e["label"] for e in answer] == [e["label"] for e in alone]
        np.testing.assert_allclose([e["score"] for e in answer], [e["score"] for e in alone], atol=1e-5)


def test_a_pair_of_texts_is_classified_together(classifier: RuntimeServer, direct: Any) -> None:
    model = direct("tiny/classifier", "AutoModelForSequenceClassification")
    [answer] = classifier.post({"inputs": {"text": "a cat", "text_pair": "a dog"}, "parameters": {"top_k": 1}}).json()
    scores = model("a cat", "a dog").logits[0].softmax(-1)
    assert answer[0]["score"] == pytest.approx(float(scores.max()), abs=1e-4)


def test_a_long_text_is_cut_only_when_asked(classifier: RuntimeServer, pipeline: Any) -> None:
    long = "good film " * 100
    refused = classifier.post({"inputs": long})
    assert refused.status_code == 422
    assert refused.json()["error"] == "inputs: has 202 tokens, the model takes 64; shorten it, or set truncate to true"
    expected = {e["label"]: e["score"] for e in pipeline(long, top_k=7, truncation=True)}
    for name in ("truncate", "truncation"):
        [answer] = classifier.post({"inputs": long, "parameters": {name: True, "top_k": 7}}).json()
        assert {e["label"]: e["score"] for e in answer} == pytest.approx(expected, abs=1e-4)


def test_the_alias_names_the_same_task(classifier: RuntimeServer) -> None:
    plain = classifier.post({"inputs": TEXT}).json()
    assert classifier.post({"inputs": TEXT}, path="/pipeline/sentiment-analysis").json() == plain
    assert classifier.post({"inputs": TEXT}, path="/models/tiny/classifier").json() == plain
    assert classifier.post({"inputs": TEXT}, path="/models/emotions").json() == plain
