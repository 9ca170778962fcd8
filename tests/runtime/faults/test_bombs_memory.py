"""Requests made to take memory: a real server answers each with its limit, and never grows by more than 64 MiB."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import time
import zlib
from collections.abc import Awaitable, Callable, Iterator

import pytest

from tests.runtime.conftest import Serve
from tests.runtime.test_media_bombs import BOMBS
from tests.support import models
from tests.support.load import BROKEN, Connection, Reply, pool, post
from tests.support.memory import Held, held, peak_megabytes
from tests.support.runtime_server import RuntimeServer
from tests.support.tiny import vision
from tests.support.waiting import eventually

MOST_MEGABYTES = 64
MOST_OF_A_LONG_WORD = 160  # what tokenizers takes for 2 MB of text that it has to see whole, 60 bytes per character
GIGABYTES = pytest.mark.parametrize(
    "gigabytes", [0.2, pytest.param(10, marks=[pytest.mark.full, pytest.mark.timeout(900)])]
)
BLOCK = bytes(2**18)


@pytest.fixture(scope="module")
def texts(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeServer]:
    with serve(models.classifier(tmp_path_factory.mktemp("bombs") / "model")) as server:
        assert server.post({"inputs": "the film"}).status_code == 200
        yield server


@pytest.fixture(scope="module")
def images(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeServer]:
    with serve(vision.vit(tmp_path_factory.mktemp("bombs") / "model")) as server:
        # A large image is decoded once, so that what is kept for the next is kept already.
        assert server.post({"inputs": base64.b64encode(vision.png(vision.picture(3000, 2000))).decode()}).is_success
        yield server


def answered(server: RuntimeServer, act: Callable[[], Awaitable[Reply]], most: float = MOST_MEGABYTES) -> Reply:
    """What the server says to it; it must not grow by more than `most` meanwhile, and go on afterwards."""
    replies: list[Reply] = []

    def run() -> None:
        replies.append(asyncio.run(act()))  # type: ignore[arg-type]  # a coroutine

    grown = peak_megabytes(run, server.process.pid)
    assert grown < most
    assert server.probe("readyz") == 200
    eventually(lambda: server.status()["inFlight"] == 0)
    return replies[0]


async def _stream(server: RuntimeServer, head: str, total: float, frame: Callable[[bytes], bytes]) -> Reply:
    """What the server says to an endless body. A client that is still sending when the server has closed, as on a busy
    machine, may lose the answer with the connection: it asks again, as any would."""
    for _ in range(3):
        reply = await _streamed(server, head, total, frame)
        if reply.status != BROKEN:
            break
    return reply


async def _streamed(server: RuntimeServer, head: str, total: float, frame: Callable[[bytes], bytes]) -> Reply:
    """A body sent block by block, whatever the server says, until it closes; then what it said."""
    connection = await Connection.open(server.http_port)
    await connection.send(f"POST / HTTP/1.1\r\nhost: a\r\n{head}\r\n\r\n".encode())
    reading = asyncio.create_task(connection.head())
    sent = 0
    with contextlib.suppress(OSError):
        while sent < total:
            await connection.send(frame(BLOCK))
            sent += len(BLOCK)
            await asyncio.sleep(0.001)  # a line's speed: else the pipe breaks before what came is read
    with contextlib.suppress(EOFError, OSError):
        reply = await reading
        await connection.close()
        return reply
    connection.abort()
    return Reply()


@GIGABYTES
def test_a_body_of_gigabytes_is_refused_by_what_it_announces(texts: RuntimeServer, gigabytes: float) -> None:
    total = gigabytes * 2**30
    reply = answered(texts, lambda: _stream(texts, f"content-length: {int(total)}", total, lambda block: block))
    assert reply.status == 413


@GIGABYTES
def test_chunks_of_gigabytes_are_refused_when_they_exceed_the_limit(texts: RuntimeServer, gigabytes: float) -> None:
    def frame(block: bytes) -> bytes:
        return b"%x\r\n%s\r\n" % (len(block), block)

    reply = answered(texts, lambda: _stream(texts, "transfer-encoding: chunked", gigabytes * 2**30, frame))
    assert reply.status == 413


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, gzip"])
def test_a_compressed_bomb_is_refused_without_being_unpacked(texts: RuntimeServer, encoding: str) -> None:
    bomb = zlib.compress(bytes(200 * 2**20), 9) if encoding == "deflate" else gzip.compress(bytes(200 * 2**20), 9)

    async def sent() -> Reply:
        async with pool(texts.http_port) as connections:
            return await connections.ask(post(bomb, content_encoding=encoding, content_type="application/json"))

    began = time.monotonic()
    assert answered(texts, sent).status in (413, 415)
    assert time.monotonic() - began < 10


LIMIT = 2 * 2**20
TEXT_BOMBS = {
    "brackets": b'{"inputs": ' + b"[" * (LIMIT - 100),
    "brackets, closed": b'{"inputs": ' + b"[" * (LIMIT // 2 - 100) + b"]" * (LIMIT // 2 - 100) + b"}",
    "objects": b'{"inputs": ' + b'{"a":' * (LIMIT // 5 - 100),
    "empty lists": b'{"inputs": [' + b"[]," * (LIMIT // 3 - 100) + b"[]]}",
    "empty texts": b'{"inputs": [' + b'"",' * (LIMIT // 3 - 100) + b'""]}',
    "numbers": b'{"inputs": [' + b"1," * (LIMIT // 2 - 100) + b"1]}",
    "one number": b'{"inputs": ' + b"1" * (LIMIT - 100) + b"}",
    "keys": b"{" + b",".join(b'"%06d":0' % i for i in range(LIMIT // 11 - 100)) + b', "inputs": "a"}',
    "equal keys": b"{" + b'"inputs": "a",' * (LIMIT // 14 - 100) + b'"inputs": ""}',
    "escapes": b'{"inputs": "' + b"\\u0000" * (LIMIT // 6 - 100) + b'"}',
    "one text of many tokens": b'{"inputs": "' + b"a " * (LIMIT // 2 - 100) + b'"}',
    "one word": b'{"inputs": "' + b"a" * (LIMIT - 100) + b'"}',
    "accents on one letter": b'{"inputs": "a' + "\u0301".encode() * (LIMIT // 2 - 100) + b'"}',
    "characters that become many": b'{"inputs": "' + "\ufdfa".encode() * (LIMIT // 3 - 100) + b'"}',
}
TEXT_BOMBS["a pair to be cut"] = b'{"inputs": {"text": "%b", "text_pair": "%b"}, "parameters": {"truncate": true}}' % (
    (b"a " * (LIMIT // 4 - 100),) * 2
)
ANSWERED = {"escapes", "one word", "accents on one letter", "characters that become many", "a pair to be cut"}
"""For this tokenizer a word, unknown or empty: odd, and no reason to refuse it. What is to be cut is cut."""


@pytest.mark.parametrize("name", TEXT_BOMBS)
def test_json_made_to_take_memory_takes_little(texts: RuntimeServer, name: str) -> None:
    async def sent() -> Reply:
        async with pool(texts.http_port) as connections:
            return await connections.ask(post(TEXT_BOMBS[name]))

    reply = answered(texts, sent, MOST_OF_A_LONG_WORD if name in ANSWERED else MOST_MEGABYTES)
    if name in ANSWERED:
        assert reply.status == 200
    else:
        assert (reply.status, reply.json()["error_type"]) == (422, "validation")
    assert len(reply.body) < 2000  # what was sent is not sent back


@pytest.mark.parametrize("name", BOMBS)
def test_an_image_made_to_take_memory_is_refused_by_the_server(images: RuntimeServer, name: str) -> None:
    async def sent() -> Reply:
        async with pool(images.http_port) as connections:
            return await connections.ask(post(BOMBS[name], content_type="application/octet-stream"))

    reply = answered(images, sent)
    assert (reply.status, reply.json()["error_type"]) == (422, "validation")


def test_bombs_leave_no_memory_behind(texts: RuntimeServer) -> None:
    async def all_of_them() -> None:
        async with pool(texts.http_port) as connections:
            for bomb in TEXT_BOMBS.values():
                assert (await connections.ask(post(bomb))).status in (200, 422)

    def quiet() -> Held:
        eventually(lambda: texts.status()["inFlight"] == 0)
        return held(texts.process.pid)

    asyncio.run(all_of_them())
    before = quiet()
    for _ in range(3):
        asyncio.run(all_of_them())

    def back_now() -> bool:
        after = quiet()
        assert after.megabytes < before.megabytes + 20
        assert after.handles <= before.handles
        assert after.threads <= before.threads
        return True

    eventually(back_now)
