"""zero-shot-classification against transformers' pipeline, and the other task of the same model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import InferenceClient
from slipway_runtime.errors import InvalidInput, ModelFault
from slipway_runtime.tasks.adapter import Limits, Loaded

from tests.runtime.conftest import Serve
from tests.support.asking import ask, load
from tests.support.models import classifier
from tests.support.tiny import text

LABELS = ["film", "rain and sun", "capital city", "xyzzy"]
TEXTS = ["the film was great , i love it", "paris", "it is very quite slow in the rain " * 4]
ORDERS = {
    "entailment last": ("contradiction", "neutral", "entailment"),
    "entailment first": ("ENTAILMENT", "NEUTRAL", "CONTRADICTION"),
    "two labels": ("entailment", "not_entailment"),
}


@pytest.fixture(scope="module", params=ORDERS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Loaded]:
    folder = text.nli(tmp_path_factory.mktemp("model") / "nli", labels=ORDERS[request.param])
    return folder, load(folder)


@pytest.fixture(scope="module")
def pipeline(model: tuple[Path, Loaded]) -> Any:
    from transformers import pipeline

    return pipeline("zero-shot-classification", model=str(model[0]))


def same(answer: list[dict[str, Any]], expected: dict[str, Any]) -> None:
    assert [entry["label"] for entry in answer] == expected["labels"]
    assert [entry["score"] for entry in answer] == pytest.approx(expected["scores"], abs=1e-4)


@pytest.mark.parametrize("multi", [False, True])
@pytest.mark.parametrize("template", ["This example is {}.", "{} in the film"])
def test_labels_and_scores_are_those_of_the_pipeline(
    model: tuple[Path, Loaded], pipeline: Any, multi: bool, template: str
) -> None:
    options: dict[str, Any] = {"candidate_labels": LABELS, "multi_label": multi, "hypothesis_template": template}
    for one in TEXTS:
        same(ask(model[1], one, **options), pipeline(one, **options))


def test_one_label_is_scored_for_itself(model: tuple[Path, Loaded], pipeline: Any) -> None:
    same(ask(model[1], "paris", candidate_labels=["film"]), pipeline("paris", candidate_labels=["film"]))


def test_labels_may_be_one_string_with_commas(model: tuple[Path, Loaded]) -> None:
    assert ask(model[1], "paris", candidate_labels="film, rain ,, sun") == ask(
        model[1], "paris", candidate_labels=["film", "rain", "sun"]
    )


def test_scores_are_those_of_a_direct_forward(model: tuple[Path, Loaded]) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model[0])
    direct = AutoModelForSequenceClassification.from_pretrained(model[0]).eval()
    entails = next(i for i, label in direct.config.id2label.items() if label.lower() == "entailment")
    logits = []
    for label in LABELS:
        with torch.inference_mode():
            encoded = tokenizer("paris", f"This example is {label}.", return_tensors="pt")
            logits.append(float(direct(**encoded).logits[0, entails]))
    expected = dict(zip(LABELS, torch.tensor(logits).softmax(-1).tolist(), strict=True))
    answer = ask(model[1], "paris", candidate_labels=LABELS)
    assert {entry["label"]: entry["score"] for entry in answer} == pytest.approx(expected, abs=1e-4)


def test_a_list_gives_one_list_each_equal_to_one_by_one_whatever_the_padding(model: tuple[Path, Loaded]) -> None:
    for one, answer in zip(TEXTS, ask(model[1], TEXTS, candidate_labels=LABELS), strict=True):
        alone = ask(model[1], one, candidate_labels=LABELS)
        assert [entry["label"] for entry in answer] == [entry["label"] for entry in alone]
        assert [e["score"] for e in answer] == pytest.approx([e["score"] for e in alone], abs=1e-5)


def test_a_long_text_is_cut_only_when_asked_and_its_labels_never(model: tuple[Path, Loaded], pipeline: Any) -> None:
    long = "good film " * 60
    with pytest.raises(
        InvalidInput, match=r"inputs: has \d+ tokens, the model takes 64; shorten it, or set truncate to"
    ):
        ask(model[1], long, candidate_labels=LABELS)
    expected = pipeline(long, candidate_labels=LABELS)
    same(ask(model[1], long, candidate_labels=LABELS, truncate=True), expected)
    with pytest.raises(
        InvalidInput, match=r"parameters.candidate_labels\[1\]: has \d+ tokens, the model takes 64; short"
    ):
        ask(model[1], "rain", candidate_labels=["sun", "sun " * 70], truncate=True)


@pytest.mark.parametrize(
    ("inputs", "parameters", "message"),
    [
        ("rain", {}, "parameters.candidate_labels: is missing; give a list of labels, or a string with commas"),
        ("rain", {"candidate_labels": []}, "parameters.candidate_labels: is empty"),
        ("rain", {"candidate_labels": " , "}, "parameters.candidate_labels: is empty"),
        ("rain", {"candidate_labels": ["a", ""]}, r"parameters.candidate_labels\[1\]: is empty"),
        ("rain", {"candidate_labels": ["a", 5]}, r"parameters.candidate_labels\[1\]: Expected"),
        ("", {"candidate_labels": ["a"]}, "inputs: is empty"),
        (
            "rain",
            {"candidate_labels": ["a"], "hypothesis_template": "it rains"},
            "hypothesis_template: must hold",
        ),
        ("rain", {"candidate_labels": ["a"], "multi_class": True}, r"did you mean multi_label\?"),
    ],
)
def test_bad_input_is_named(model: tuple[Path, Loaded], inputs: Any, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        ask(model[1], inputs, **parameters)


def test_a_template_reaches_into_nothing(model: tuple[Path, Loaded]) -> None:
    plain = ask(model[1], "rain", candidate_labels=["a"], hypothesis_template="{} {.__class__} {0}")
    assert set(plain[0]) == {"label", "score"}


def test_texts_times_labels_are_limited(tmp_path: Path) -> None:
    loaded = load(text.nli(tmp_path / "nli"), limits=Limits(max_inputs=5))
    with pytest.raises(
        InvalidInput, match="candidate_labels: has 6 labels, at most 5 are allowed; send several requests"
    ):
        ask(loaded, "rain", candidate_labels=list("abcdef"))
    with pytest.raises(InvalidInput, match="has 3 labels for each of 2 texts, at most 5 are allowed"):
        ask(loaded, ["rain", "sun"], candidate_labels=list("abc"))


def test_a_model_without_entailment_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFault, match="cannot do zero-shot-classification: it can do text-classification"):
        load(classifier(tmp_path / "emotions"), task="zero-shot-classification")


def test_one_server_answers_both_tasks_by_what_the_request_has(serve: Serve, tmp_path: Path) -> None:
    with serve(text.nli(tmp_path / "nli")) as server:
        client = InferenceClient(model=server.url)
        found = client.zero_shot_classification("rain", ["sun", "film"])
        assert {entry.label for entry in found} == {"sun", "film"}
        assert {entry.label for entry in client.text_classification("rain")} == set(ORDERS["entailment last"])
        pair = server.post({"inputs": {"text": "rain", "text_pair": "it is rain"}}).json()
        assert len(pair[0]) == 3
        missing = server.post({"inputs": "rain"}, path="/pipeline/zero-shot-classification")
        assert (missing.status_code, missing.json()["error_type"]) == (422, "validation")
