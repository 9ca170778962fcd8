"""The service with an adapter that upper-cases texts: deadlines, choice of the adapter, what is counted."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from slipway_runtime.artifacts import Artifact
from slipway_runtime.artifacts.progress import Progress
from slipway_runtime.errors import DeadlineExceeded, InferenceFailed, InvalidInput, NotFound, Overloaded
from slipway_runtime.serve.inference.batcher import Batcher
from slipway_runtime.serve.inference.queue import Queue
from slipway_runtime.serve.inference.service import Service, TaskRequest
from slipway_runtime.serve.life.lifecycle import Lifecycle, Steps
from slipway_runtime.serve.observe.metrics import Metrics
from slipway_runtime.settings import Settings
from slipway_runtime.tasks.adapter import Adapter, Call, Item, Loaded, Parameters


class Upper(Adapter):
    """Texts → upper case. "boom" fails, "stop" waits for `go`."""

    task = "fill-mask"
    parameters = Parameters

    def __init__(self) -> None:
        self.go = threading.Event()

    def parse(self, inputs: object, parameters: Any) -> Call:
        return Call(inputs, parameters, single=True)

    def preprocess(self, call: Call) -> list[Item]:
        return [Item(self.forward, 1, call.inputs)]

    def forward(self, items: Sequence[Item]) -> list[Any]:
        for item in items:
            if item.data == "stop":
                self.go.wait(10)
            if item.data == "boom":
                raise RuntimeError("boom")
        return [item.data.upper() for item in items]

    def postprocess(self, call: Call, outputs: list[Any]) -> Any:  # noqa: ARG002
        return outputs[0]

    def warmup(self) -> list[Item]:
        return []


@asynccontextmanager
async def service(adapter: Upper, **settings: Any) -> AsyncIterator[Service]:
    loaded = Loaded(adapter.task, {adapter.task: adapter}, 512, "cpu", 1)
    artifact = Artifact(Path("/model"), "org/name", None, {}, (), 1)

    async def fetch(_: Progress) -> Artifact:
        return artifact

    async def load(_: Artifact) -> Loaded:
        return loaded

    async def warm_up(_: Loaded) -> None:
        pass

    life = Lifecycle(Steps(fetch, load, warm_up, lambda: None))
    await life.run()
    queue, metrics = Queue(1000), Metrics()
    with ThreadPoolExecutor(1) as inference, ThreadPoolExecutor(1) as workers:
        task = asyncio.create_task(Batcher(queue, inference, metrics, budget=100).run())
        try:
            yield Service(Settings(model_id="org/name", endpoint="name", **settings), life, queue, workers, metrics)
        finally:
            adapter.go.set()
            task.cancel()


async def test_an_answer() -> None:
    async with service(Upper()) as s:
        request = TaskRequest("a", {})
        assert (await s.answer(request)).value == "A"
        assert request.served_as == "fill-mask"


async def test_a_request_that_takes_too_long_ends_and_the_next_is_answered() -> None:
    adapter = Upper()
    async with service(adapter, request_timeout_seconds=0.1) as s:
        with pytest.raises(DeadlineExceeded, match=r"not answered within 0\.1 s"):
            await s.answer(TaskRequest("stop", {}))
        adapter.go.set()
        assert (await s.answer(TaskRequest("a", {}))).value == "A"


async def test_a_failing_input_does_not_take_its_neighbours_along() -> None:
    async with service(Upper()) as s:
        answers = await asyncio.gather(
            *(s.answer(TaskRequest(t, {})) for t in ("a", "boom", "b")), return_exceptions=True
        )
        assert [getattr(answers[i], "value", None) for i in (0, 2)] == ["A", "B"]
        assert isinstance(answers[1], InferenceFailed)


@pytest.mark.parametrize("model", [None, "org/name", "name"])
async def test_the_endpoints_name_and_the_repository_name_the_model(model: str | None) -> None:
    async with service(Upper()) as s:
        assert (await s.answer(TaskRequest("a", {}, model=model))).value == "A"


async def test_another_model_or_task_is_not_found() -> None:
    async with service(Upper()) as s:
        with pytest.raises(NotFound, match="model 'other' is not served here; this is name or org/name"):
            await s.answer(TaskRequest("a", {}, model="other"))
        with pytest.raises(NotFound, match="task 'translation' is not served here; this model does fill-mask"):
            await s.answer(TaskRequest("a", {}, tasks=("translation",)))


async def test_no_more_requests_enter_than_allowed() -> None:
    async with service(Upper(), max_requests=1) as s:
        s.enter()
        with pytest.raises(Overloaded):
            s.enter()
        s.leave()
        s.enter()
        s.leave()
        assert s.in_flight == 0
        assert s.last_request_age is not None


async def test_one_caller_cannot_take_every_place() -> None:
    async with service(Upper(), max_requests=4) as s:
        for _ in range(4):
            s.enter("greedy")
        with pytest.raises(Overloaded):
            s.enter("greedy")
        s.enter("modest")
        s.enter("modest")
        with pytest.raises(Overloaded):
            s.enter("modest")
        for name in ("greedy",) * 4 + ("modest",) * 2:
            s.leave(name)
        assert s.in_flight == 0


@pytest.mark.parametrize(
    ("field", "told"),
    [
        ("inputs", "messages"),
        ("inputs[1].content", "messages[1].content"),
        ("inputs.tools", "tools"),
        ("parameters.max_new_tokens", "max_tokens"),
        ("parameters.stop[3]", "stop[3]"),
        ("parameters.grammar.value", "response_format.json_schema.schema"),
        ("parameters.grammar.type", "response_format.type"),
        ("stream", "stream"),
    ],
)
async def test_a_field_is_told_in_the_callers_words(field: str, told: str) -> None:
    names = {"inputs.tools": "tools", "inputs": "messages", "parameters.max_new_tokens": "max_tokens",
             "parameters.grammar.value": "response_format.json_schema.schema",
             "parameters.grammar": "response_format", "parameters": ""}  # fmt: skip
    adapter = Upper()

    def parse(inputs: object, parameters: Any) -> Call:
        raise InvalidInput(field, "is wrong")

    adapter.parse = parse  # type: ignore[method-assign]
    async with service(adapter) as s:
        with pytest.raises(InvalidInput) as caught:
            await s.answer(TaskRequest("a", {}, fields=names))
        assert (caught.value.field, caught.value.message) == (told, f"{told}: is wrong")
        with pytest.raises(InvalidInput) as caught:
            await s.answer(TaskRequest("a", {}, place="rows[2]"))
        assert caught.value.message == f"rows[2]: {field}: is wrong"


async def test_a_recording_for_a_task_of_texts_is_refused() -> None:
    async with service(Upper()) as s:
        with pytest.raises(InvalidInput, match="the body is no JSON object, and fill-mask takes no image or sound"):
            await s.answer(TaskRequest(b"RIFF", {}))
