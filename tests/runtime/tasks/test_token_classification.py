"""token-classification against transformers' pipeline and the model's own forward."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import InferenceClient
from slipway_runtime.errors import InvalidInput
from slipway_runtime.tasks.adapter import Limits, Loaded

from tests.runtime.conftest import Serve
from tests.support.asking import ask, load
from tests.support.tiny import text

STRATEGIES = ("none", "simple", "first", "average", "max")
TEXTS = (
    "Paris is the capital of France , loving xyzzy films",  # words of several tokens
    "Élan vital 😀 in Zürich.",  # letters that lose their accents, and one outside the basic plane
    "rain",
)
LONG = " ".join(f"{word} is in paris not london ." for word in ("rain", "sun", "cat", "dog") * 8)


@pytest.fixture(scope="module", params=[text.token_classifier, text.byte_level_token_classifier])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Loaded]:
    folder: Path = request.param(tmp_path_factory.mktemp("model") / "tagger")
    return folder, load(folder)


@pytest.fixture(scope="module")
def pipeline(model: tuple[Path, Loaded]) -> Any:
    from transformers import pipeline

    return pipeline("token-classification", model=str(model[0]))


def same(answer: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert [{**entry, "score": 0} for entry in answer] == [{**entry, "score": 0} for entry in expected]
    assert [entry["score"] for entry in answer] == pytest.approx([float(e["score"]) for e in expected], abs=1e-4)


@pytest.mark.filterwarnings("ignore:Tokenizer does not support real words")
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("ignored", [["O"], [], ["B-PER", "PER", "LOC"]])
def test_every_strategy_gives_what_the_pipeline_gives(
    model: tuple[Path, Loaded], pipeline: Any, strategy: str, ignored: list[str]
) -> None:
    options: dict[str, Any] = {"aggregation_strategy": strategy, "ignore_labels": ignored}
    for one in TEXTS:
        same(ask(model[1], one, **options), pipeline(one, **options))


def test_without_parameters_entities_are_grouped_and_o_is_left_out(model: tuple[Path, Loaded], pipeline: Any) -> None:
    answer = ask(model[1], TEXTS[0])
    same(answer, pipeline(TEXTS[0], aggregation_strategy="simple"))
    assert {"entity_group", "score", "word", "start", "end"} == set(answer[0])


def test_start_and_end_count_characters_of_the_text_as_it_was_sent(model: tuple[Path, Loaded]) -> None:
    sent = "😀😀 rain"
    answer = ask(model[1], sent, aggregation_strategy="none", ignore_labels=[])
    assert (answer[0]["start"], answer[-1]["end"]) == (0, len(sent))
    assert "rain" in [sent[entry["start"] :] for entry in answer]


def test_scores_are_those_of_a_direct_forward(model: tuple[Path, Loaded]) -> None:
    import torch
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model[0])
    direct = AutoModelForTokenClassification.from_pretrained(model[0]).eval()
    with torch.inference_mode():
        scores = direct(**tokenizer(TEXTS[0], return_tensors="pt")).logits[0].softmax(-1)
    answer = ask(model[1], TEXTS[0], aggregation_strategy="none", ignore_labels=[])
    assert [e["index"] for e in answer] == list(range(1, len(scores) - 1))
    assert [e["score"] for e in answer] == pytest.approx(scores.max(-1).values[1:-1].tolist(), abs=1e-4)
    assert [e["entity"] for e in answer] == [direct.config.id2label[i] for i in scores.argmax(-1)[1:-1].tolist()]


def test_a_list_gives_one_list_each_equal_to_one_by_one_whatever_the_padding(model: tuple[Path, Loaded]) -> None:
    for strategy in ("none", "simple"):
        together = ask(model[1], list(TEXTS), aggregation_strategy=strategy)
        for one, answer in zip(TEXTS, together, strict=True):
            same(answer, ask(model[1], one, aggregation_strategy=strategy))


@pytest.mark.filterwarnings("ignore:Tokenizer does not support real words")
@pytest.mark.parametrize("stride", [0, 8, 30])
@pytest.mark.parametrize("strategy", ["simple", "first"])
def test_stride_reads_a_long_text_in_windows_as_the_pipeline_does(
    model: tuple[Path, Loaded], pipeline: Any, stride: int, strategy: str
) -> None:
    expected = pipeline(LONG, stride=stride, aggregation_strategy=strategy)
    answer = ask(model[1], LONG, stride=stride, aggregation_strategy=strategy)
    assert answer[-1]["end"] > 3 * 64  # far behind the first window
    same(answer, expected)
    same(ask(model[1], ["rain", LONG], stride=stride, aggregation_strategy=strategy)[1], expected)


def test_a_long_text_is_refused_unless_cut_or_read_in_windows(model: tuple[Path, Loaded], pipeline: Any) -> None:
    with pytest.raises(
        InvalidInput, match=r"inputs: has \d+ tokens, the model takes 64; shorten it, or set truncate to"
    ):
        ask(model[1], LONG)
    same(ask(model[1], LONG, truncate=True), pipeline(LONG, aggregation_strategy="simple"))
    last = ask(model[1], LONG, truncation=True, truncation_direction="left", ignore_labels=[])
    assert last[-1]["end"] == len(LONG)


@pytest.mark.parametrize(
    ("inputs", "parameters", "message"),
    [
        ("", {}, "inputs: is empty"),
        ([], {}, "inputs: is empty"),
        (["rain", 5], {}, r"inputs\[1\]: must be a string, got a number"),
        ({"text": "rain"}, {}, "inputs: must be a string or a list of strings, got an object"),
        ("rain", {"aggregation_strategy": "mean"}, "parameters.aggregation_strategy: "),
        ("rain", {"ignore_labels": "O"}, "parameters.ignore_labels: "),
        ("rain", {"stride": 62}, "parameters.stride: is 62; a window holds 62 tokens, so at most 61"),
        ("rain", {"stride": -1}, "parameters.stride: "),
        (
            "rain",
            {"stride": 5, "aggregation_strategy": "none"},
            "parameters.stride: needs an aggregation_strategy other",
        ),
        ("rain", {"agregation_strategy": "max"}, r"unknown parameter \(did you mean aggregation_strategy\?\)"),
    ],
)
def test_bad_input_is_named(model: tuple[Path, Loaded], inputs: Any, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        ask(model[1], inputs, **parameters)


def test_a_text_of_too_many_windows_is_refused_before_they_are_made(tmp_path: Path) -> None:
    loaded = load(text.token_classifier(tmp_path / "tagger"), limits=Limits(max_inputs=4))
    with pytest.raises(InvalidInput, match="inputs: takes 139 windows of 64 tokens, at most 4 are allowed"):
        ask(loaded, "rain " * 200, stride=61)
    assert ask(loaded, "rain " * 200, stride=0)


def test_the_client_reads_the_answer(serve: Serve, model: tuple[Path, Loaded]) -> None:
    with serve(model[0]) as server:
        client = InferenceClient(model=server.url)
        found = client.token_classification(TEXTS[1], aggregation_strategy="first", ignore_labels=["O", "MISC"])
        same(
            [{k: v for k, v in vars(entry).items() if k != "entity"} for entry in found],
            ask(model[1], TEXTS[1], aggregation_strategy="first", ignore_labels=["O", "MISC"]),
        )
        assert (
            server.post({"inputs": TEXTS[1]}, path="/pipeline/ner").json() == server.post({"inputs": TEXTS[1]}).json()
        )
