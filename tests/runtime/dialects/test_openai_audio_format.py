"""/v1/audio: forms, and transcripts in five formats."""

from __future__ import annotations

from typing import Any

import httpx
import orjson
import pytest
from slipway_runtime.errors import InvalidInput, UnsupportedEncoding
from slipway_runtime.serve.dialects import Exchange, Reply
from slipway_runtime.serve.dialects.openai import Context
from slipway_runtime.serve.dialects.openai.audio import Audio
from slipway_runtime.serve.dialects.openai.forms import read_form
from slipway_runtime.serve.dialects.openai.subtitles import srt, vtt
from slipway_runtime.serve.inference.service import Answer
from slipway_runtime.tasks.transcript import Segment, Transcript, Word

WAV = b"RIFF\x00\r\n--x\xff"
TRANSCRIPT = Transcript(
    " Hello there. Bye.",
    62.5,
    "en",
    "english",
    granularity="segment",
    segments=(Segment(" Hello there.", 0.0, 1.25, (7, 8), 0.0, 1.1, -0.4), Segment(" Bye.", 61.0, None, (9,))),
    words=(Word(" Hello", 0.0, 0.5), Word(" Bye.", 61.0, None)),
)


def form(fields: dict[str, Any], **files: Any) -> tuple[bytes, dict[str, str]]:
    request = httpx.Request("POST", "http://x", data=fields, files=files or {"file": ("a.wav", WAV)})
    return request.read(), {"content-type": request.headers["content-type"]}


def exchange(task: Any = "transcribe", **fields: Any) -> Exchange:
    body, headers = form(fields)
    return Audio(Context("endpoint"), task).parse(body, headers, {})


def reply(**fields: Any) -> Reply:
    return exchange(**fields).reply([Answer(TRANSCRIPT, "automatic-speech-recognition", 9, 0, 0, 0)])


def test_the_file_is_read_as_it_is() -> None:
    request = exchange(model="endpoint").requests[0]
    assert (request.inputs, request.model, request.parameters) == (WAV, "endpoint", {})
    assert request.tasks == ("automatic-speech-recognition",)


@pytest.mark.parametrize(
    ("fields", "parameters"),
    [
        ({"language": "de", "prompt": "Köln", "temperature": "0.2"},
         {"language": "de", "prompt": "Köln", "temperature": 0.2}),
        ({"response_format": "text", "stream": "false"}, {}),
        ({"response_format": "srt"}, {"return_timestamps": True}),
        ({"response_format": "verbose_json"}, {"return_timestamps": True}),
        ({"response_format": "verbose_json", "timestamp_granularities[]": ["segment", "word"]},
         {"return_timestamps": "word"}),
        ({"task": "translate"}, {"task": "translate"}),
        ({"prompt": "", "chunking_strategy": "auto"}, {}),
    ],
)  # fmt: skip
def test_fields_become_parameters_of_the_task(fields: dict[str, Any], parameters: dict[str, Any]) -> None:
    assert exchange(**fields).requests[0].parameters == parameters


@pytest.mark.parametrize(
    ("fields", "field", "problem"),
    [
        ({"response_format": "xml"}, "response_format", "Invalid enum value 'xml'"),
        ({"temperature": "hot"}, "temperature", "must be a number, got 'hot'"),
        ({"temperature": "7"}, "temperature", "Expected float <= 1.0"),
        ({"stream": "true"}, "stream", "a transcript is not streamed"),
        ({"timestamp_granularities[]": "word"}, "timestamp_granularities", "needs response_format verbose_json"),
        ({"timestamp_granularities[]": "char", "response_format": "verbose_json"}, "timestamp_granularities[0]",
         "Invalid enum value 'char'"),
        ({"langauge": "de"}, "langauge", "unknown field (did you mean language?)"),
        ({"language": ["de", "en"]}, "language", "is given twice"),
        ({"task": "translate", "language": "de"}, "language", "is found by the model"),
    ],
)  # fmt: skip
def test_bad_fields_are_named(fields: dict[str, Any], field: str, problem: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        exchange(**fields)
    assert caught.value.field == field
    assert caught.value.problem.startswith(problem), caught.value.problem


def test_a_form_without_a_file_is_refused() -> None:
    body, headers = form({"model": "a"}, other=("a.wav", WAV))
    with pytest.raises(InvalidInput, match=r"^file: is missing"):
        Audio(Context("x"), "transcribe").parse(body, headers, {})
    body, headers = form({"file": "c29tZQ=="}, other=("a.wav", WAV))
    with pytest.raises(InvalidInput, match=r"^file: must be a file of the form"):
        Audio(Context("x"), "transcribe").parse(body, headers, {})


@pytest.mark.parametrize("content_type", ["", "application/json", "multipart/form-data", "audio/wav"])
def test_what_is_no_form_is_refused(content_type: str) -> None:
    with pytest.raises(UnsupportedEncoding, match="multipart/form-data"):
        read_form(b"{}", {"content-type": content_type})


@pytest.mark.parametrize("cut", [0, 1, 40, 120, -3])
def test_a_form_that_is_cut_off_is_refused(cut: int) -> None:
    body, headers = form({"model": "a"})
    with pytest.raises(InvalidInput, match="body"):
        read_form(body[:cut], headers)


def test_a_form_of_very_many_fields_is_refused() -> None:
    body, headers = form({f"f{i}": "a" for i in range(65)})
    with pytest.raises(InvalidInput, match="more than 64 fields"):
        read_form(body, headers)


def test_a_field_that_is_no_text_is_refused() -> None:
    body, headers = form({"prompt": b"\xff\xfe"})
    with pytest.raises(InvalidInput, match="prompt: is not UTF-8"):
        read_form(body, headers)


def test_json_is_the_text_alone() -> None:
    assert orjson.loads(reply().body) == {
        "text": "Hello there. Bye.",
        "usage": {"type": "duration", "seconds": 62.5},
    }


def test_text_is_plain() -> None:
    answer = reply(response_format="text")
    assert (answer.body, answer.media_type) == (b"Hello there. Bye.\n", "text/plain; charset=utf-8")


def test_verbose_json_has_segments_unless_words_are_asked_for() -> None:
    content = orjson.loads(reply(response_format="verbose_json").body)
    assert {name: content[name] for name in ("task", "language", "duration", "text")} == {
        "task": "transcribe", "language": "english", "duration": 62.5, "text": "Hello there. Bye."
    }  # fmt: skip
    assert "words" not in content
    assert content["segments"][0] == {
        "id": 0, "seek": 0, "start": 0.0, "end": 1.25, "text": " Hello there.", "tokens": [7, 8], "temperature": 0.0,
        "avg_logprob": -0.4, "compression_ratio": 1.1, "no_speech_prob": None,
    }  # fmt: skip
    assert content["segments"][1]["end"] == 62.5
    words = orjson.loads(reply(response_format="verbose_json", **{"timestamp_granularities[]": "word"}).body)
    assert "segments" not in words
    assert words["words"] == [
        {"word": "Hello", "start": 0.0, "end": 0.5}, {"word": "Bye.", "start": 61.0, "end": 62.5}
    ]  # fmt: skip


def test_subtitles() -> None:
    assert reply(response_format="srt").body.decode() == (
        "1\n00:00:00,000 --> 00:00:01,250\nHello there.\n\n2\n00:01:01,000 --> 00:01:02,500\nBye.\n\n"
    )
    assert reply(response_format="vtt").body.decode() == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.250\nHello there.\n\n00:01:01.000 --> 00:01:02.500\nBye.\n\n"
    )
    assert reply(response_format="vtt").media_type == "text/vtt; charset=utf-8"


def test_subtitles_cannot_be_broken_by_their_text() -> None:
    segment = [Segment("a --> b\n\n2\n", 3599.9996, 3600.0)]
    assert srt(segment) == "1\n01:00:00,000 --> 01:00:00,000\na -> b\n2\n\n"
    assert vtt([]) == "WEBVTT\n\n"
