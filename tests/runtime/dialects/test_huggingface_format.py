"""Hugging Face's format: bodies that are media, old clients, and answers that are not JSON."""

from __future__ import annotations

import io
from typing import Any

import orjson
import pytest
from PIL import Image
from slipway_runtime.errors import InvalidInput, UnsupportedEncoding
from slipway_runtime.serve.dialects import Exchange, Reply
from slipway_runtime.serve.dialects.huggingface import HuggingFace
from slipway_runtime.serve.inference.service import Answer
from slipway_runtime.tasks.adapter import Media
from slipway_runtime.tasks.transcript import Segment, Transcript

ROOT, ELSEWHERE = HuggingFace(data=True), HuggingFace()
PNG = b"\x89PNG\r\n\x1a\n"


def parsed(body: Any, content_type: str | None = None, dialect: HuggingFace = ROOT, **headers: Any) -> Exchange:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    if content_type is not None:
        given["content-type"] = content_type
    return dialect.parse(body if isinstance(body, bytes) else orjson.dumps(body), given, {})


def reply(value: Any, task: str, body: Any = None, **headers: Any) -> Reply:
    return parsed(body or {"inputs": "a"}, **headers).reply([Answer(value, task, 1, 0, 0, 0)])


@pytest.mark.parametrize("content_type", ["image/png", "audio/x-wav", "audio/flac; rate=8000", "IMAGE/JPEG"])
@pytest.mark.parametrize("body", [PNG, b'{"a": 1}', b"["])
def test_a_body_of_images_or_sound_is_the_input(content_type: str, body: bytes) -> None:
    assert parsed(body, content_type).requests[0].inputs == body


@pytest.mark.parametrize("content_type", [None, "", "application/octet-stream"])
def test_without_a_type_a_body_is_json_if_it_begins_so(content_type: str | None) -> None:
    assert parsed(PNG, content_type).requests[0].inputs == PNG
    assert parsed(b' \n{"inputs": "a"}', content_type).requests[0].inputs == "a"
    with pytest.raises(InvalidInput, match="the body must be a JSON object"):
        parsed(b"[1]", content_type)


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/json; charset=utf-8", "text/plain", "application/x-www-form-urlencoded",
     "application/problem+json"],
)  # fmt: skip
def test_types_of_json_are_json(content_type: str) -> None:
    assert parsed(b'{"inputs": "a"}', content_type).requests[0].inputs == "a"
    with pytest.raises(InvalidInput, match="not valid JSON"):
        parsed(PNG, content_type)


@pytest.mark.parametrize("content_type", ["video/mp4", "application/xml", "multipart/form-data; boundary=x"])
def test_other_types_are_refused(content_type: str) -> None:
    with pytest.raises(UnsupportedEncoding, match="is not read here; send application/json"):
        parsed(PNG, content_type)


@pytest.mark.parametrize("body", [b"", b" \n"])
@pytest.mark.parametrize("content_type", [None, "application/json"])
def test_an_empty_body_is_refused(body: bytes, content_type: str | None) -> None:
    with pytest.raises(InvalidInput, match="the body is empty; send"):
        parsed(body, content_type)


def test_pais_data_stands_for_inputs_at_the_root_alone() -> None:
    assert parsed({"data": ["a"]}).requests[0].inputs == ["a"]
    with pytest.raises(InvalidInput, match="data: is given beside inputs; send one of them"):
        parsed({"data": "a", "inputs": "a"})
    with pytest.raises(InvalidInput, match="inputs: is missing"):
        parsed({"data": "a"}, dialect=ELSEWHERE)


def test_parameters_beside_inputs_are_parameters() -> None:
    request = parsed({"inputs": "a", "normalize": True, "parameters": {"top_k": 1}}).requests[0]
    assert request.parameters == {"top_k": 1, "normalize": True}


def test_visual_question_answering_as_inference_client_sends_it() -> None:
    request = parsed({"inputs": "aW1n", "question": "what", "image": "aW1n", "parameters": {"top_k": 2}}).requests[0]
    assert (request.inputs, request.parameters) == ({"image": "aW1n", "question": "what"}, {"top_k": 2})


def test_the_url_that_inference_client_puts_into_a_tables_parameters_is_dropped() -> None:
    table = {"query": "how", "table": {"a": ["1"]}}
    assert parsed({"inputs": table, "parameters": {"model": "http://x"}}).requests[0].parameters == {}
    assert parsed({"inputs": "a", "parameters": {"model": "http://x"}}).requests[0].parameters == {"model": "http://x"}


@pytest.mark.parametrize(
    ("headers", "body", "wait"),
    [
        ({}, {"inputs": "a"}, False),
        ({"x_wait_for_model": "true"}, {"inputs": "a"}, True),
        ({"x_wait_for_model": "1"}, {"inputs": "a"}, True),
        ({}, {"inputs": "a", "options": {"wait_for_model": True, "use_cache": False}}, True),
    ],
)
def test_old_ways_to_wait_for_the_model(headers: dict[str, Any], body: dict[str, Any], wait: bool) -> None:
    assert parsed(body, **headers).requests[0].wait_for_model is wait


SCORES = [{"label": "film", "score": 0.75}, {"label": "city", "score": 0.25}]
OLD = {"sequence": "a", "labels": ["film", "city"], "scores": [0.75, 0.25]}


@pytest.mark.parametrize(
    ("agent", "expected"),
    [
        ("unknown/None; hf_hub/0.36.2; python/3.11", OLD),
        ("unknown/None; hf_hub/1.1.0; python/3.11", OLD),
        ("unknown/None; hf_hub/1.2.0; python/3.11", SCORES),
        ("unknown/None; hf_hub/2.4.0; python/3.11", SCORES),
        ("curl/8", SCORES),
    ],
)
def test_zero_shot_classification_for_the_client_that_asks(agent: str, expected: Any) -> None:
    task = "zero-shot-classification"
    assert orjson.loads(reply(SCORES, task, user_agent=agent).body) == expected
    listed = orjson.loads(reply([SCORES], task, {"inputs": ["a"]}, user_agent=agent).body)
    assert listed == [expected]


def test_other_tasks_do_not_change_with_the_client() -> None:
    assert orjson.loads(reply(SCORES, "text-classification", user_agent="hf_hub/0.36.2").body) == SCORES


def test_transcripts() -> None:
    one = Transcript(" Hello.", 1.0, granularity="segment", segments=(Segment(" Hello.", 0.0, 0.5),))
    written = {"text": " Hello.", "chunks": [{"text": " Hello.", "timestamp": [0.0, 0.5]}]}
    task = "automatic-speech-recognition"
    assert orjson.loads(reply(one, task).body) == written
    assert orjson.loads(reply([one, Transcript("a", 1.0)], task).body) == [written, {"text": "a"}]


def test_sound_is_sent_as_it_is() -> None:
    answer = reply(Media(b"RIFF", "audio/wav"), "text-to-speech", accept="audio/flac")
    assert (answer.body, answer.media_type) == (b"RIFF", "audio/wav")


def image(mode: str = "RGB") -> Media:
    encoded = io.BytesIO()
    Image.new(mode, (4, 3), "red").save(encoded, format="PNG")
    return Media(encoded.getvalue(), "image/png")


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", "image/png"),
        ("*/*", "image/png"),
        ("image/png", "image/png"),
        ("image/*", "image/png"),
        ("image/jpeg", "image/jpeg"),
        ("image/webp,*/*;q=0.8", "image/webp"),
        ("text/html, image/jpeg;q=0.5, image/webp;q=0.9", "image/webp"),
        ("image/jpeg;q=0, image/png", "image/png"),
        ("image/jpeg;q=x", "image/png"),
        ("image/avif", "image/png"),
        ("application/json", "image/png"),
    ],
)
def test_an_image_comes_in_the_format_that_is_accepted(accept: str, kind: str) -> None:
    answer = reply(image(), "text-to-image", accept=accept)
    assert answer.media_type == kind
    assert Image.open(io.BytesIO(answer.body)).get_format_mimetype() == kind


@pytest.mark.parametrize("kind", ["image/jpeg", "image/webp"])
@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "I;16"])
def test_images_of_every_mode_can_be_encoded_anew(mode: str, kind: str) -> None:
    encoded = io.BytesIO()
    Image.new(mode, (4, 3)).save(encoded, format="PNG")
    answer = reply(Media(encoded.getvalue(), "image/png"), "depth-estimation", accept=kind)
    assert Image.open(io.BytesIO(answer.body)).size == (4, 3)
