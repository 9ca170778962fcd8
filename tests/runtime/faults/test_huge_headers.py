"""Heads of requests that are too large, too many or no HTTP: refused in the format's shape, and nothing grows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.runtime.conftest import Serve
from tests.support import models, raw_http
from tests.support.memory import peak_megabytes
from tests.support.runtime_server import RuntimeServer

LIMIT = 65536
BODY = {"inputs": "a film"}


@pytest.fixture(scope="module")
def server(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeServer]:
    with serve(models.classifier(tmp_path_factory.mktemp("heads") / "model")) as server:
        yield server


def status_of(server: RuntimeServer, request: bytes) -> int:
    reply = raw_http.ask(server.http_port, request)
    assert reply is not None
    assert reply.status == 200 or isinstance(reply.json()["error"], str)
    return reply.status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([f"X-Large: {'x' * (LIMIT - 200)}"], 200),
        ([f"X-Large: {'x' * LIMIT}"], 431),
        ([f"X-{i}: {'x' * 1000}" for i in range(70)], 431),
        ([f"{'X' * LIMIT}: a"], 431),
        ([f"X-{i}: a" for i in range(100)], 200),
        ([f"X-{i}: a" for i in range(130)], 431),
        (["Cookie: a=b" for _ in range(130)], 431),
    ],
    ids=lambda value: str(value)[:30],
)
def test_headers_beyond_the_limits_are_431(server: RuntimeServer, headers: list[str], status: int) -> None:
    assert status_of(server, raw_http.post("/", BODY, *headers)) == status


def test_a_head_without_an_end_is_431_as_soon_as_it_is_too_large_and_takes_no_memory(server: RuntimeServer) -> None:
    def act() -> None:
        for begun in (b"GET / HTTP/1.1\r\nX: ", b"GET / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\nX-"):
            piece = b"X-a: b\r\n" * 1000 if begun.endswith(b"\n") else b"x" * 8000
            with raw_http.connect(server.http_port) as sock:
                with contextlib.suppress(OSError):
                    sock.sendall(begun)
                    for _ in range(20_000):
                        sock.sendall(piece)
                reply = raw_http.answer(sock)
                assert reply is not None
                assert (reply.status, reply.headers["connection"]) == (431, "close")

    assert peak_megabytes(act, server.process.pid) < 64


@pytest.mark.parametrize(("length", "status"), [(8000, 200), (8200, 414), (60_000, 414)])
def test_a_url_beyond_the_limit_is_414(server: RuntimeServer, length: int, status: int) -> None:
    assert status_of(server, raw_http.get("/health?" + "a" * length)) == status
    assert status_of(server, raw_http.post("/" + "a" * length, BODY)) == (404 if status == 200 else status)


@pytest.mark.parametrize(
    ("path", "keys"),
    [
        ("/", {"error", "error_type"}),
        ("/v1/models", {"message", "type", "param", "code"}),
        ("/score", {"code", "message"}),
    ],
)
def test_the_refusal_has_the_shape_of_the_path_s_format(server: RuntimeServer, path: str, keys: set[str]) -> None:
    reply = raw_http.ask(server.http_port, raw_http.post(path, BODY, f"X-Large: {'x' * LIMIT}"))
    assert reply is not None
    content = reply.json()
    assert (content if isinstance(content["error"], str) else content["error"]).keys() == keys
    assert reply.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "request_",
    [
        b"\r\n\r\n\r\nGARBAGE\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100,  # a TLS handshake
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http:// HTTP/1.1\r\nHost: a\r\n\r\n",
        b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: a\x00b\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: a\rb: c\r\n\r\n",
        b"GET / HTTP/1.1\r\n: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nX : a\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1e3\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: \xb2\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabcd\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    ],
    ids=lambda request: repr(request)[2:40],
)  # fmt: skip
def test_what_is_no_http_is_400_and_ends_the_connection(server: RuntimeServer, request_: bytes) -> None:
    """Two lengths in one request among them: what two servers read differently is how requests are smuggled."""
    with raw_http.connect(server.http_port) as sock:
        sock.sendall(request_)
        reply = raw_http.answer(sock)
        assert reply is not None
        assert (reply.status, reply.headers["connection"]) == (400, "close")
        assert reply.json()["error_type"] == "validation"
        assert raw_http.closed(sock)


def test_a_broken_request_behind_a_whole_one_does_not_break_its_answer(server: RuntimeServer) -> None:
    with raw_http.connect(server.http_port) as sock:
        sock.sendall(raw_http.post("/", BODY) + b"GARBAGE\r\n\r\n")
        reply = raw_http.answer(sock)
        assert reply is not None
        assert reply.status == 200
        assert reply.json()
        assert raw_http.closed(sock)


def test_the_server_still_answers(server: RuntimeServer) -> None:
    assert server.post(BODY).status_code == 200
    assert not [line for line in server.lines() if "exception" in line]
