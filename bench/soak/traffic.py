"""What the callers of a soak do, good and bad, each with the statuses that it may get."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from tests.support.load import Connection, Pool, get, post
from tests.support.models import WORDS
from tests.support.tiny.vision import picture, png

GONE = 0
"""Instead of a status: the caller hung up, and waits for none."""
Act = Callable[["Target", random.Random], Awaitable[int]]


@dataclass
class Target:
    """One server as its callers see it."""

    port: int
    connections: Pool


@dataclass(frozen=True)
class Scene:
    """One thing that a caller does. The result is a status, or GONE."""

    name: str
    act: Act
    expected: frozenset[int] = frozenset({200})
    weight: int = 1


@dataclass
class Seen:
    """What the scenes of one server came to."""

    counts: dict[tuple[str, int], int] = field(default_factory=dict)
    unexpected: list[str] = field(default_factory=list)
    since: float = field(default_factory=time.monotonic)

    def fault(self, what: str) -> None:
        """Something unexpected, with its moment: the log of that moment is what one looks at."""
        self.unexpected.append(f"{what}, {time.monotonic() - self.since:.0f} s after the beginning")

    def add(self, scene: Scene, status: int, answer: str = "") -> None:
        self.counts[scene.name, status] = self.counts.get((scene.name, status), 0) + 1
        if status not in scene.expected:
            self.fault(f"{scene.name}: {status or 'no answer'}{answer}")


def text(rng: random.Random, most: int = 40) -> str:
    """Some words of the tiny models' vocabulary; its poisoned one is not among them."""
    return " ".join(rng.choices([word for word in WORDS.split() if word != "awful"], k=rng.randint(1, most)))


def asked(body: Callable[[random.Random], object], path: str = "/", **headers: str) -> Act:
    """A whole request on a kept connection, its whole answer."""

    async def act(target: Target, rng: random.Random) -> int:
        return (await target.connections.ask(post(body(rng), path, **headers))).status

    return act


def hung_up(body: Callable[[random.Random], object], path: str = "/", *, share: float = 1.0) -> Act:
    """Send a share of a request, wait a little, and reset the connection."""

    async def act(target: Target, rng: random.Random) -> int:
        raw = post(body(rng), path)
        connection = await Connection.open(target.port)
        await connection.send(raw[: max(1, int(len(raw) * share))])
        await asyncio.sleep(rng.random() * 0.2)
        connection.abort()
        return GONE

    return act


def stream_left(body: Callable[[random.Random], object], path: str = "/") -> Act:
    """Read a few events of a stream, and go."""

    async def act(target: Target, rng: random.Random) -> int:
        connection = await Connection.open(target.port)
        try:
            await connection.send(post(body(rng), path))
            reply = await connection.head()
            left = rng.randint(1, 4)
            async for _ in connection.pieces(reply):
                left -= 1
                if not left:
                    break
        finally:
            connection.abort()
        return reply.status

    return act


async def no_http(target: Target, rng: random.Random) -> int:
    """Bytes that are no request; an answer, if any, is a refusal."""
    connection = await Connection.open(target.port)
    try:
        await connection.send(rng.randbytes(200) + b"\r\n\r\n")
        connection.half_close()
        with contextlib.suppress(EOFError, OSError, ValueError, IndexError):
            async with asyncio.timeout(30):
                return (await connection.head()).status
        return GONE
    finally:
        connection.abort()


async def lookup(target: Target, rng: random.Random) -> int:
    """What is asked beside the tasks."""
    path = rng.choice(("/", "/info", "/health", "/v1/models", "/v2", "/openapi.json"))
    return (await target.connections.ask(get(path))).status


REFUSED = frozenset({400, 413, 415, 422})
OFTEN = 6
HOSTILE = (
    Scene("broken JSON", asked(lambda rng: rng.choice((b"{", b'{"inputs": ', b"[" * 5000, b"\xff\xfe", b""))), REFUSED),
    Scene("random bytes", asked(lambda rng: rng.randbytes(rng.randint(1, 3000))), REFUSED),
    Scene("NaN in JSON", asked(lambda _: b'{"inputs": "a", "parameters": {"top_k": NaN}}'), REFUSED),
    Scene("unknown parameter", asked(lambda rng: {"inputs": text(rng), "parameters": {"no_such": 1}}), REFUSED),
    Scene("no such route", asked(lambda _: {}, "/no/such/route"), frozenset({404})),
    Scene("compressed", asked(lambda _: b"\x1f\x8b" + bytes(100), content_encoding="gzip"), REFUSED),
    Scene("no HTTP", no_http, frozenset({GONE, 400})),
    Scene("headers only", hung_up(lambda rng: {"inputs": text(rng)}, share=0.4), frozenset({GONE})),
    Scene("half a body", hung_up(lambda rng: {"inputs": [text(rng)] * 20}, share=0.7), frozenset({GONE})),
    Scene("look-up", lookup),
)

CLASSIFICATION = (
    Scene("text", asked(lambda rng: {"inputs": text(rng)}), weight=2 * OFTEN),
    Scene("texts", asked(lambda rng: {"inputs": [text(rng) for _ in range(rng.randint(2, 16))]}), weight=OFTEN),
    Scene("tensor", asked(
        lambda rng: {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [text(rng)]}]},
        "/v2/models/classifier/infer",
    )),
    Scene("table", asked(lambda rng: {"input_data": [text(rng), text(rng)]}, "/score")),
    Scene("poisoned text", asked(lambda _: {"inputs": ["the film", "an awful movie"]}), frozenset({500}), weight=2),
    Scene("text too long", asked(lambda _: {"inputs": "film " * 400}), REFUSED),
    Scene("gone while waiting", hung_up(lambda rng: {"inputs": [text(rng)] * 50}), frozenset({GONE}), weight=2),
    *HOSTILE,
)  # fmt: skip

EMBEDDINGS = (
    Scene("vector", asked(lambda rng: {"inputs": text(rng, 20)}), weight=2 * OFTEN),
    Scene("OpenAI's vectors", asked(
        lambda rng: {"model": "dummy", "input": [text(rng, 20), text(rng)], "encoding_format": "base64"},
        "/v1/embeddings",
    ), weight=OFTEN),
    Scene("similarity", asked(lambda rng: {"inputs": {"source_sentence": text(rng), "sentences": [text(rng)] * 3}})),
    Scene("gone while waiting", hung_up(lambda rng: {"inputs": [text(rng)] * 50}), frozenset({GONE})),
    *HOSTILE,
)  # fmt: skip


def _write(rng: random.Random, **more: object) -> dict[str, object]:
    drawn = {"do_sample": True, "seed": rng.randrange(2**32), "top_p": 0.9}
    sampled: dict[str, object] = dict(drawn) if rng.random() < 0.5 else {}
    return {"inputs": text(rng), "parameters": {"max_new_tokens": rng.randint(1, 40), **sampled}, **more}


def _chat(rng: random.Random, **more: object) -> dict[str, object]:
    messages = [{"role": "user", "content": text(rng)}]
    return {"model": "dummy", "messages": messages, "max_tokens": rng.randint(1, 30), **more}


GENERATION = (
    Scene("answer", asked(_write), weight=OFTEN),
    Scene("stream", asked(lambda rng: _write(rng, stream=True)), weight=OFTEN),
    Scene("chat", asked(_chat, "/v1/chat/completions"), weight=OFTEN // 2),
    Scene("chat, stream", asked(lambda rng: _chat(rng, stream=True), "/v1/chat/completions"), weight=OFTEN // 2),
    Scene("stream left", stream_left(lambda rng: {
        "inputs": text(rng), "parameters": {"max_new_tokens": 400, "min_new_tokens": 400}, "stream": True,
    }), weight=3),
    Scene("gone while it writes", hung_up(lambda rng: {
        "inputs": text(rng), "parameters": {"max_new_tokens": 400, "min_new_tokens": 400},
    }), frozenset({GONE}), weight=2),
    Scene("bad grammar", asked(lambda _: {
        "inputs": "a", "parameters": {"grammar": {"type": "regex", "value": "("}},
    }), REFUSED),
    Scene("too many tokens", asked(lambda _: {"inputs": "a", "parameters": {"max_new_tokens": 10**9}}), REFUSED),
    *HOSTILE,
)  # fmt: skip


def _picture(rng: random.Random) -> bytes:
    return png(picture(rng.randint(20, 400), rng.randint(20, 400), seed=rng.randrange(2**16)))


IMAGES = (
    Scene("picture", asked(_picture, content_type="image/png"), weight=OFTEN),
    Scene("picture in JSON", asked(lambda rng: {"inputs": base64.b64encode(_picture(rng)).decode()}), weight=OFTEN),
    Scene("half a picture", asked(lambda rng: _picture(rng)[:200], content_type="image/png"), REFUSED),
    Scene("gone in a picture", hung_up(_picture, share=0.5), frozenset({GONE})),
    *HOSTILE,
)
