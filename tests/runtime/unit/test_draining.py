"""The listener's last moment, with real sockets."""

from __future__ import annotations

import socket

import pytest
from slipway_runtime.serve.edge.draining import refuse_handshakes
from slipway_runtime.serve.edge.listening import listen


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", ""])
def test_connections_that_have_begun_are_accepted_and_no_new_one_begins(host: str) -> None:
    try:
        listener = listen(host, 0)
    except OSError as error:
        pytest.skip(f"no such addresses here: {error}")
    port, to = listener.getsockname()[1], host or "127.0.0.1"
    with listener, socket.create_connection((to, port)) as begun:
        begun.sendall(b"a request")
        refuse_handshakes(listener)
        with socket.socket(socket.AF_INET6 if ":" in to else socket.AF_INET) as late:
            late.settimeout(0.3)
            with pytest.raises(TimeoutError):
                late.connect((to, port))
        listener.setblocking(True)
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.recv(100) == b"a request"
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
