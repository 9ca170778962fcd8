"""How a server stops listening and lets its connections go, without cutting off a request.

uvicorn closes listeners and idle connections at once. Connections that the kernel has made and nobody has accepted are
then reset, and so are requests on their way on a connection that was idle. Instead:

1. no new connection begins; those that have begun are accepted      SETTLE_SECONDS
2. the listener closes: whoever connects is refused
3. what is in flight is finished, up to a limit. Idle connections stay: what comes on them is still answered, with
   `connection: close` (middleware.py)
4. what is left at the limit is told so in its format's shape        TELL_SECONDS for slow readers
5. connections on which nothing has come for LAST_SECONDS are closed
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import select
import socket
import struct
import time
from typing import Any

from slipway_runtime.serve.edge.listening import Server
from slipway_runtime.serve.observe.logs import event

SETTLE_SECONDS = 0.2
LAST_SECONDS = 1.0
TELL_SECONDS = 2.0
_LOOK_SECONDS = 0.02

SO_ATTACH_FILTER = 26  # asm-generic/socket.h
# Classic BPF over the TCP header: (flags & (SYN|ACK)) == SYN → drop, else keep. The sender of a SYN that is dropped
# tries again a second later, and is then refused; whoever has got as far as a SYN+ACK is let in.
_NO_SYN = ((0x30, 0, 0, 13), (0x54, 0, 0, 0x12), (0x15, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))


async def drain(server: Server, listener: socket.socket, *, seconds: float, hurry: asyncio.Event) -> None:
    """Returns when all connections are closed: after `seconds` and what telling takes at the latest, or soon after
    `hurry` is set."""
    if not hurry.is_set():
        refuse_handshakes(listener)
        await asyncio.sleep(SETTLE_SECONDS)
    for own in server.servers:
        own.close()
    listener.close()
    state = server.server_state
    deadline = quiet_since = time.monotonic()
    deadline += seconds
    while state.connections and not hurry.is_set():
        now = time.monotonic()
        if any(_busy(connection) for connection in state.connections):
            quiet_since = now
            if now >= deadline:
                break
        elif now - quiet_since >= LAST_SECONDS or now >= deadline:
            _close_idle(state.connections)
        await asyncio.sleep(_LOOK_SECONDS)
    await _tell(server)


async def _tell(server: Server) -> None:
    """End what is left; each request writes its own last words when it is cancelled."""
    state = server.server_state
    if state.tasks:  # some have answered, and are about to end
        await asyncio.wait(list(state.tasks), timeout=_LOOK_SECONDS)
    until = time.monotonic() + TELL_SECONDS
    if state.tasks:
        event("requests in flight were ended", requests=len(state.tasks))
        for task in list(state.tasks):
            task.cancel()
        await asyncio.wait(list(state.tasks), timeout=TELL_SECONDS)
    for connection in list(state.connections):
        connection.transport.close()  # what was written goes out first
    while state.connections and (left := until - time.monotonic()) > 0:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(min(left, _LOOK_SECONDS))


def refuse_handshakes(listener: socket.socket) -> None:
    """From now on no connection begins on `listener`, while those that have begun can still be accepted.

    Where the kernel has no such filters (gVisor), connections that come in the last moment are reset.
    """
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in _NO_SYN))
    fprog = struct.pack("HP", len(_NO_SYN), ctypes.addressof(program))
    with contextlib.suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, fprog)


def _busy(connection: Any) -> bool:
    cycle = connection.cycle
    return cycle is not None and not cycle.response_complete


def _close_idle(connections: set[Any]) -> None:
    """Close those on which nothing has come that was not read yet: closing over unread bytes resets them."""
    idle = {
        connection.transport.get_extra_info("socket").fileno(): connection
        for connection in connections
        if not _busy(connection) and not connection.transport.is_closing()
    }
    poll = select.poll()
    for fd in idle:
        poll.register(fd, select.POLLIN)
    unread = {fd for fd, _ in poll.poll(0)}
    for fd, connection in idle.items():
        if fd not in unread:
            connection.transport.close()
