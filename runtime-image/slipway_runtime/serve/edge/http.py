"""ASGI pieces: read a bounded body, notice that a caller has gone, send. The one place where a dialect meets HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.types import Message, Receive, Scope, Send

from slipway_runtime.errors import BodyTooLarge, ModelUnavailable, RequestError, TooSlow, UnsupportedEncoding
from slipway_runtime.serve.dialects import Dialect, Events, sse
from slipway_runtime.serve.dialects.statuses import headers_for, status_of
from slipway_runtime.serve.inference.service import Answer, CallerGone, Service, TaskRequest
from slipway_runtime.serve.observe.logs import logger
from slipway_runtime.settings import Settings
from slipway_runtime.tasks.adapter import Media

T = TypeVar("T")
KEEP_ALIVE_SECONDS = 10.0  # a comment this often while nothing comes: proxies close silent connections
SHUTTING_DOWN = ModelUnavailable("the server is shutting down; send the request again", 1.0)
UNFORESEEN = RequestError("internal error; the server's log has the place")


class TaskEndpoint:
    """One dialect's route, as an ASGI application."""

    def __init__(self, service: Service, dialect: Dialect) -> None:
        self._service = service
        self._dialect = dialect
        self._body_time = BodyTime.of(service.settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["slipway.dialect"] = self._dialect.name
        started = False

        async def tracked(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            caller = caller_of(scope)
            self._service.enter(caller)
            try:
                await self._answer(scope, receive, tracked)
            finally:
                self._service.leave(caller)
        except CallerGone:
            scope["slipway.code"] = 499  # nginx's word for it; nobody is there to read an answer
        except asyncio.CancelledError:  # the drain is over: told, rather than cut off
            await self._send_error(scope, send, SHUTTING_DOWN, as_event=started)
            raise
        except RequestError as error:
            await self._send_error(scope, send, error, as_event=started)
        except Exception as error:
            logger.error("a request failed", exc_info=error)
            await self._send_error(scope, send, UNFORESEEN, as_event=started)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = headers_of(scope)
        body = await read_body(headers, receive, self._service.max_body_bytes, self._body_time)
        exchange = self._dialect.parse(body, headers, scope.get("path_params", {}))
        scope["slipway.stages"] = [request.stages for request in exchange.requests]
        for request in exchange.requests:
            request.caller = caller_of(scope)
        gone = asyncio.ensure_future(receive())  # after the body the next message is http.disconnect
        try:
            if exchange.events is not None:
                await self._stream(exchange.requests[0], exchange.events, gone, send)
            else:
                answers = await _unless_gone(self._answers(exchange.requests), gone)
                # An image may have to be encoded anew, which would hold up everybody else.
                media = any(isinstance(answer.value, Media) for answer in answers)
                reply = await self._service.in_worker(exchange.reply, answers) if media else exchange.reply(answers)
                await send_body(send, 200, reply.body, reply.headers, reply.media_type)
        finally:
            scope["slipway.task"] = next((request.served_as for request in exchange.requests), "-")
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)

    async def _answers(self, requests: Sequence[TaskRequest]) -> list[Answer]:
        if len(requests) == 1:
            return [await self._service.answer(requests[0])]
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._service.answer(request)) for request in requests]
        # The others are cancelled: one bad row fails the whole. Not `except*`: Python 3.11.2 raises groups out of it.
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _stream(self, request: TaskRequest, render: Events, gone: asyncio.Future[Any], send: Send) -> None:
        """Server-sent events. Until the first one an error has a status of its own; later it comes as an event."""
        parts = self._service.stream(request, gone)
        events = render(parts)
        silent = Silence(send)
        try:
            event = await anext(events, None)
            await send({"type": "http.response.start", "status": 200, "headers": list(sse.HEADERS)})
            silent.begin()
            while event is not None:
                await send({"type": "http.response.body", "body": event, "more_body": True})
                silent.broken = True
                event = await anext(events, None)
            silent.end()
            await send({"type": "http.response.body", "body": b""})
        finally:
            silent.end()
            await events.aclose()
            await parts.aclose()

    async def _send_error(self, scope: Scope, send: Send, error: RequestError, *, as_event: bool) -> None:
        body = self._dialect.render_error(error)
        status = self._dialect.statuses.get(type(error), status_of(error))
        if as_event:
            scope["slipway.code"] = status
            await send({"type": "http.response.body", "body": sse.event(body)})
            return
        await send_body(send, status, body, [*headers_for(error), *self._dialect.error_headers(error)])


async def _unless_gone(work: Awaitable[T], gone: asyncio.Future[Any]) -> T:
    """The result of `work`, cancelled when the caller goes."""
    task = asyncio.ensure_future(work)

    def cancel(_: asyncio.Future[Any]) -> None:
        task.cancel()

    gone.add_done_callback(cancel)
    try:
        return await task
    except asyncio.CancelledError:
        current = asyncio.current_task()
        if gone.done() and not (current is not None and current.cancelling()):
            raise CallerGone from None
        raise
    finally:
        gone.remove_done_callback(cancel)


class Silence:
    """A comment whenever a stream has been silent for a while. One timer, since a task for each event would cost more
    than the event."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._timer: asyncio.TimerHandle | None = None
        self._sending: asyncio.Task[None] | None = None
        self.broken = False
        """Something was sent since the last look."""

    def begin(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(KEEP_ALIVE_SECONDS, self._look)

    def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        if not self.broken and (self._sending is None or self._sending.done()):
            self._sending = asyncio.ensure_future(self._comment())
        self.broken = False
        self.begin()

    async def _comment(self) -> None:
        await self._send({"type": "http.response.body", "body": sse.KEEP_ALIVE, "more_body": True})


def caller_of(scope: Scope) -> str:
    """Who asks, for fairness: the token's digest where one was checked, else the address."""
    client = scope.get("client")
    return scope.get("slipway.caller") or (client[0] if client else "")


def headers_of(scope: Scope) -> Mapping[str, str]:
    """Lower-case names; the last of a repeated header wins."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


@dataclass(frozen=True)
class BodyTime:
    """How long a body may take: `seconds`, and as much more as what has arrived takes at `bytes_per_second`."""

    seconds: float
    bytes_per_second: int

    @classmethod
    def of(cls, settings: Settings) -> BodyTime:
        return cls(settings.body_seconds, settings.body_bytes_per_second)


async def read_body(headers: Mapping[str, str], receive: Receive, limit: int, time_allowed: BodyTime) -> bytes:
    """The whole body, refused by its announced length if possible, else as soon as it exceeds `limit` bytes.

    Raises RequestError, and CallerGone.
    """
    if headers.get("content-encoding", "identity").strip().lower() not in ("identity", ""):
        raise UnsupportedEncoding("compressed bodies are not read here; send the body without Content-Encoding")
    announced = headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit:
        raise BodyTooLarge(f"the body has {int(announced)} bytes, at most {limit} are allowed; send several requests")
    chunks: list[bytes] = []
    size = 0
    started = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout(time_allowed.seconds) as time:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise CallerGone
                chunk = message.get("body", b"")
                size += len(chunk)
                if size > limit:
                    raise BodyTooLarge(f"the body has more than {limit} bytes; send several requests")
                chunks.append(chunk)
                if not message.get("more_body", False):
                    return b"".join(chunks)
                time.reschedule(started + time_allowed.seconds + size / time_allowed.bytes_per_second)
    except TimeoutError:
        took = asyncio.get_running_loop().time() - started
        raise TooSlow(
            f"{size} bytes of the body arrived in {took:.0f} s; a body has {time_allowed.seconds:g} s, and more only "
            f"where it comes with {time_allowed.bytes_per_second} bytes/s"
        ) from None


async def send_body(
    send: Send,
    status: int,
    body: bytes,
    headers: Sequence[tuple[str, str]] = (),
    media_type: str = "application/json",
) -> None:
    """A whole response."""
    own = [("content-type", media_type), ("content-length", str(len(body))), *headers]
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in own]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})
