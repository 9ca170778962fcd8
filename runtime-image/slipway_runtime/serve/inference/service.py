"""One request's way, in terms of no protocol: admit → wait for the model → parse → preprocess → queue → postprocess."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from slipway_runtime.errors import (
    DeadlineExceeded,
    InferenceFailed,
    InvalidInput,
    ModelLoading,
    ModelUnavailable,
    NotFound,
    Overloaded,
)
from slipway_runtime.serve.inference.queue import Queue, Work
from slipway_runtime.serve.life.lifecycle import Lifecycle
from slipway_runtime.serve.observe.metrics import Intervals, Metrics
from slipway_runtime.serve.observe.stages import Stages
from slipway_runtime.settings import Settings
from slipway_runtime.tasks.adapter import Adapter, Call, Item, Listener, Loaded
from slipway_runtime.tasks.finite import finite
from slipway_runtime.tasks.parameters import convert
from slipway_runtime.tasks.table import canonical, implied

A = TypeVar("A")
T = TypeVar("T")
# What clients send as the model's name when their user gave none: openai-like mode of huggingface_hub, text_generation.
CLIENT_DEFAULTS = ("", "dummy", "tgi")


class CallerGone(Exception):
    """The connection closed before an answer."""


@dataclass(frozen=True)
class TokenIds:
    """A text as ids of the model's own vocabulary, among the inputs of a request."""

    ids: tuple[int, ...]


@dataclass
class TaskRequest:
    """What a dialect makes of a request."""

    inputs: Any
    parameters: dict[str, Any]
    tasks: tuple[str, ...] = ()
    """Names or aliases: the first that the model does answers. Empty: the endpoint's own."""
    model: str | None = None
    wait_for_model: bool = False
    """Hold while loading as long as a request may last."""
    place: str = ""
    """What errors call it where one wire request holds several: input_data.data[2]."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """What errors call the task's fields where the caller has other words: parameters.max_new_tokens → max_tokens."""
    caller: str = ""
    """Who asks: callers take turns, see queue.py."""
    cache_salt: str = ""
    """Whom the caller asks for: what was computed for one spares no other's."""
    served_as: str = "-"
    """The adapter that took it, for logs and metrics; never what a caller made up."""
    stages: Stages = field(default_factory=Stages)
    """How far it came, for the same."""


@dataclass(frozen=True)
class Part:
    """A part of an answer, before its end: what the adapter emitted for the item `index` of the request."""

    index: int
    value: Any


@dataclass(frozen=True)
class Answer:
    """What the adapter made of one request."""

    value: Any
    """JSON types and numpy arrays, Media, or lists of Generated."""
    task: str
    input_tokens: int
    preprocess_seconds: float
    queue_seconds: float
    """The longest wait of its items."""
    forward_seconds: float
    """The longest forward of its items."""
    device: str = "cpu"


class Service:
    """What dialects call. One per process."""

    def __init__(
        self,
        settings: Settings,
        lifecycle: Lifecycle,
        queue: Queue,
        workers: Executor,
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self.lifecycle = lifecycle
        self.metrics = metrics
        self._queue = queue
        self._workers = workers
        self._clock = clock
        self._outbox = Outbox()
        self._callers: Counter[str] = Counter()
        self.in_flight = 0
        self.last_request: float | None = None

    def enter(self, caller: str = "") -> None:
        """Count a request in; Overloaded before its body is read if too many are here. Pair with `leave`.

        A caller with less than an equal share of what is allowed enters still, up to twice as many in all.
        """
        most, own = self.settings.max_requests, self._callers[caller]
        if self.in_flight >= most:
            callers = len(self._callers.keys() | {caller})
            if callers == 1 or own >= most / callers or self.in_flight >= 2 * most:
                raise Overloaded(
                    f"{self.in_flight} requests are held, queued or running, the most allowed; try again later",
                    self._queue.drain_seconds(),
                )
        self._queue.check(caller)
        self.in_flight += 1
        self._callers[caller] = own + 1
        self.metrics.in_flight.set(self.in_flight)

    def leave(self, caller: str = "") -> None:
        """Count a request out."""
        self.in_flight -= 1
        self._callers[caller] -= 1
        if not self._callers[caller]:
            del self._callers[caller]
        self.last_request = self._clock()
        self.metrics.in_flight.set(self.in_flight)

    @property
    def last_request_age(self) -> float | None:
        """Seconds since the last request was answered, None before the first."""
        return None if self.last_request is None else self._clock() - self.last_request

    @property
    def max_body_bytes(self) -> int:
        """More where images or sound are taken, or where it is not known yet."""
        loaded, settings = self.lifecycle.loaded, self.settings
        media = loaded is None or any(adapter.takes_media for adapter in loaded.adapters.values())
        return max(settings.max_body_bytes, settings.max_media_bytes) if media else settings.max_body_bytes

    async def answer(self, request: TaskRequest, emit: Callable[[int, Any], None] | None = None) -> Answer:
        """The task's result. Raises RequestError. Cancelling it drops its queued work, and stops a long forward.

        `emit` gets (item, part) on the event loop where the adapter gives out parts.
        """
        self.check_name(request.model)
        loaded = await self._model(wait=request.wait_for_model)
        try:
            async with asyncio.timeout(self.settings.request_timeout_seconds):
                return await self._answer(loaded, request, emit)
        except InvalidInput as error:
            error = told(error, request.fields)
            raise (InvalidInput(request.place, error.message) if request.place else error) from None
        except TimeoutError:
            raise DeadlineExceeded(
                f"not answered within {self.settings.request_timeout_seconds:g} s; send less at once, or later"
            ) from None

    async def stream(self, request: TaskRequest, gone: asyncio.Future[Any]) -> AsyncGenerator[Part | Answer, None]:
        """The parts as they come, then the whole Answer. Raises RequestError, also after parts; CallerGone when `gone`
        is done before the end."""
        parts: asyncio.Queue[Part | None] = asyncio.Queue()
        intervals = Intervals(self.metrics.inter_token, self._clock)

        def emit(index: int, value: Any) -> None:
            intervals.token(index)
            parts.put_nowait(Part(index, value))

        answer = asyncio.ensure_future(self.answer(request, emit))
        for end in (answer, gone):
            end.add_done_callback(lambda _: parts.put_nowait(None))
        try:
            while (part := await parts.get()) is not None:
                yield part
            if not answer.done():
                raise CallerGone
            yield answer.result()
        finally:
            answer.cancel()
            await asyncio.gather(answer, return_exceptions=True)

    async def with_model(self, work: Callable[[Loaded], T]) -> T:
        """What is asked of the model beside its tasks, in a worker thread. Raises RequestError as `answer` does."""
        return await self.in_worker(work, await self._model(wait=False))

    async def in_worker(self, work: Callable[[A], T], argument: A) -> T:
        """What takes a while, off the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._workers, work, argument)

    async def _answer(self, loaded: Loaded, request: TaskRequest, emit: Callable[[int, Any], None] | None) -> Answer:
        loop = asyncio.get_running_loop()
        adapter = self._adapter(loaded, request)
        request.served_as = adapter.task
        if emit is not None and not adapter.streams:
            raise InvalidInput("stream", f"the task {adapter.task} has no stream; leave stream out, or set it to false")
        if isinstance(request.inputs, bytes) and not adapter.takes_media:
            raise InvalidInput(
                "", f'the body is no JSON object, and {adapter.task} takes no image or sound; send {{"inputs": …}}'
            )
        parameters = {**self._implied(adapter, request), **request.parameters}
        inputs = request.inputs
        if isinstance(inputs, list) and any(isinstance(one, TokenIds) for one in inputs):
            inputs = await loop.run_in_executor(self._workers, _as_texts, loaded, inputs)
        call = adapter.parse(inputs, convert(parameters, adapter.parameters))
        stages = request.stages
        stages.began = self._clock()
        here = adapter.quick(call)
        items = adapter.preprocess(call) if here else await self.in_worker(adapter.preprocess, call)
        stages.queued = self._clock()
        works = self._queue.put(self._heard(_owned(items, loaded, request), emit), request.caller)
        stages.input_tokens = sum(item.length for item in items)
        stages.room = sum(item.room for item in items)
        self.metrics.input_tokens.labels(adapter.task).inc(stages.input_tokens)
        try:
            outputs = [await works[0].output] if len(works) == 1 else await asyncio.gather(*(w.output for w in works))
        finally:
            self.metrics.dropped.inc(self._queue.drop(works))
            _note(stages, works)
        if here:
            value = _answer_of(adapter, call, outputs)
        else:
            value = await loop.run_in_executor(self._workers, _answer_of, adapter, call, outputs)
        stages.answered = self._clock()
        self.metrics.answered(adapter.task, stages, outputs)
        return Answer(
            value,
            adapter.task,
            stages.input_tokens,
            stages.queued - stages.began,
            max((work.started - work.since for work in works), default=0.0),
            max((work.ended - work.started for work in works), default=0.0),
            loaded.device,
        )

    def _heard(self, items: list[Item], emit: Callable[[int, Any], None] | None) -> list[Item]:
        if emit is None:
            return items
        loop = asyncio.get_running_loop()

        def listener(index: int) -> Listener:
            return Listener(lambda part: self._outbox.post(loop, functools.partial(emit, index, part)))

        return [replace(item, listener=listener(i)) for i, item in enumerate(items)]

    async def _model(self, *, wait: bool) -> Loaded:
        """The loaded model; held while loading. A failed load answers at once, unless the caller asked to wait."""
        lifecycle, settings = self.lifecycle, self.settings
        if lifecycle.loaded is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(settings.request_timeout_seconds if wait else settings.hold_seconds):
                    await (lifecycle.wait_until_loaded() if wait else lifecycle.wait_until_settled())
        if lifecycle.loaded is not None and lifecycle.stage != "Failed":
            return lifecycle.loaded
        name = self.settings.model_name
        if lifecycle.fault is not None and lifecycle.stage == "Failed":
            raise ModelUnavailable(
                f"Model {name} cannot be served: {lifecycle.fault.reason}: {lifecycle.fault.message}",
                max(1.0, lifecycle.retry_in_seconds),
            )
        estimate = lifecycle.estimated_seconds
        raise ModelLoading(f"Model {name} is currently loading", round(estimate if estimate is not None else 1.0, 1))

    @property
    def names(self) -> tuple[str, ...]:
        """What callers may call the model, its own name first; the names of LoRA adapters last."""
        settings = self.settings
        own = (settings.endpoint, settings.model_id or settings.model_name, *settings.variant_names)
        return tuple(dict.fromkeys(name for name in own if name))

    def check_name(self, model: str | None) -> None:
        """NotFound unless it is a name of this server's model, or what clients send when they were given none."""
        if model is None or model in (*self.names, *CLIENT_DEFAULTS):
            return
        raise NotFound(f"model {model[:200]!r} is not served here; this is {' or '.join(self.names)}", "model")

    def _adapter(self, loaded: Loaded, request: TaskRequest) -> Adapter:
        if not request.tasks:
            in_order = (loaded.adapters[loaded.task], *loaded.adapters.values())
            return next((a for a in in_order if a.accepts(request.inputs, request.parameters)), in_order[0])
        for name in request.tasks:
            task = canonical(name)
            if task is not None and task in loaded.adapters:
                return loaded.adapters[task]
        asked = " or ".join(repr(name[:80]) for name in request.tasks)
        raise NotFound(f"task {asked} is not served here; this model does {', '.join(loaded.adapters)}", "task")

    def _implied(self, adapter: Adapter, request: TaskRequest) -> dict[str, str]:
        """What the task's name says, be it the request's or the endpoint's."""
        names = request.tasks or (self.settings.task,)
        return next((implied(name) for name in names if canonical(name) == adapter.task), {})


def _as_texts(loaded: Loaded, inputs: list[Any]) -> list[Any]:
    from slipway_runtime.tasks.tokens import text_of  # noqa: PLC0415 - imports torch, which a loaded model has done

    return [
        text_of(loaded, one.ids, f"inputs[{i}]") if isinstance(one, TokenIds) else one for i, one in enumerate(inputs)
    ]


def _note(stages: Stages, works: Sequence[Work]) -> None:
    """When its items ran; 0 for what has not begun, or not ended."""
    stages.started = min((work.started for work in works if work.started), default=0.0)
    stages.ended = max((work.ended for work in works), default=0.0) if all(work.ended for work in works) else 0.0
    stages.first_token = min((t for work in works if (t := work.item.listener.first_token)), default=0.0)


def _answer_of(adapter: Adapter, call: Call, outputs: list[Any]) -> Any:
    value = adapter.postprocess(call, outputs)
    if not finite(value):
        raise InferenceFailed("the model's output for this input is not a number (NaN or infinity)")
    return value


def told(error: InvalidInput, fields: Mapping[str, str]) -> InvalidInput:
    """The error in the caller's words: see TaskRequest.fields."""
    for own, theirs in fields.items():
        if error.field == own or error.field.startswith((f"{own}.", f"{own}[")):
            return InvalidInput((theirs + error.field[len(own) :]).removeprefix("."), error.problem)
    return error


def _owned(items: list[Item], loaded: Loaded, request: TaskRequest) -> list[Item]:
    """With whose they are, where text is written, and with the LoRA adapter that the request names; items without one
    must switch it off."""
    if any(item.room for item in items):
        items = [replace(item, caller=f"{request.caller} {request.cache_salt}") for item in items]
    if loaded.variants is None:
        return items
    name = request.model if request.model in loaded.variants.names else ""
    return [replace(item, forward=loaded.variants.forward(name or "", item.forward)) for item in items]


class Outbox:
    """Calls from the inference thread onto the event loop, one wake-up for all that wait: a step of generation has one
    for each of its answers."""

    def __init__(self) -> None:
        self._calls: deque[Callable[[], None]] = deque()
        self._woken = False

    def post(self, loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
        """From any thread."""
        self._calls.append(call)
        if not self._woken:
            self._woken = True
            loop.call_soon_threadsafe(self._empty)

    def _empty(self) -> None:
        self._woken = False  # first: what is posted from now on wakes again
        while self._calls:
            self._calls.popleft()()
