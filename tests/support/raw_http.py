"""HTTP by hand, over plain sockets: for requests that no client would send, and answers read to the last byte."""

from __future__ import annotations

import contextlib
import json
import socket
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RawReply:
    """One answer."""

    status: int
    headers: dict[str, str]
    """Lower-case names."""
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body, parse_constant=_no_json)


def connect(port: int, timeout: float = 20.0) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout)


def ask(port: int, request: bytes, timeout: float = 20.0) -> RawReply | None:
    """The answer to these bytes; None where the connection is closed without one."""
    with connect(port, timeout) as sock:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            sock.sendall(request)  # refused while it is still being sent: the answer is there to be read
        return answer(sock)


def answer(sock: socket.socket, *, head: bool = False) -> RawReply | None:
    """The next answer on this connection, of a HEAD request without a body; None where it is closed."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = sock.recv(65536)
        if not more:
            assert not data, f"closed in the middle of an answer: {data[:200]!r}"
            return None
        data += more
    top, _, body = data.partition(b"\r\n\r\n")
    first, *lines = top.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = 0 if head else int(headers.get("content-length", 0))
    while len(body) < length:
        more = sock.recv(65536)
        assert more, "closed in the middle of a body"
        body += more
    return RawReply(int(first.split()[1]), headers, body)


def closed(sock: socket.socket) -> bool:
    """Whether the other side has closed it; what still comes before is read. TimeoutError where nothing happens."""
    with contextlib.suppress(ConnectionResetError):
        while sock.recv(65536):
            pass
    return True


def post(path: str, body: object, *headers: str) -> bytes:
    """A whole request; `body`: bytes, or what becomes JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"POST {path} HTTP/1.1", "Host: a", f"Content-Length: {len(content)}", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + content


def get(path: str, *headers: str, method: str = "GET") -> bytes:
    """A whole request without a body."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: a", *headers, "", ""]).encode("latin-1")


def _no_json(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
