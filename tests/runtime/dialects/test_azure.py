"""Azure ML's scoring format, as the cards of its model catalog show it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from slipway_runtime.serve.dialects.azure import Azure
from slipway_runtime.serve.inference.service import Answer
from slipway_runtime.tasks.adapter import Media
from slipway_runtime.tasks.generated import Generated
from slipway_runtime.tasks.transcript import Transcript

from tests.runtime.conftest import Serve
from tests.support import models
from tests.support.runtime_server import RuntimeServer


@pytest.fixture(scope="module")
def classifier(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeServer]:
    folder = models.classifier(tmp_path_factory.mktemp("azure") / "classifier", labels=["joy", "anger", "fear"])
    with serve(folder) as server:
        yield server


@pytest.fixture(scope="module")
def masked_lm(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeServer]:
    with serve(models.masked_lm(tmp_path_factory.mktemp("azure") / "masked-lm")) as server:
        yield server


def error_of(answer: httpx.Response, status: int = 422, code: str = "BadArgument") -> str:
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert body["error"] == {"code": code, "message": body["message"]}
    message: str = body["message"]
    return message


def table(*rows: Any, columns: tuple[str, ...] = ("text",)) -> dict[str, Any]:
    return {"input_data": {"columns": list(columns), "index": list(range(len(rows))), "data": list(rows)}}


TOLD_BY_INPUT_DATA: list[Any] = [
    table(["a great film"], ["an awful story"]),
    table("a great film", "an awful story"),
    {"input_data": ["a great film", "an awful story"], "params": {}},
    {"input_data": {"input_string": ["a great film", "an awful story"], "parameters": {}}},
    {"input_data": [{"text": "a great film"}, {"text": "an awful story"}]},
    {"input_data": {"text": ["a great film", "an awful story"]}},
]
OTHERS: list[Any] = [
    {"inputs": {"input_string": ["a great film", "an awful story"]}},
    {"inputs": ["a great film", "an awful story"]},
    {"data": ["a great film", "an awful story"]},
]


@pytest.mark.parametrize(
    ("path", "body"),
    [("/score", body) for body in TOLD_BY_INPUT_DATA + OTHERS] + [("/", body) for body in TOLD_BY_INPUT_DATA],
)
def test_every_form_of_rows_gives_one_label_per_row(classifier: RuntimeServer, body: Any, path: str) -> None:
    answer = classifier.post(body, path)
    assert answer.status_code == 200, answer.text
    expected = classifier.post({"inputs": ["a great film", "an awful story"]}).json()
    assert [row["label"] for row in answer.json()] == [row[0]["label"] for row in expected]
    assert [row["score"] for row in answer.json()] == pytest.approx([row[0]["score"] for row in expected], abs=1e-5)


def test_parameters_hold_for_all_rows_and_a_column_for_its_own(classifier: RuntimeServer) -> None:
    several = classifier.post(table("a film", "a story") | {"params": {"top_k": 2}}, "/score").json()
    assert [len(row) for row in several] == [2, 2]
    own = classifier.post(table(["a film", 1], ["a story", 3], columns=("text", "top_k")), "/score").json()
    assert [len(row) for row in own] == [1, 3]


def test_a_masked_word_is_answered_with_the_word(masked_lm: RuntimeServer) -> None:
    body = {"input_data": {"input_string": ["paris is the [MASK] of france .", "a [MASK] film"]}}
    answer = masked_lm.post(body, "/score").json()
    expected = masked_lm.post({"inputs": body["input_data"]["input_string"]}).json()
    assert answer == [row[0]["token_str"] for row in expected]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "input_data: is missing"),
        ([], "must be a JSON object"),
        ({"input_data": []}, "input_data: is empty"),
        ({"input_data": ["a"], "param": {}}, "param: unknown field"),
        ({"input_data": ["a"], "params": []}, "params: must be an object"),
        ({"input_data": {"columns": [], "data": []}}, "input_data.columns: must be a list of names"),
        ({"input_data": {"columns": ["text"]}}, "input_data.data: must be a list of rows"),
        ({"input_data": {"columns": ["text"], "index": [0], "data": ["a", "b"]}}, "index: is 1 entries, data has 2"),
        ({"input_data": {"columns": ["text"], "data": [["a", "b"]]}}, "data[0]: has 2 cells, there are 1 columns"),
        ({"input_data": {"a": ["x"], "b": ["x", "y"]}}, "differ in length"),
        ({"input_data": ["a", ""]}, "input_data[1]: inputs: is empty"),
        ({"input_data": ["a", 7]}, "input_data[1]: inputs: must be a string or a list of strings, got a number"),
        (table(["a", 1], columns=("text", "tip_k")), "unknown parameter (did you mean top_k?)"),
        (table(["a", 1], columns=("title", "body")), "has no input; name a column"),
        (table(*["a"] * 257), "has 257 rows, at most 256"),
    ],
)
def test_bad_requests_name_the_field_in_azures_shape(classifier: RuntimeServer, body: Any, words: str) -> None:
    assert words in error_of(classifier.post(body, "/score"))


def test_other_errors_have_the_same_shape(classifier: RuntimeServer) -> None:
    assert "not valid JSON" in error_of(httpx.post(f"{classifier.url}/score", content=b"{"))
    body = {"input_data": {"input_string": [{"role": "user", "content": "hello"}], "parameters": {"temperature": 0.7}}}
    assert "is not served here; this model does text-classification" in error_of(
        classifier.post(body, "/score"), 404, "NotFound"
    )


def ask(body: Any, *answers: Any, task: str) -> tuple[list[Any], Any]:
    """What the dialect asks of the tasks, and how it writes these answers."""
    exchange = Azure(10).parse(json.dumps(body).encode(), {}, {})
    reply = exchange.reply([Answer(value, task, 1, 0, 0, 0) for value in answers])
    return list(exchange.requests), json.loads(reply.body)


def test_clip_rows_without_labels_take_those_of_the_row_before() -> None:
    body = table(["image1", "egg, milk, juice"], ["image2", ""], ["image3"], columns=("image", "text"))
    scores = [{"label": "milk", "score": 0.9}, {"label": "juice", "score": 0.06}, {"label": "egg", "score": 0.04}]
    requests, answer = ask(body, scores, scores, scores, task="zero-shot-image-classification")
    assert [request.inputs for request in requests] == ["image1", "image2", "image3"]
    assert {request.tasks for request in requests} == {("zero-shot-image-classification",)}
    assert all(request.parameters == {"candidate_labels": ["egg", "milk", "juice"]} for request in requests)
    assert answer == [{"probs": [0.04, 0.9, 0.06], "labels": ["egg", "milk", "juice"]}] * 3


def test_clip_needs_labels_in_its_first_row() -> None:
    with pytest.raises(Exception, match=r"input_data\[0\]: has no text, and no row before it has"):
        ask(table(["image1", None], ["image2", "egg"], columns=("image", "text")), task="")


def test_questions_are_answered_with_the_words() -> None:
    body = {"input_data": {"question": "What's my name?", "context": "My name is John"}}
    requests, answer = ask(body, {"answer": "John", "score": 0.9, "start": 11, "end": 15}, task="question-answering")
    assert requests[0].inputs == {"question": "What's my name?", "context": "My name is John"}
    assert answer == ["John"]
    two = table(["q1", "c1"], ["q2", "c2"], columns=("question", "context"))
    requests, _ = ask(two, {"answer": "a"}, {"answer": "b"}, task="question-answering")
    assert [request.inputs["question"] for request in requests] == ["q1", "q2"]


def test_words_get_one_tag_each() -> None:
    text = "george washington est allé à washington"
    entities = [
        {"entity": "I-PER", "word": "george", "start": 0, "end": 6, "score": 1.0},
        {"entity": "I-PER", "word": "wash", "start": 7, "end": 11, "score": 1.0},
        {"entity": "I-LOC", "word": "washington", "start": 29, "end": 39, "score": 1.0},
    ]
    _, answer = ask({"input_data": {"input_string": [text]}}, entities, task="token-classification")
    assert answer == [["I-PER", "I-PER", "O", "O", "O", "I-LOC"]]


def test_generated_texts_images_and_sound_have_azures_shapes() -> None:
    text = [Generated(text="a summary", finish_reason="eos_token", tokens=(), prompt_tokens=3)]
    for task in ("summarization", "translation", "text-generation"):
        assert ask({"input_data": ["long text"]}, [text], task=task)[1] == ["a summary"]
    chat = {"input_data": {"input_string": [{"role": "user", "content": "hi"}], "parameters": {"max_new_tokens": 5}}}
    requests, answer = ask(chat, [text], task="text-generation")
    assert requests[0].parameters == {"max_new_tokens": 5}
    assert answer == {"output": "a summary"}
    picture = ask(table("a horse", columns=("prompt",)), Media(b"PNG", "image/png"), task="text-to-image")[1]
    assert picture == [{"prompt": "a horse", "generated_image": "UE5H", "nsfw_content_detected": None}]
    sound = {"input_data": {"audio": ["UklGRg==", "UklGRg=="], "language": ["en", "fr"]}}
    requests, answer = ask(
        sound, Transcript(" one", 1.0), Transcript(" deux", 1.0), task="automatic-speech-recognition"
    )
    assert [request.parameters for request in requests] == [{"language": "en"}, {"language": "fr"}]
    assert answer == [{"text": " one"}, {"text": " deux"}]
    labels = [{"label": "can", "score": 0.91}, {"label": "carton", "score": 0.09}]
    assert ask(table("image1", columns=("image",)), labels, task="image-classification")[1] == [
        {"probs": [0.91, 0.09], "labels": ["can", "carton"]}
    ]
