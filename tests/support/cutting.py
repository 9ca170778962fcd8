"""A line that breaks: a TCP forwarder that closes connections in the middle of an answer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Line:
    """Its address, and what it does to those who use it; may be changed while it runs."""

    host: str
    cut_after: int = 0
    """Close a connection once so many bytes of answers have passed; 0: never."""
    cuts: int = 0
    """How many connections are still to be cut."""
    done: int = 0
    """How many were."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def cut(self, passed: int) -> bool:
        with self.lock:
            if not self.cut_after or self.cuts <= 0 or passed < self.cut_after:
                return False
            self.cuts, self.done = self.cuts - 1, self.done + 1
            return True


@contextmanager
def line_to(port: int) -> Iterator[Line]:
    """Forward a port of this machine to `port` on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        line = Line(f"127.0.0.1:{listener.getsockname()[1]}")
        stop = threading.Event()
        thread = threading.Thread(target=_accept, args=(listener, port, line, stop), daemon=True)
        listener.settimeout(0.1)
        thread.start()
        try:
            yield line
        finally:
            stop.set()
            thread.join()


def _accept(listener: socket.socket, port: int, line: Line, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            caller, _ = listener.accept()
        except TimeoutError:
            continue
        caller.settimeout(None)
        server = socket.create_connection(("127.0.0.1", port))
        for work in ((caller, server, None), (server, caller, line)):
            threading.Thread(target=_pump, args=work, daemon=True).start()


def _pump(source: socket.socket, target: socket.socket, line: Line | None) -> None:
    passed = 0
    with suppress(OSError):
        while data := source.recv(16 * 1024):
            passed += len(data)
            target.sendall(data)
            if line is not None and line.cut(passed):
                break
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        if line is not None:
            end.close()
