"""Connections of one listening socket, shared among several processes: whoever has fewer open takes the next.

The kernel wakes all that wait, and a loop that accepts until nobody is left takes them all: of 32 connections that come
at once, one of two processes got 5, 31, 32, 0 (measured with libuv's). A socket for each (SO_REUSEPORT) leaves it to a
hash, 20 and 12, and two connections on one process half of the time; and who hangs would get its share still.
"""

from __future__ import annotations

import asyncio
import mmap
import socket
from collections.abc import Callable, Sized
from typing import Any

GIVE_WAY_SECONDS = 0.001
GIVE_WAY_TIMES = 5
_NO_HANDLES_SECONDS = 1.0


class Turns:
    """How many connections each process has, in memory that children share. To be made before they are forked."""

    def __init__(self, processes: int) -> None:
        self._open = memoryview(mmap.mmap(-1, 8 * processes)).cast("Q")

    def more_than_another(self, number: int, connections: int) -> bool:
        """Note what process `number` has; whether another has less."""
        self._open[number] = connections
        return connections > min(self._open)

    def leave(self, number: int) -> None:
        """It accepts no more."""
        self._open[number] = 2**64 - 1


class Acceptor:
    """Accepts one connection at a time. In the place of an asyncio.Server, of which `close` is used."""

    def __init__(
        self,
        listener: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
        connections: Sized,
        turns: Turns,
        number: int,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._protocol = protocol
        self._connections = connections
        self._turns = turns
        self._number = number
        self._gave_way = 0
        self._coming: set[asyncio.Task[Any]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._listen()

    def close(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._listener)
        self._turns.leave(self._number)

    def _listen(self) -> None:
        self._loop.add_reader(self._listener, self._accept)

    def _wait(self, seconds: float) -> None:
        self._loop.remove_reader(self._listener)
        self._pause = self._loop.call_later(seconds, self._listen)

    def _accept(self) -> None:
        mine = len(self._connections) + len(self._coming)
        # Not for ever: the other may be in the middle of something, or hang.
        if self._turns.more_than_another(self._number, mine) and self._gave_way < GIVE_WAY_TIMES:
            self._gave_way += 1
            self._wait(GIVE_WAY_SECONDS)
            return
        self._gave_way = 0
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):  # another took it; its caller has gone
            return
        except OSError:  # no handle is left: asyncio waits as long
            self._wait(_NO_HANDLES_SECONDS)
            return
        self._turns.more_than_another(self._number, mine + 1)
        connection.setblocking(False)
        task = self._loop.create_task(self._loop.connect_accepted_socket(self._protocol, connection))
        self._coming.add(task)
        task.add_done_callback(self._arrived)

    def _arrived(self, task: asyncio.Task[Any]) -> None:
        self._coming.discard(task)
        task.exception()  # a caller who has gone meanwhile is nothing to tell of
