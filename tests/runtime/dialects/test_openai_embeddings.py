"""/v1/embeddings, /v1/models and the errors of all OpenAI routes, asked by OpenAI's own client."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from tests.runtime.conftest import Serve
from tests.support import models
from tests.support.runtime_server import RuntimeServer

TEXTS = ["the city of paris", "a story of two cities and one river"]


@pytest.fixture(scope="module")
def server(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeServer]:
    folder = models.sentence_transformer(tmp_path_factory.mktemp("models") / "sentences", prompts={"query": "the "})
    with serve(folder, SLIPWAY_ENDPOINT="vectors") as running:
        yield running


@pytest.fixture(scope="module")
def expected(server: RuntimeServer) -> Any:
    """The vectors in Hugging Face's format, which test_feature_extraction compares with the model."""
    return np.array(server.post({"inputs": TEXTS}, path="/pipeline/feature-extraction").json(), dtype=np.float32)


def test_the_clients_default_of_base64_and_float_give_the_same_vectors(client: OpenAI, expected: Any) -> None:
    default = client.embeddings.create(model="vectors", input=TEXTS)
    floats = client.embeddings.create(model="vectors", input=TEXTS, encoding_format="float")
    for answer in (default, floats):
        assert [one.index for one in answer.data] == [0, 1]
        np.testing.assert_allclose([one.embedding for one in answer.data], expected, atol=1e-6)
        assert answer.model == "vectors"


async def test_async_client(server: RuntimeServer, expected: Any) -> None:
    async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        answer = await client.embeddings.create(model="vectors", input=TEXTS[0])
    np.testing.assert_allclose(answer.data[0].embedding, expected[0], atol=1e-6)


def test_base64_is_of_little_endian_float32(server: RuntimeServer, expected: Any) -> None:
    answer = server.post({"input": TEXTS[0], "encoding_format": "base64"}, path="/v1/embeddings").json()
    raw = base64.b64decode(answer["data"][0]["embedding"])
    np.testing.assert_allclose(np.frombuffer(raw, dtype="<f4"), expected[0], atol=1e-6)


def test_usage_counts_the_tokens_of_all_texts(client: OpenAI) -> None:
    each = [client.embeddings.create(model="vectors", input=text).usage.prompt_tokens for text in TEXTS]
    both = client.embeddings.create(model="vectors", input=TEXTS).usage
    assert both.prompt_tokens == both.total_tokens == sum(each)
    assert each[0] < each[1]


def test_texts_may_be_the_models_own_token_ids(client: OpenAI, server: RuntimeServer, expected: Any) -> None:
    for special in (True, False):  # the tokenizer's own are neither doubled nor missed
        asked = {"inputs": TEXTS[0], "add_special_tokens": special}
        ids = [piece["id"] for piece in server.post(asked, path="/tokenize").json()]
        answer = client.embeddings.create(model="vectors", input=[ids])
        np.testing.assert_allclose(answer.data[0].embedding, expected[0], atol=1e-6)


def test_fewer_dimensions(client: OpenAI, expected: Any) -> None:
    vector = client.embeddings.create(model="vectors", input=TEXTS[0], dimensions=4).data[0].embedding
    cut = expected[0][:4]
    np.testing.assert_allclose(vector, cut / np.linalg.norm(cut), atol=1e-5)


@pytest.mark.parametrize("model", ["vectors", "sentences", "dummy", "tgi", ""])
def test_the_endpoint_the_model_and_what_clients_send_by_default_name_it(client: OpenAI, model: str) -> None:
    assert client.embeddings.create(model=model, input="a").model == (
        model if model in ("vectors", "sentences") else "vectors"
    )


def test_fields_that_concern_only_openai_change_nothing(server: RuntimeServer) -> None:
    body = {"input": "a", "model": "vectors", "user": "u-1", "metadata": {"a": "b"}, "store": False, "dimensions": None}
    assert server.post(body, path="/v1/embeddings").status_code == 200


def test_another_model_is_not_found_in_openais_words(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.embeddings.create(model="text-embedding-3-small", input="a")
    assert caught.value.code == "model_not_found"
    assert caught.value.param == "model"
    assert "model 'text-embedding-3-small' is not served here; this is vectors or sentences" in caught.value.message


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({}, "input", "is missing"),
    ({"input": 7}, "input", "Expected str | array, got int"),
    ({"input": ""}, "input[0]", "is empty; give a text"),
    ({"input": []}, "input", "is empty; give at least one"),
    ({"input": ["a", None]}, "input[1]", "must be a string or a list of token ids"),
    ({"input": "a", "dimensions": 0}, "dimensions", "Expected int >= 1"),
    ({"input": "a", "dimensions": 4096}, "dimensions", "4096 is more than the model's"),
    ({"input": "a", "encoding_format": "int8"}, "encoding_format", "Invalid enum value 'int8'"),
    ({"input": "a", "dimension": 3}, "dimension", "unknown field (did you mean dimensions?); this route takes model,"),
    ({"input": "a", "inputs": "a"}, "inputs", "unknown field (did you mean input?); this route takes"),
    ({"input": "a", "model": 3}, "model", "Expected str | null, got int"),
]


@pytest.mark.parametrize(("body", "param", "problem"), REFUSED)
def test_bad_requests_are_400_with_the_field_as_param(
    server: RuntimeServer, body: dict[str, Any], param: str, problem: str
) -> None:
    answer = server.post(body, path="/v1/embeddings")
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, None)
    assert error["message"].startswith(f"{param}: {problem}"), error["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'{"input": NaN}'])
def test_what_is_not_a_json_object_has_openais_shape_too(server: RuntimeServer, body: bytes) -> None:
    answer = httpx.post(f"{server.url}/v1/embeddings", content=body)
    assert answer.status_code == 400
    assert "body" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("POST", "/v1/images/generations", 404, "unknown_url"),
        ("GET", "/v1/embeddings", 405, "method_not_allowed"),
        ("POST", "/v1/chat/completions", 404, "task_not_supported"),
        ("GET", "/v1/models/other", 404, "model_not_found"),
    ],
)
def test_what_is_not_served_under_v1_has_openais_shape(
    server: RuntimeServer, method: str, path: str, status: int, code: str
) -> None:
    body = {"messages": [{"role": "user", "content": "a"}]} if method == "POST" else None
    answer = httpx.request(method, server.url + path, json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_other_routes_keep_their_own_shape(server: RuntimeServer) -> None:
    assert isinstance(httpx.get(f"{server.url}/nothing").json()["error"], str)


def test_a_task_that_is_not_served_names_those_that_are(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="this model does feature-extraction, sentence-similarity"):
        client.chat.completions.create(model="vectors", messages=[{"role": "user", "content": "a"}])


def test_models_are_listed_and_found_by_every_name(client: OpenAI) -> None:
    assert [(model.id, model.owned_by) for model in client.models.list()] == [("vectors", "slipway")]
    assert client.models.retrieve("vectors").id == "vectors"
    assert client.models.retrieve("sentences").id == "sentences"
    with pytest.raises(openai.NotFoundError, match="is not served here"):
        client.models.retrieve("org/other")


def test_a_model_that_gives_a_vector_per_token_is_refused(encoder: RuntimeServer) -> None:
    answer = encoder.post({"input": "a"}, path="/v1/embeddings")
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("model: this model gives a vector per token, not per text")


def test_a_slash_in_the_models_name_may_be_percent_encoded(encoder: RuntimeServer) -> None:
    for path in ("tiny%2Fencoder", "tiny/encoder"):
        assert httpx.get(f"{encoder.url}/v1/models/{path}").json()["id"] == "tiny/encoder"
    assert encoder.post({"input": "a", "model": "tiny/encoder"}, path="/v1/embeddings").status_code == 400


def test_too_large_a_body_has_openais_shape(server: RuntimeServer) -> None:
    answer = httpx.post(f"{server.url}/v1/embeddings", content=b"x" * (2 * 1024**2 + 1))
    assert (answer.status_code, answer.json()["error"]["type"]) == (413, "invalid_request_error")
