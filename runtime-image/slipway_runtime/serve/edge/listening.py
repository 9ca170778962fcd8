"""Sockets and uvicorn, without uvicorn's signal handling.

It closes listeners at once, while callers are still on their way.
"""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from slipway_runtime.serve.edge.accepting import Acceptor, Turns
from slipway_runtime.serve.edge.connection import MAX_REFUSALS, ConnectionLimits, bounded

_OTHER_FILES = 256  # handles of what is no connection: weights, libraries, listeners


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. An empty host: all addresses, IPv6 and IPv4 where the machine has both. Raises OSError."""
    if host:
        return _bind(socket.AF_INET6 if ":" in host else socket.AF_INET, host, port)
    if socket.has_dualstack_ipv6():
        try:
            return _bind(socket.AF_INET6, "::", port, dual=True)
        except OSError as error:
            if error.errno not in _NO_IPV6:
                raise
    return _bind(socket.AF_INET, "0.0.0.0", port)


# linux/tcp.h; accepted connections have it from their listener. What the kernel holds for a caller who does not read is
# then bounded (else 4 MB), and noticed sooner; lines with long round trips are as fast as before.
_TCP_NOTSENT_LOWAT = 25
_UNSENT_BYTES = 128 * 1024
# EAFNOSUPPORT, EADDRNOTAVAIL: a kernel or a pod without IPv6
_NO_IPV6 = (97, 99)


def _bind(family: socket.AddressFamily, host: str, port: int, *, dual: bool = False) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if dual:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
        sock.bind((host, port))
        sock.listen(2048)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def allow_files(connections: int) -> None:
    """Raise the process's own limit on open files to what so many connections take, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * (connections + MAX_REFUSALS) + _OTHER_FILES  # both ports
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


class Server(uvicorn.Server):
    """A uvicorn server on a socket that is ours, stopped by `should_exit`.

    `turns`, with this process's number: where other processes accept on the same socket.
    """

    def __init__(
        self, app: ASGIApp, *, drain_seconds: float, limits: ConnectionLimits, turns: tuple[Turns, int] | None = None
    ) -> None:
        self._turns = turns
        super().__init__(
            uvicorn.Config(
                app,
                http=bounded(limits),
                lifespan="off",
                access_log=False,
                log_config=None,
                server_header=False,
                date_header=True,
                proxy_headers=False,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=max(1, round(drain_seconds)),
                backlog=2048,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn; its own way of accepting leaves nothing to other processes."""
        if self._turns is None:
            await super().startup(sockets)
            return
        await super().startup([])

        def connection() -> asyncio.Protocol:
            made: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
                config=self.config, server_state=self.server_state, app_state=self.lifespan.state
            )
            return made

        open_ = self.server_state.connections
        self.servers = [Acceptor(sock, connection, open_, *self._turns) for sock in sockets or ()]  # type: ignore[misc]

    @contextmanager
    def capture_signals(self) -> Generator[None, Any, None]:
        """None: process.py handles SIGTERM for both servers."""
        yield
