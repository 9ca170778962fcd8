"""text-ranking against the cross-encoder's own forward, and the other task of the same model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from slipway_runtime.errors import InvalidInput, ModelFault
from slipway_runtime.tasks.adapter import Limits, Loaded

from tests.runtime.conftest import Serve
from tests.support.asking import ask, load
from tests.support.models import classifier
from tests.support.tiny import text

QUERY = "what is the capital of france ?"
TEXTS = ["paris", "it is very quite slow in the rain " * 3, "the film was great", "paris is the capital of france ."]
INPUTS = {"query": QUERY, "texts": TEXTS}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return text.cross_encoder(tmp_path_factory.mktemp("model") / "ranker")


@pytest.fixture(scope="module")
def model(folder: Path) -> Loaded:
    return load(folder)


def direct(folder: Path, query: str, texts: list[str]) -> list[float]:
    """Logits, one by one, cut as sentence-transformers cuts."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    network = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.inference_mode():
        encoded = [tokenizer(query, one, truncation="longest_first", return_tensors="pt") for one in texts]
        return [float(network(**one).logits[0, 0]) for one in encoded]


def sigmoid(logits: list[float]) -> list[float]:
    import torch

    return torch.tensor(logits).sigmoid().tolist()


def test_best_first_with_the_place_in_the_request(folder: Path, model: Loaded) -> None:
    answer = ask(model, INPUTS)
    logits = direct(folder, QUERY, TEXTS)
    assert [entry["index"] for entry in answer] == sorted(range(len(TEXTS)), key=lambda i: -logits[i])
    scores = sigmoid(logits)
    assert [entry["score"] for entry in answer] == pytest.approx([scores[e["index"]] for e in answer], abs=1e-4)
    assert all(set(entry) == {"index", "score"} for entry in answer)


def test_raw_scores_are_the_logits_and_texts_come_back_when_asked(folder: Path, model: Loaded) -> None:
    logits = direct(folder, QUERY, TEXTS)
    for entry in ask(model, INPUTS, raw_scores=True, return_text=True):
        assert entry["score"] == pytest.approx(logits[entry["index"]], abs=1e-4)
        assert entry["text"] == TEXTS[entry["index"]]


def test_a_batch_equals_one_by_one_whatever_the_padding(model: Loaded) -> None:
    together = {entry["index"]: entry["score"] for entry in ask(model, INPUTS)}
    for i, one in enumerate(TEXTS):
        [alone] = ask(model, {"query": QUERY, "texts": [one]})
        assert alone["score"] == pytest.approx(together[i], abs=1e-5)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("pads", [("config", "tokenizer"), ("config",), ("tokenizer",), ()])
def test_a_decoder_ranks_alike_whoever_knows_what_pads(tmp_path: Path, side: str, pads: tuple[str, ...]) -> None:
    loaded = load(text.decoder_ranker(tmp_path / "ranker", padding_side=side, pads=pads), task="text-ranking")
    together = {entry["index"]: entry["score"] for entry in ask(loaded, INPUTS, raw_scores=True)}
    for i, one in enumerate(TEXTS):
        [alone] = ask(loaded, {"query": QUERY, "texts": [one]}, raw_scores=True)
        assert alone["score"] == pytest.approx(together[i], abs=1e-4)


def test_long_pairs_are_cut_unless_that_is_forbidden(folder: Path, model: Loaded) -> None:
    long = ["rain " * 100, "paris"]
    answer = {entry["index"]: entry["score"] for entry in ask(model, {"query": QUERY, "texts": long}, raw_scores=True)}
    assert [answer[0], answer[1]] == pytest.approx(direct(folder, QUERY, long), abs=1e-4)
    with pytest.raises(
        InvalidInput, match=r"inputs.texts\[0\]: has \d+ tokens, the model takes 64; shorten it, or set"
    ):
        ask(model, {"query": QUERY, "texts": long}, truncate=False)


@pytest.mark.parametrize(
    ("inputs", "parameters", "message"),
    [
        ("paris", {}, "inputs: must be an object with query and texts, got a string"),
        ({"query": QUERY}, {}, "inputs: must have exactly query and texts, got query"),
        ({"query": 5, "texts": TEXTS}, {}, "inputs.query: must be a string, got a number"),
        ({"query": "", "texts": TEXTS}, {}, "inputs.query: is empty"),
        ({"query": QUERY, "texts": "paris"}, {}, "inputs.texts: must be a list of strings, got a string"),
        ({"query": QUERY, "texts": []}, {}, "inputs.texts: is empty"),
        ({"query": QUERY, "texts": ["paris", None]}, {}, r"inputs.texts\[1\]: must be a string, got null"),
        (INPUTS, {"raw_score": True}, r"did you mean raw_scores\?"),
        (INPUTS, {"truncation_direction": "up"}, "parameters.truncation_direction: "),
    ],
)
def test_bad_input_is_named(model: Loaded, inputs: Any, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        ask(model, inputs, **parameters)


def test_texts_are_limited(tmp_path: Path) -> None:
    loaded = load(text.cross_encoder(tmp_path / "ranker"), limits=Limits(max_inputs=3))
    with pytest.raises(InvalidInput, match=r"inputs.texts: has 4 entries, at most 3 are allowed"):
        ask(loaded, INPUTS)


def test_one_score_without_a_word_from_sentence_transformers_is_a_classifier_that_can_rank(tmp_path: Path) -> None:
    loaded = load(classifier(tmp_path / "scores", labels=["LABEL_0"]))
    assert (loaded.task, set(loaded.adapters)) == ("text-classification", {"text-classification", "text-ranking"})
    assert ask(loaded, INPUTS, task="text-ranking")


def test_a_model_of_several_labels_cannot_rank(tmp_path: Path) -> None:
    with pytest.raises(ModelFault, match="cannot do text-ranking: it can do text-classification"):
        load(classifier(tmp_path / "emotions"), task="text-ranking")


def test_one_server_answers_both_tasks_by_the_shape_of_the_inputs(serve: Serve, folder: Path) -> None:
    with serve(folder) as server:
        assert len(server.post({"inputs": INPUTS}).json()) == len(TEXTS)
        assert server.post({"inputs": INPUTS}, path="/pipeline/rerank").json() == server.post({"inputs": INPUTS}).json()
        [[label]] = server.post({"inputs": "paris"}).json()
        assert label["label"] == "LABEL_0"
