"""Bad requests: the field named, what is allowed, `error` always a string, never a traceback or a path."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import httpx
import pytest

from tests.support.runtime_server import RuntimeServer

# body, the start of the error. Against the classifier.
REFUSED: list[tuple[Any, str]] = [
    ({}, 'inputs: is missing; send {"inputs": …, "parameters": {…}}'),
    ({"inputs": None}, "inputs: must be a string or a list of strings, got null"),
    ({"inputs": 7}, "inputs: must be a string or a list of strings, got a number"),
    ({"inputs": ""}, "inputs: is empty; give a text"),
    ({"inputs": " \n "}, "inputs: is empty; give a text"),
    ({"inputs": []}, "inputs: is empty; give at least one"),
    ({"inputs": ["good", 3]}, "inputs[1]: must be a string, got a number"),
    ({"inputs": ["good", ""]}, "inputs[1]: is empty; give a text"),
    ({"inputs": [["a", "b"]]}, "inputs[0]: must be a string, got a list"),
    ({"inputs": {"txt": "a"}}, "inputs: must be a string, or an object with text and perhaps text_pair; got an object"),
    ({"inputs": {"text": "a", "text_pair": 1}}, "inputs.text_pair: must be a string that is not empty"),
    ({"inputs": ["a"] * 257}, "inputs: has 257 entries, at most 256 are allowed; send several requests"),
    ({"inputs": "a", "parameters": []}, "parameters: must be an object"),
    (
        {"inputs": "a", "parameters": {"topk": 1}},
        "parameters.topk: unknown parameter (did you mean top_k?); this task takes ",
    ),
    ({"inputs": "a", "temperature": 1}, "parameters.temperature: unknown parameter; this task takes "),
    ({"inputs": "a", "parameters": {"top_k": "3"}}, "parameters.top_k: Expected int, got str"),
    ({"inputs": "a", "parameters": {"top_k": True}}, "parameters.top_k: Expected int, got bool"),
    ({"inputs": "a", "parameters": {"top_k": 0}}, "parameters.top_k: Expected int >= 1"),
    (
        {"inputs": "a", "parameters": {"function_to_apply": "tanh"}},
        "parameters.function_to_apply: Invalid enum value 'tanh'",
    ),
    ({"inputs": "a", "top_k": 1, "parameters": {"top_k": 2}}, "parameters.top_k: is given twice"),
    ({"inputs": "a", "options": {"wait": True}}, "options.wait: unknown option; allowed are wait_for_model"),
    ({"inputs": "a", "options": {"wait_for_model": "yes"}}, "options.wait_for_model: must be true or false"),
]
BROKEN = [b"", b"  ", b"{", b'{"inputs": NaN}', b'{"inputs": Infinity}', b'{"inputs": "\\ud800"}', b"\xff\xfe",
          b'["a"]', b'"a"', b"[" * 100_000, b'{"inputs": "a"} x']  # fmt: skip


@pytest.mark.parametrize(("body", "error"), REFUSED)
def test_refused_with_the_field_and_what_is_allowed(classifier: RuntimeServer, body: Any, error: str) -> None:
    answer = classifier.post(body)
    assert answer.status_code == 422
    assert answer.json()["error"].startswith(error), answer.json()["error"]
    assert answer.json()["error_type"] == "validation"


@pytest.mark.parametrize("body", BROKEN, ids=lambda body: body[:20])
def test_what_is_not_json_is_refused_as_such(classifier: RuntimeServer, body: bytes) -> None:
    answer = httpx.post(classifier.url, content=body)
    assert answer.status_code == 422
    assert "body" in answer.json()["error"]


def test_a_null_parameter_counts_as_absent(classifier: RuntimeServer) -> None:
    plain = classifier.post({"inputs": "a"})
    assert classifier.post({"inputs": "a", "parameters": {"top_k": None}}).json() == plain.json()
    assert classifier.post({"inputs": "a", "parameters": None}).json() == plain.json()


@pytest.mark.parametrize("text", ["\u0000", "a\u0000b", "\u202eright to left", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 🐈‍⬛", "e\u0301", "\ufeff"])
def test_odd_unicode_is_answered(classifier: RuntimeServer, text: str) -> None:
    assert classifier.post({"inputs": text}).status_code == 200


def test_a_body_over_the_limit_is_refused_before_it_is_read(classifier: RuntimeServer) -> None:
    answer = httpx.post(classifier.url, content=b"x" * (2 * 1024**2 + 1))
    assert answer.status_code == 413
    assert answer.json()["error"] == "the body has 2097153 bytes, at most 2097152 are allowed; send several requests"


def test_a_streamed_body_over_the_limit_is_refused_while_it_arrives(classifier: RuntimeServer) -> None:
    def chunks() -> Any:
        for _ in range(100):
            yield b"x" * 100_000

    try:
        answer = httpx.post(classifier.url, content=chunks())
    except httpx.WriteError:
        return  # refused so early that the client was still sending
    assert answer.status_code == 413


def test_a_compressed_body_is_refused_unopened(classifier: RuntimeServer) -> None:
    answer = httpx.post(classifier.url, content=b"x", headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 415


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "", "text/plain", None])
def test_content_types_that_clients_send_are_all_taken_as_json(
    classifier: RuntimeServer, content_type: str | None
) -> None:
    headers = (
        [] if content_type is None else ["-H", f"Content-Type: {content_type}" if content_type else "Content-Type:"]
    )
    done = subprocess.run(
        ["curl", "-s", *headers, "-d", '{"inputs": "a film"}', classifier.url], check=True, capture_output=True
    )
    assert "label" in json.loads(done.stdout)[0][0]


def test_another_media_type_is_refused(classifier: RuntimeServer) -> None:
    answer = httpx.post(classifier.url, content=b"RIFF", headers={"Content-Type": "video/mp4"})
    assert (answer.status_code, answer.json()["error_type"]) == (415, "validation")


@pytest.mark.parametrize("content_type", ["audio/x-wav", "image/png", "application/octet-stream", None])
def test_a_task_of_texts_refuses_a_recording_or_an_image(classifier: RuntimeServer, content_type: str | None) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    answer = httpx.post(classifier.url, content=b"RIFF", headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (
        422,
        'the body is no JSON object, and text-classification takes no image or sound; send {"inputs": …}',
    )


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("PUT", "/", 405),
        ("POST", "/health", 405),
        ("POST", "/pipeline/translation", 404),
        ("POST", "/models/other/model", 404),
        ("GET", "/metrics", 404),
        ("GET", "/status", 404),
    ],
)
def test_unknown_routes_and_names_answer_in_the_same_shape(
    classifier: RuntimeServer, method: str, path: str, status: int
) -> None:
    answer = httpx.request(method, classifier.url + path, json={"inputs": "a"} if method == "POST" else None)
    assert answer.status_code == status
    assert isinstance(answer.json()["error"], str)


def test_a_task_of_another_model_is_refused_with_those_that_are_served(minilm: RuntimeServer) -> None:
    answer = minilm.post({"inputs": "a"}, path="/pipeline/fill-mask")
    assert answer.status_code == 404
    assert (
        answer.json()["error"]
        == "task 'fill-mask' is not served here; this model does sentence-similarity, feature-extraction"
    )


@pytest.mark.parametrize(
    ("inputs", "error"),
    [
        ("a", "inputs: must be an object with source_sentence and sentences, got a string"),
        ({"source_sentence": "a"}, "inputs: must have exactly source_sentence and sentences, got source_sentence"),
        ({"source_sentence": "a", "sentences": "b"}, "inputs.sentences: must be a list of strings, got a string"),
        ({"source_sentence": 1, "sentences": ["b"]}, "inputs.source_sentence: must be a string, got a number"),
        ({"source_sentence": "a", "sentences": []}, "inputs.sentences: is empty; give at least one"),
        ({"source_sentence": "a", "sentences": ["b", None]}, "inputs.sentences[1]: must be a string, got null"),
    ],
)
def test_sentence_similarity_names_the_field(minilm: RuntimeServer, inputs: Any, error: str) -> None:
    answer = minilm.post({"inputs": inputs}, path="/pipeline/sentence-similarity")
    assert (answer.status_code, answer.json()["error"]) == (422, error)


@pytest.mark.parametrize(
    ("parameters", "error"),
    [
        ({"targets": []}, "parameters.targets: Expected array of length >= 1"),
        ({"targets": [1]}, "parameters.targets[0]: Expected str, got int"),
        ({"targets": {"a": 1}}, "parameters.targets: Expected str | array"),
    ],
)
def test_fill_mask_targets_are_checked(masked_lm: RuntimeServer, parameters: Any, error: str) -> None:
    answer = masked_lm.post({"inputs": "a [MASK]", "parameters": parameters})
    assert answer.status_code == 422
    assert answer.json()["error"].startswith(error), answer.json()["error"]


def test_no_answer_to_bad_input_shows_internals_and_the_server_still_answers(classifier: RuntimeServer) -> None:
    for body, _ in REFUSED:
        text = classifier.post(body).text
        assert "Traceback" not in text
        assert "site-packages" not in text
        assert ".py" not in text
    assert classifier.post({"inputs": "a film"}).status_code == 200
    assert classifier.probe("livez") == 200
