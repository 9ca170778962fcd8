"""Transcriptions and translations of a tiny Whisper by OpenAI's own client; sound as the body by InferenceClient."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from huggingface_hub import InferenceClient
from openai import AsyncOpenAI, OpenAI

from tests.runtime.conftest import Serve
from tests.support.runtime_server import RuntimeServer
from tests.support.sounds import chirp, encoded
from tests.support.tiny.audio import whisper

WAV = encoded(chirp(1.5))


@pytest.fixture(scope="module")
def server(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeServer]:
    folder = whisper(tmp_path_factory.mktemp("models") / "tiny-whisper")
    with serve(folder, SLIPWAY_ENDPOINT="ears") as running:
        yield running


@pytest.fixture(scope="module")
def text(server: RuntimeServer) -> str:
    """What Hugging Face's format says."""
    answer = httpx.post(server.url, content=WAV, headers={"Content-Type": "audio/x-wav"})
    assert answer.status_code == 200, answer.text
    found: str = answer.json()["text"]
    return found


def test_a_transcription(client: OpenAI, text: str) -> None:
    answer = client.audio.transcriptions.create(model="ears", file=("a.wav", WAV))
    assert answer.text == text.strip()
    usage: Any = answer.usage
    assert (usage.type, usage.seconds) == ("duration", 1.5)


async def test_async_client(server: RuntimeServer, text: str) -> None:
    async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        assert (await client.audio.transcriptions.create(model="ears", file=("a.wav", WAV))).text == text.strip()


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # says the client of its own method
def test_a_translation(client: OpenAI) -> None:
    assert isinstance(client.audio.translations.create(model="ears", file=("a.wav", WAV)).text, str)


@pytest.mark.parametrize("form", ["text", "srt", "vtt"])
def test_formats_that_are_text(client: OpenAI, text: str, form: Any) -> None:
    answer: Any = client.audio.transcriptions.create(model="ears", file=("a.wav", WAV), response_format=form)
    if form == "text":
        assert answer == f"{text.strip()}\n"
    else:
        assert " --> " in answer
        assert answer.startswith("WEBVTT" if form == "vtt" else "1\n")


def test_verbose_json_with_words_and_segments(client: OpenAI) -> None:
    answer = client.audio.transcriptions.create(
        model="ears", file=("a.wav", WAV), response_format="verbose_json", timestamp_granularities=["word", "segment"]
    )
    assert answer.duration == 1.5
    assert answer.segments
    assert answer.words is not None
    assert all(0 <= word.start <= word.end for word in answer.words)


def test_inference_client_sends_the_sound_as_the_body(server: RuntimeServer, text: str) -> None:
    with InferenceClient(model=server.url) as client:
        assert client.automatic_speech_recognition(WAV).text == text  # without a Content-Type


@pytest.mark.parametrize(
    ("fields", "param", "problem"),
    [
        ({"file": ("a.wav", b"RIFF nothing")}, "file", ""),
        ({"file": ("a.wav", WAV), "language": "klingon"}, "language", ""),
        ({"file": ("a.wav", WAV), "temperature": 3}, "temperature", "Expected float <= 1.0"),
        ({"file": ("a.wav", WAV), "extra_body": {"speed": 2}}, "speed", "unknown field"),
    ],
)
def test_bad_requests_name_the_field(client: OpenAI, fields: dict[str, Any], param: str, problem: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.audio.transcriptions.create(model="ears", **fields)
    assert caught.value.param == param
    assert f"{param}: {problem}" in caught.value.message


def test_another_model_is_404(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.audio.transcriptions.create(model="whisper-1", file=("a.wav", WAV))
    assert caught.value.code == "model_not_found"


def test_json_is_no_form(server: RuntimeServer) -> None:
    answer = server.post({"file": "a"}, path="/v1/audio/transcriptions")
    assert (answer.status_code, answer.json()["error"]["type"]) == (415, "invalid_request_error")
    assert "multipart/form-data" in answer.json()["error"]["message"]


def test_a_base64_of_a_url_is_refused_and_nothing_is_fetched(server: RuntimeServer) -> None:
    answer = server.post({"inputs": "http://127.0.0.1:9/a.wav"})
    assert answer.status_code == 422
    assert answer.json()["error"].startswith("inputs: is a URL, which is not fetched here")
