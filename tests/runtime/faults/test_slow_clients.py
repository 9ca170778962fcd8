"""Callers who send slowly, or never to the end, or do not read: they are let go, and the others notice nothing."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.runtime.conftest import Serve
from tests.support import models, raw_http
from tests.support.memory import held, peak_megabytes
from tests.support.runtime_server import RuntimeServer
from tests.support.tiny import generation
from tests.support.waiting import eventually

HEADER_SECONDS, BODY_SECONDS, WRITE_SECONDS = 1.0, 1.0, 1.0
SOON = 15.0
"""Seconds in which a limit of one second has had its effect, on a busy machine."""
CONNECTIONS = 640
ASKED = raw_http.post("/", {"inputs": "a film"})
LONG_ANSWER = 4096
SHORT = {
    "SLIPWAY_HEADER_SECONDS": str(HEADER_SECONDS),
    "SLIPWAY_BODY_SECONDS": str(BODY_SECONDS),
    "SLIPWAY_WRITE_SECONDS": str(WRITE_SECONDS),
    "SLIPWAY_MAX_CONNECTIONS": str(CONNECTIONS),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.classifier(tmp_path_factory.mktemp("slow") / "classifier")


@pytest.fixture(scope="module")
def server(serve: Serve, folder: Path) -> Iterator[RuntimeServer]:
    with serve(folder, **SHORT) as server:
        yield server


@pytest.fixture(scope="module")
def writer(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeServer]:
    """Writes answers of megabytes."""
    folder = generation.decoder(tmp_path_factory.mktemp("slow") / "writer", max_position_embeddings=2 * LONG_ANSWER)
    with serve(folder, SLIPWAY_MAX_NEW_TOKENS=str(LONG_ANSWER), **SHORT) as server:
        yield server


def open_connections(server: RuntimeServer) -> int:
    """How many callers the API's port has, by the kernel's table."""
    table = Path("/proc/net/tcp").read_text().splitlines()[1:]
    rows = (line.split() for line in table)
    return sum(1 for row in rows if int(row[1].split(":")[1], 16) == server.http_port and row[3] in ("01", "08"))


def trickle(sock: socket.socket, byte: bytes = b"x", every: float = 0.2) -> Callable[[], None]:
    """Send a byte now and then until it fails; returns what stops it."""
    stop = threading.Event()

    def run() -> None:
        with contextlib.suppress(OSError):
            while not stop.wait(every):
                sock.sendall(byte)

    threading.Thread(target=run, daemon=True).start()
    return stop.set


@pytest.mark.parametrize("begun", [b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ", b"GET /", b"POST / HTTP/1.1\r\n"])
def test_headers_that_never_end_are_answered_408_however_they_trickle(server: RuntimeServer, begun: bytes) -> None:
    with raw_http.connect(server.http_port) as sock:
        sock.sendall(begun)
        stop = trickle(sock)
        try:
            reply = raw_http.answer(sock)
        finally:
            stop()
        assert reply is not None
        assert (reply.status, reply.json()["error_type"]) == (408, "timeout")
        assert reply.headers["connection"] == "close"
        assert "did not arrive within 1 s" in reply.json()["error"]
        assert raw_http.closed(sock)


@pytest.mark.parametrize("bytes_", [b"", b"\r\n"], ids=["nothing", "empty lines"])
@pytest.mark.parametrize("before", [b"", raw_http.get("/health")], ids=["at first", "after a request"])
def test_a_connection_on_which_no_request_begins_is_closed(server: RuntimeServer, bytes_: bytes, before: bytes) -> None:
    if before and not bytes_:
        return  # an idle connection that has asked before is kept for 75 s, as clients' pools want it
    with raw_http.connect(server.http_port) as sock:
        if before:
            sock.sendall(before)
            assert raw_http.answer(sock) is not None
        stop = trickle(sock, bytes_) if bytes_ else lambda: None
        try:
            assert raw_http.closed(sock)
        finally:
            stop()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", lambda body: body["error_type"]),
        ("/v1/embeddings", lambda body: "timeout" if body["error"]["type"] == "invalid_request_error" else None),
        ("/v2/models/m/infer", lambda body: "timeout" if isinstance(body["error"], str) else None),
        ("/score", lambda body: body["error"]["code"].lower()),
        ("/tokenize", lambda body: body["error_type"]),
    ],
)
@pytest.mark.parametrize(
    "framing", [b"Content-Length: 1000000\r\n\r\n{", b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"]
)
def test_a_body_that_is_never_finished_is_answered_408_in_the_format_s_shape(
    server: RuntimeServer, path: str, kind: Callable[[object], str], framing: bytes
) -> None:
    reply = raw_http.ask(server.http_port, b"POST %b HTTP/1.1\r\nHost: a\r\n%b" % (path.encode(), framing))
    assert reply is not None
    assert (reply.status, kind(reply.json())) == (408, "timeout")
    assert reply.headers["connection"] == "close"
    eventually(lambda: server.status()["inFlight"] == 0)


def test_a_body_that_trickles_is_answered_408_and_one_that_comes_steadily_is_read(server: RuntimeServer) -> None:
    with raw_http.connect(server.http_port) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
        stop = trickle(sock)
        try:
            reply = raw_http.answer(sock)
        finally:
            stop()
        assert reply is not None
        assert reply.status == 408
    body = json.dumps({"inputs": "a film", "parameters": {}}).encode() + b" " * 200_000
    with raw_http.connect(server.http_port) as sock:  # 2.5 s in all, 80 kB/s: slower than BODY_SECONDS, but steady
        sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body))
        for start in range(0, len(body), 8192):
            sock.sendall(body[start : start + 8192])
            time.sleep(0.1)
        reply = raw_http.answer(sock)
    assert reply is not None
    assert reply.status == 200


def test_the_rest_of_a_body_that_nobody_reads_is_thrown_away_and_then_the_connection_closed(
    server: RuntimeServer,
) -> None:
    """Of a request that is refused by its route alone, no byte of the body was ever asked for."""
    for begun, status in ((b"PUT /health", 405), (b"POST /nothing", 404), (b"GET /health", 200)):
        with raw_http.connect(server.http_port) as sock:
            sock.sendall(begun + b" HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n")
            reply = raw_http.answer(sock)
            assert reply is not None
            assert (reply.status, reply.headers["connection"]) == (status, "close")
            with pytest.raises(OSError):
                for _ in range(10_000):
                    sock.sendall(b"x" * 10_000)
    eventually(lambda: open_connections(server) <= 1, timeout=SOON)


def test_10_gb_are_refused_by_their_announcement_with_the_answer_seen_by_who_sends_on(server: RuntimeServer) -> None:
    def act() -> None:
        with raw_http.connect(server.http_port) as sock:
            sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10737418240\r\n\r\n")
            with contextlib.suppress(OSError):
                for _ in range(2000):
                    sock.sendall(b"x" * 65536)
            reply = raw_http.answer(sock)
            assert reply is not None
            assert reply.status == 413
            assert "10737418240 bytes, at most 2097152" in reply.json()["error"]

    assert peak_megabytes(act, server.process.pid) < 64


@pytest.mark.parametrize("megabytes", [200, pytest.param(10_240, marks=pytest.mark.full)])
def test_a_chunked_body_without_an_end_is_refused_as_soon_as_it_is_too_long(
    server: RuntimeServer, megabytes: int
) -> None:
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    sent = 0.0  # megabytes

    def act() -> None:
        nonlocal sent
        while sent < megabytes:  # a caller who comes back as often as he is refused
            with raw_http.connect(server.http_port) as sock:
                sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
                with contextlib.suppress(OSError):
                    for _ in range(80):
                        sock.sendall(chunk)
                        sent += 1 / 16
                reply = raw_http.answer(sock)
                assert reply is not None
                assert reply.status == 413

    assert peak_megabytes(act, server.process.pid) < 64


def test_a_reader_who_never_reads_a_stream_is_cut_off_and_its_work_ends(writer: RuntimeServer) -> None:
    details = {"top_n_tokens": 20, "details": True, "max_new_tokens": LONG_ANSWER, "min_new_tokens": LONG_ANSWER}
    with deaf(writer) as sock:
        sock.sendall(raw_http.post("/generate_stream", {"inputs": "word", "parameters": details}))
        eventually(lambda: writer.status()["inFlight"] == 1)
        eventually(lambda: writer.status()["inFlight"] == 0, timeout=60)
        assert not whole(sock)
    eventually(lambda: any(line.get("code") == 499 for line in writer.lines()), timeout=SOON)


def test_a_reader_who_never_reads_a_long_answer_is_cut_off(writer: RuntimeServer) -> None:
    echo = {"inputs": "x" * 100_000}
    with deaf(writer) as sock:
        sock.sendall(raw_http.post("/tokenize", echo))  # an object per letter: an answer of many megabytes
        eventually(lambda: writer.status()["inFlight"] == 1, interval=0.005)
        eventually(lambda: open_connections(writer) == 0, timeout=60)
        assert not whole(sock)


@contextlib.contextmanager
def deaf(server: RuntimeServer) -> Iterator[socket.socket]:
    """A connection of which the kernel takes little before anybody reads."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(60)
        sock.connect(("127.0.0.1", server.http_port))
        yield sock


def whole(sock: socket.socket) -> bool:
    """Whether what was sent, read at last, ends as an answer does."""
    data = b""
    try:
        while more := sock.recv(1 << 20):
            data += more
    except ConnectionResetError:
        return False
    head, _, body = data.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length:")), None)
    return body.endswith(b"0\r\n\r\n") if length is None else len(body) == length


@pytest.mark.parametrize("count", [40, pytest.param(500, marks=pytest.mark.full)])
def test_others_are_answered_beside_slowloris_sockets(server: RuntimeServer, count: int) -> None:
    def latencies(requests: int) -> list[float]:
        found = []
        with httpx.Client(base_url=server.url, timeout=60) as client:
            for _ in range(requests):
                answer = client.post("/", json={"inputs": "a film"})
                assert answer.status_code == 200
                found.append(answer.elapsed.total_seconds())
        return found

    requests = count
    before = latencies(requests)
    stop = threading.Event()

    def attack(number: int) -> None:
        socks: list[socket.socket] = []
        while not stop.is_set():
            while len(socks) < number:
                sock = raw_http.connect(server.http_port)
                sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\n")
                socks.append(sock)
            for sock in list(socks):
                try:
                    sock.sendall(b"X-a: b\r\n")
                except OSError:
                    sock.close()
                    socks.remove(sock)
            stop.wait(0.2)
        for sock in socks:
            sock.close()

    attackers = [threading.Thread(target=attack, args=(count // 5,)) for _ in range(5)]
    for attacker in attackers:
        attacker.start()
    try:
        eventually(lambda: open_connections(server) >= count * 0.9, timeout=SOON)
        beside = latencies(requests)
    finally:
        stop.set()
        for attacker in attackers:
            attacker.join()
    for name, found in (("alone", before), ("beside", beside)):
        p50, p99 = statistics.median(found), statistics.quantiles(found, n=100)[98]
        print(f"{name} {count} slowloris sockets: p50 {p50 * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms")
    assert max(beside) < 10  # the figures are in FIGURES.md; here: nobody waits for a slow one
    eventually(lambda: open_connections(server) <= 1, timeout=SOON)


def test_one_connection_too_many_takes_the_place_of_one_that_has_sent_nothing(serve: Serve, folder: Path) -> None:
    with serve(folder, SLIPWAY_MAX_CONNECTIONS="20") as server, contextlib.ExitStack() as stack:
        idle = [stack.enter_context(raw_http.connect(server.http_port)) for _ in range(20)]
        for _ in range(10):
            assert server.post({"inputs": "a film"}).status_code == 200
        idle[0].settimeout(SOON)
        assert raw_http.closed(idle[0])
        # Connections that have asked and may ask again keep their places: one more is told so.
        kept = [stack.enter_context(raw_http.connect(server.http_port)) for _ in range(20)]
        for sock in kept:
            sock.sendall(ASKED)
            reply = raw_http.answer(sock)
            assert reply is not None
            assert reply.status == 200
        reply = raw_http.ask(server.http_port, b"")
        assert reply is not None
        assert (reply.status, reply.headers["retry-after"]) == (429, "1")
        assert reply.json()["error"] == "20 connections are open, the most allowed; try again later"
        kept[0].sendall(ASKED)
        assert raw_http.answer(kept[0]) is not None
        assert server.probe("livez") == 200


def test_connections_that_come_and_go_leave_no_handle(server: RuntimeServer) -> None:
    assert server.post({"inputs": "a film"}).status_code == 200
    before = held(server.process.pid).handles
    for _ in range(100):
        with raw_http.connect(server.http_port) as sock:
            sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\n{")
    eventually(lambda: held(server.process.pid).handles <= before + 2, timeout=SOON)


def test_requests_sent_behind_one_another_are_answered_in_order_up_to_a_number(server: RuntimeServer) -> None:
    with raw_http.connect(server.http_port) as sock:
        sock.sendall(ASKED + raw_http.get("/nothing") + raw_http.get("/health"))
        data = b""
        while data.count(b"HTTP/1.1 ") < 3 or not data.endswith(b'{"status":"ok"}'):
            data += sock.recv(65536)
        assert re.findall(rb"HTTP/1\.1 (\d+)", data) == [b"200", b"404", b"200"]
    with raw_http.connect(server.http_port) as sock:
        sock.sendall(raw_http.get("/health") * 5000)  # each would take memory while it waits
        assert raw_http.closed(sock)
    assert server.post({"inputs": "a film"}).status_code == 200


@pytest.mark.parametrize("protocol", ["h2c", "websocket", "TLS/1.2"])
def test_an_upgrade_is_passed_over_and_the_body_beside_it_read(server: RuntimeServer, protocol: str) -> None:
    """Java's client asks for HTTP/2 in this way with its first request."""
    headers = ("Connection: Upgrade, HTTP2-Settings", f"Upgrade: {protocol}", "HTTP2-Settings: AAEAAEAAAAIAAAAB")
    request = raw_http.post("/", {"inputs": "a film"}, *headers)
    for pieces in ([request], [request[:40], request[40:-5], request[-5:]], [request[:-13], request[-13:]]):
        with raw_http.connect(server.http_port) as sock:
            for piece in pieces:
                sock.sendall(piece)
                time.sleep(0.02)
            reply = raw_http.answer(sock)
            assert reply is not None
            assert (reply.status, reply.headers["connection"]) == (200, "close")
    chunked = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\n\r\n"
    content = json.dumps({"inputs": "a film"}).encode()
    reply = raw_http.ask(server.http_port, chunked + b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content))
    assert reply is not None
    assert reply.status == 200
