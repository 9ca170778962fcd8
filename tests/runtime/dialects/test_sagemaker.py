"""SageMaker's /ping and /invocations."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.runtime.conftest import Serve
from tests.support import models
from tests.support.runtime_server import RuntimeServer, serving
from tests.support.tiny import generation, multimodal, vision


@pytest.fixture(scope="module")
def classifier(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeServer]:
    with serve(models.classifier(tmp_path_factory.mktemp("sagemaker") / "classifier")) as server:
        yield server


def test_a_ready_server_answers_ping_with_an_empty_200(classifier: RuntimeServer) -> None:
    answer = httpx.get(f"{classifier.url}/ping")
    assert (answer.status_code, answer.content) == (200, b"")


def test_a_server_without_a_model_answers_ping_with_503(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("nothing")
    with serving(folder, True, SLIPWAY_MODEL_PATH=str(folder / "none")) as server:
        for path in ("/ping", "/v2/health/ready", "/v2/models/none/ready"):
            assert httpx.get(f"{server.url}{path}").status_code == 503
        assert httpx.get(f"{server.url}/v2/health/live").status_code == 200
        assert httpx.get(f"{server.url}/v2/models/none").status_code == 503


def test_invocations_are_hugging_faces_format(classifier: RuntimeServer) -> None:
    body = {"inputs": "a great film", "parameters": {"top_k": 2}}
    headers = {"X-Amzn-SageMaker-Custom-Attributes": "trace=1", "Accept": "application/json"}
    answer = classifier.post(body, "/invocations", headers=headers)
    assert answer.status_code == 200
    assert answer.json() == classifier.post(body).json()


def test_invocations_take_tables_too(classifier: RuntimeServer) -> None:
    answer = classifier.post({"input_data": ["a great film"]}, "/invocations")
    assert answer.json() == [classifier.post({"inputs": "a great film"}).json()[0][0]]


def test_errors_of_invocations_have_hugging_faces_shape(classifier: RuntimeServer) -> None:
    answer = classifier.post({"inputs": ""}, "/invocations")
    assert (answer.status_code, answer.json()["error_type"]) == (422, "validation")


def test_an_image_is_the_body_whatever_its_x_type(serve: Serve, tmp_path: Path) -> None:
    with serve(vision.vit(tmp_path / "vit")) as server:
        content = multimodal.image_bytes()
        plain = httpx.post(server.url, content=content, headers={"Content-Type": "image/png"}).json()
        for kind in ("image/x-image", "image/png", "application/octet-stream"):
            answer = httpx.post(f"{server.url}/invocations", content=content, headers={"Content-Type": kind})
            assert answer.status_code == 200, answer.text
            assert answer.json() == plain


def test_a_chat_is_answered_as_openai_does_whole_and_streamed(serve: Serve, tmp_path: Path) -> None:
    with serve(generation.chat_decoder(tmp_path / "chat")) as server:
        body = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}
        assert server.post(body, "/invocations").json()["choices"][0]["message"]["role"] == "assistant"
        stream = server.post(body | {"stream": True}, "/invocations")
        assert stream.headers["content-type"] == "text/event-stream"
        assert stream.text.endswith("data: [DONE]\n\n")
        azure = {"input_data": {"input_string": body["messages"], "parameters": {"max_new_tokens": 4}}}
        assert list(server.post(azure, "/score").json()) == ["output"]
