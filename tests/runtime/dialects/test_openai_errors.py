"""Errors on /v1: OpenAI's shape, what its client retries, and a stream that breaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import orjson
import pytest
from openai import OpenAI
from slipway_runtime import errors as e
from slipway_runtime.artifacts import Artifact
from slipway_runtime.artifacts.progress import Progress
from slipway_runtime.serve.app import build
from slipway_runtime.serve.dialects import Dialect
from slipway_runtime.serve.dialects.openai import Context
from slipway_runtime.serve.dialects.openai.chat import ChatCompletions
from slipway_runtime.serve.dialects.statuses import status_of
from slipway_runtime.serve.inference.batcher import Batcher
from slipway_runtime.serve.inference.queue import Queue
from slipway_runtime.serve.inference.service import Service
from slipway_runtime.serve.life.lifecycle import Lifecycle, Steps
from slipway_runtime.serve.observe.metrics import Metrics
from slipway_runtime.settings import Settings
from slipway_runtime.tasks.adapter import Adapter, Call, Item, Loaded, Parameters

from tests.runtime.conftest import Start
from tests.support.generated import token
from tests.support.waiting import eventually

DIALECT: Dialect = ChatCompletions(Context("endpoint"))


@pytest.mark.parametrize(
    ("error", "status", "kind", "code", "retry"),
    [
        (e.InvalidInput("n", "is wrong"), 400, "invalid_request_error", None, None),
        (e.BodyTooLarge("x"), 413, "invalid_request_error", None, None),
        (e.UnsupportedEncoding("x"), 415, "invalid_request_error", None, None),
        (e.NotFound("x", "model"), 404, "invalid_request_error", "model_not_found", None),
        (e.NotFound("x", "task"), 404, "invalid_request_error", "task_not_supported", None),
        (e.Overloaded("x", 3), 429, "requests", "rate_limit_exceeded", "true"),
        (e.ModelLoading("x", 3), 503, "server_error", "loading", "true"),
        (e.ModelUnavailable("x", 1), 503, "server_error", "unavailable", "true"),
        (e.ModelUnavailable("x", 60), 503, "server_error", "unavailable", "false"),
        (e.DeadlineExceeded("x"), 504, "server_error", "timeout", "false"),
        (e.InferenceFailed("x"), 500, "server_error", "generation", "false"),
        (e.RequestError("x"), 500, "server_error", "internal", None),
    ],
)
def test_each_error_has_its_status_shape_and_whether_to_retry(
    error: e.RequestError, status: int, kind: str, *, code: str | None, retry: str | None
) -> None:
    assert DIALECT.statuses.get(type(error), status_of(error)) == status
    content = orjson.loads(DIALECT.render_error(error))["error"]
    assert set(content) == {"message", "type", "param", "code"}
    assert (content["type"], content["code"], content["message"]) == (kind, code, error.message)
    assert dict(DIALECT.error_headers(error)).get("x-should-retry") == retry


class Sampled(Parameters, frozen=True, kw_only=True):
    """What chats always ask for."""

    do_sample: bool = False


class Breaks(Adapter):
    """Emits two tokens for a chat, then fails."""

    task = "text-generation"
    parameters = Sampled
    streams = True

    def parse(self, inputs: object, parameters: Any) -> Call:
        return Call(inputs, parameters, single=True)

    def preprocess(self, call: Call) -> list[Item]:
        return [Item(self.forward, 1, call.inputs)]

    def forward(self, items: Sequence[Item]) -> list[Any]:
        for item in items:
            item.listener.emit(token(1, "Hel"))
            item.listener.emit(token(2, "lo"))
        raise RuntimeError("a secret")

    def postprocess(self, call: Call, outputs: list[Any]) -> Any:  # noqa: ARG002
        return outputs

    def warmup(self) -> list[Item]:
        return []


@asynccontextmanager
async def asked(path: str, body: Mapping[str, Any] | None, **settings: Any) -> AsyncIterator[httpx.Response]:
    """One request to the whole application over `Breaks`: GET without a body."""
    adapter = Breaks()
    loaded = Loaded(adapter.task, {adapter.task: adapter}, 512, "cpu", 1)

    async def fetch(_: Progress) -> Artifact:
        return Artifact(Path("/model"), "org/name", None, {}, (), 1)

    async def load(_: Artifact) -> Loaded:
        return loaded

    async def warm_up(_: Loaded) -> None:
        pass

    life = Lifecycle(Steps(fetch, load, warm_up, lambda: None))
    await life.run()
    queue, metrics = Queue(1000), Metrics()
    with ThreadPoolExecutor(1) as inference, ThreadPoolExecutor(1) as workers:
        batcher = asyncio.create_task(Batcher(queue, inference, metrics, budget=100).run())
        service = Service(Settings(model_id="org/name", **settings), life, queue, workers, metrics)
        transport = httpx.ASGITransport(app=build(service))
        try:
            async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
                yield await client.request("GET" if body is None else "POST", path, json=body)
        finally:
            batcher.cancel()


@pytest.mark.parametrize(
    ("path", "body", "error"),
    [
        ("/v1/chat/completions", {"messages": [], "stream": True, "temperature": 0},
         {"error": {"message": "the model failed on this input (RuntimeError)", "type": "server_error", "param": None,
                    "code": "generation"}}),
        ("/generate_stream", {"inputs": "a"},
         {"error": "the model failed on this input (RuntimeError)", "error_type": "generation"}),
        ("/", {"inputs": "a", "stream": True},
         {"error": "the model failed on this input (RuntimeError)", "error_type": "generation"}),
    ],
)  # fmt: skip
async def test_a_stream_that_breaks_ends_with_an_error_event_and_no_done(path: str, body: Any, error: Any) -> None:
    async with asked(path, body) as answer:
        assert answer.status_code == 200
        *parts, last = [orjson.loads(line[6:]) for line in answer.text.split("\n\n") if line]
    assert len(parts) == 2
    assert last == error
    assert "secret" not in answer.text


async def test_lora_adapters_are_models_of_their_own() -> None:
    adapters = '[{"name": "pirate", "id": "org/pirate"}]'
    async with asked("/v1/models", None, endpoint="writer", adapters=adapters) as answer:
        models = [(model["id"], model["root"], model.get("parent")) for model in answer.json()["data"]]
    assert models == [("writer", "org/name", None), ("pirate", "org/name", "writer")]
    async with asked("/v1/models/pirate", None, adapters=adapters) as answer:
        assert answer.json()["id"] == "pirate"
    body = {"messages": [], "stream": True, "model": "pirate"}
    async with asked("/v1/chat/completions", body, adapters=adapters) as answer:
        assert orjson.loads(answer.text.split("\n\n")[0][6:])["model"] == "pirate"


def test_openais_client_tells_of_a_model_that_cannot_be_loaded_without_trying_again(start: Start) -> None:
    with start("no/such", True, SLIPWAY_RETRY_SECONDS="60", SLIPWAY_RETRY_MAX_SECONDS="60") as server:
        server.wait_for_fault("ModelNotFound")
        with OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=2) as client:
            with pytest.raises(openai.InternalServerError) as caught:
                client.embeddings.create(model="no/such", input="a")
            assert caught.value.status_code == 503
            assert caught.value.code == "unavailable"
            assert caught.value.response.headers["x-should-retry"] == "false"
            assert int(caught.value.response.headers["retry-after"]) <= 60
            assert [model.id for model in client.models.list()] == ["no/such"]
        # The list of models was asked for last, so its line comes last.
        routes = eventually(lambda: "/v1/models" in (said := [line.get("route") for line in server.lines()]) and said)
        assert routes.count("/v1/embeddings") == 1
        health = httpx.get(f"{server.url}/health")
        assert (health.status_code, health.json()["error_type"]) == (503, "healthcheck")
