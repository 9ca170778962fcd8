"""Open Inference Protocol v2: tensors in, tensors out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from slipway_runtime.serve.dialects.open_inference import OpenInference
from slipway_runtime.serve.inference.service import Answer
from slipway_runtime.tasks.adapter import Media
from slipway_runtime.tasks.generated import Generated

from tests.runtime.conftest import Serve
from tests.support import models
from tests.support.runtime_server import RuntimeServer

INFER = "/v2/models/emotions/infer"


@pytest.fixture(scope="module")
def classifier(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeServer]:
    folder = models.classifier(tmp_path_factory.mktemp("oip") / "classifier", labels=["joy", "anger", "fear"])
    with serve(folder, SLIPWAY_ENDPOINT="emotions") as server:
        yield server


@pytest.fixture(scope="module")
def sentences(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeServer]:
    with serve(models.sentence_transformer(tmp_path_factory.mktemp("oip") / "sentences")) as server:
        yield server


@pytest.fixture(scope="module")
def encoder(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeServer]:
    with serve(models.encoder(tmp_path_factory.mktemp("oip") / "encoder")) as server:
        yield server


def text(*values: Any, name: str = "inputs", **changes: Any) -> dict[str, Any]:
    return {"name": name, "shape": [len(values)], "datatype": "BYTES", "data": list(values)} | changes


def outputs(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    return {output["name"]: output for output in answer.json()["outputs"]}


def error_of(answer: httpx.Response, status: int = 422) -> str:
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    error: str = answer.json()["error"]
    return error


def test_the_server_and_its_model_say_what_they_are(classifier: RuntimeServer) -> None:
    def get(path: str) -> Any:
        answer = httpx.get(f"{classifier.url}{path}")
        assert answer.status_code == 200
        return answer.json()

    assert get("/v2") == {"name": "slipway", "version": "0.1.0", "extensions": []}
    assert get("/v2/health/live") == {"live": True}
    assert get("/v2/health/ready") == {"live": True, "ready": True}
    model = get("/v2/models/emotions")
    assert model == get("/v2/models/emotions/versions/1")
    assert (model["name"], model["versions"], model["platform"]) == ("emotions", ["1"], "transformers")
    assert model["inputs"] == [{"name": "inputs", "datatype": "BYTES", "shape": [-1]}]
    assert {o["name"]: o["datatype"] for o in model["outputs"]} == {
        "output": "BYTES",
        "label": "BYTES",
        "score": "FP32",
    }
    assert get("/v2/models/emotions/ready") == {"name": "emotions", "ready": True}
    assert get("/v2/models/emotions/versions/1/ready") == {"name": "emotions", "ready": True}


def test_labels_come_as_tensors_and_as_json_and_agree_with_the_other_format(classifier: RuntimeServer) -> None:
    texts = ["the film was great", "an awful movie"]
    answer = classifier.post({"id": "42", "inputs": [text(*texts)], "parameters": {"top_k": 2}}, INFER)
    body, found = answer.json(), outputs(answer)
    assert (body["id"], body["model_name"], body["model_version"]) == ("42", "emotions", "1")
    expected = classifier.post({"inputs": texts, "parameters": {"top_k": 2}}).json()
    assert [[e["label"] for e in json.loads(row)] for row in found["output"]["data"]] == [
        [entry["label"] for entry in row] for row in expected
    ]
    assert found["label"]["shape"] == found["score"]["shape"] == [2, 2]
    assert found["label"]["data"] == [entry["label"] for row in expected for entry in row]
    assert found["score"]["data"] == pytest.approx([entry["score"] for row in expected for entry in row], abs=1e-5)
    assert found["score"]["datatype"] == "FP32"


def test_data_may_be_nested_and_parameters_may_be_tensors(classifier: RuntimeServer) -> None:
    nested = text("a cat", "a dog", shape=[2, 1], data=[["a cat"], ["a dog"]])
    top_k = {"name": "top_k", "shape": [1], "datatype": "INT32", "data": [1]}
    found = outputs(classifier.post({"inputs": [nested, top_k]}, INFER))
    assert found["label"]["shape"] == [2, 1]


def test_only_the_outputs_that_are_asked_for_come_back(classifier: RuntimeServer) -> None:
    asked = {"inputs": [text("a cat")], "outputs": [{"name": "score"}]}
    assert list(outputs(classifier.post(asked, INFER))) == ["score"]
    asked["outputs"] = [{"name": "scores"}]
    assert error_of(classifier.post(asked, INFER)) == (
        "outputs: there is no 'scores' here; this answer has output, label, score"
    )


def test_vectors_are_fp32_tensors(sentences: RuntimeServer, encoder: RuntimeServer) -> None:
    texts = ["a cat", "the river of paris is great"]
    found = outputs(sentences.post({"inputs": [text(*texts)]}, "/v2/models/sentences/infer"))
    expected = sentences.post({"inputs": texts}).json()
    assert found["embeddings"]["shape"] == [2, len(expected[0])]
    assert found["embeddings"]["data"] == pytest.approx([x for row in expected for x in row], abs=1e-5)

    found = outputs(encoder.post({"inputs": [text(*texts)]}, "/v2/models/encoder/infer"))
    lengths, (rows, longest, width) = found["tokens"]["data"], found["embeddings"]["shape"]
    assert (rows, longest) == (2, max(lengths))
    first = found["embeddings"]["data"][: longest * width]
    expected = encoder.post({"inputs": texts[0]}).json()
    assert first[: lengths[0] * width] == pytest.approx([x for token in expected for x in token], abs=1e-5)
    assert set(first[lengths[0] * width :]) == {0.0}


def test_one_sentence_is_compared_with_many(sentences: RuntimeServer) -> None:
    tensors = [text("a cat", name="source_sentence"), text("a dog", "it is rain", name="sentences")]
    found = outputs(sentences.post({"inputs": tensors}, "/v2/models/sentences/infer"))
    assert found["scores"]["shape"] == [2]
    expected = sentences.post({"inputs": {"source_sentence": "a cat", "sentences": ["a dog", "it is rain"]}}).json()
    assert found["scores"]["data"] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "inputs: is missing"),
        ({"inputs": []}, "inputs: is empty"),
        ({"inputs": [text("a", shape=[2])]}, "inputs[0].data: has 1 elements, the shape [2] means 2"),
        ({"inputs": [text(shape=[1, 2], data=[["a"], ["b"]])]}, "has 2 entries where the shape says 1"),
        ({"inputs": [text("a", ["b"], shape=[2])]}, "nested deeper than the shape"),
        ({"inputs": [text("a", shape=[-1])]}, "negative dimension"),
        ({"inputs": [text(7)]}, "element 0 is 7, which is no BYTES"),
        ({"inputs": [text("a", datatype="STRING")]}, "STRING"),
        ({"inputs": [text(1.0, datatype="FP32")]}, "inputs[0].datatype: FP32 is no input"),
        ({"inputs": [text("a"), text(True, name="top_k", datatype="INT8")]}, "element 0 is True, which is no INT8"),
        ({"inputs": [text("a"), text(300, name="top_k", datatype="UINT8")]}, "300, which is no UINT8"),
        ({"inputs": [text("a"), text("x", name="tip_k")]}, "parameters.tip_k: unknown parameter (did you mean top_k?)"),
        ({"inputs": [text("a"), text("a")]}, "has the tensor 'inputs' twice"),
        ({"inputs": [text("a", "b"), text("c", name="text_pair")]}, "inputs has 2, text_pair has 1"),
        ({"inputs": [text("a", "")]}, "row 1: inputs: is empty"),
        ({"inputs": [text("a")], "input": 1}, "input: unknown field (did you mean inputs?)"),
    ],
)
def test_bad_requests_name_the_field(classifier: RuntimeServer, body: Any, words: str) -> None:
    assert words in error_of(classifier.post(body, INFER))


def test_bodies_that_are_no_json_are_refused(classifier: RuntimeServer) -> None:
    for content, words in ((b"", "is empty"), (b"{", "not valid JSON"), (b'{"inputs": [NaN]}', "not valid JSON")):
        assert words in error_of(httpx.post(f"{classifier.url}{INFER}", content=content))
    headers = {"Inference-Header-Content-Length": "10"}
    assert "binary tensor" in error_of(httpx.post(f"{classifier.url}{INFER}", content=b"{}", headers=headers), 415)


def test_other_models_and_versions_are_not_found(classifier: RuntimeServer) -> None:
    for path in ("/v2/models/other/infer", "/v2/models/owner%2Fname/infer"):
        answer = classifier.post({"inputs": [text("a")]}, path)
        assert "is not served here; this is emotions or classifier" in error_of(answer, 404)
    body = {"inputs": [text("a")]}
    assert "this is version 1" in error_of(classifier.post(body, "/v2/models/emotions/versions/2/infer"), 404)
    for path in ("/v2/models/other", "/v2/models/other/ready", "/v2/models/emotions/versions/9"):
        assert error_of(httpx.get(f"{classifier.url}{path}"), 404)


def test_a_request_has_a_bounded_number_of_rows(classifier: RuntimeServer) -> None:
    assert "has 257 rows, at most 256" in error_of(classifier.post({"inputs": [text(*["a"] * 257)]}, INFER))


def answers_of(task: str, *values: Any) -> dict[str, Any]:
    """The outputs for values that adapters made."""
    dialect = OpenInference("m", lambda: "1", 10)
    exchange = dialect.parse(json.dumps({"inputs": [text(*["x"] * len(values))]}).encode(), {}, {})
    body = exchange.reply([Answer(value, task, 1, 0, 0, 0) for value in values]).body
    return {output["name"]: output for output in json.loads(body)["outputs"]}


def test_answers_of_other_tasks_have_natural_tensors() -> None:
    found = answers_of("question-answering", {"answer": "John", "score": 0.5, "start": 0, "end": 4})
    assert {name: (o["datatype"], o["data"]) for name, o in found.items() if name != "output"} == {
        "answer": ("BYTES", ["John"]), "score": ("FP32", [0.5]), "start": ("INT64", [0]), "end": ("INT64", [4]),
    }  # fmt: skip
    generated = Generated(text="a summary", finish_reason="eos_token", tokens=(), prompt_tokens=3)
    summary = answers_of("summarization", [[generated]])["summary_text"]
    assert (summary["shape"], summary["data"]) == ([1], ["a summary"])
    media = answers_of("text-to-speech", Media(b"RIFF", "audio/wav"))
    assert media["content"]["data"] == ["UklGRg=="]
    assert media["content"]["parameters"] == {"content_type": "audio/wav"}
    ragged = answers_of("token-classification", [{"entity": "PER"}], [])
    assert list(ragged) == ["output"]
    assert ragged["output"]["data"] == ['{"entity":"PER"}', "[]"]


def test_rows_become_what_the_tasks_take(tmp_path: Path) -> None:
    dialect = OpenInference("m", lambda: "1", 10)

    def requests(*tensors: dict[str, Any], **parameters: Any) -> list[Any]:
        body = json.dumps({"inputs": tensors, "parameters": parameters})
        return [(r.inputs, r.parameters) for r in dialect.parse(body.encode(), {}, {}).requests]

    pair = (text("who?", "where?", name="question"), text("John", "Paris", name="context"))
    assert requests(*pair) == [
        ({"question": "who?", "context": "John"}, {}), ({"question": "where?", "context": "Paris"}, {}),
    ]  # fmt: skip
    labels = text("urgent", "not urgent", name="candidate_labels")
    assert requests(text("a"), labels) == [("a", {"candidate_labels": ["urgent", "not urgent"]})]
    assert requests(text("a"), multi_label=True, binary_data_output=False) == [("a", {"multi_label": True})]
    assert requests(text("aGVsbG8=", name="image")) == [("aGVsbG8=", {})]
    assert requests(text("a", name="input-0")) == [("a", {})]
    ranked = requests(text("q", name="query"), text("a", "b", name="texts"))
    assert ranked == [({"query": "q", "texts": ["a", "b"]}, {})]
