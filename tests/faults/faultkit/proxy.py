"""A small TCP proxy whose connections can be delayed, cut, half-closed and blackholed."""

import asyncio
import contextlib
import socket
import struct
import time
from enum import Enum
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

from ocelot_devstack.ports import free_port

_CHUNK: Final = 64 * 1024
#: SO_LINGER on with 0 seconds: close() sends RST, as a process that was killed or a firewall does.
_RESET: Final = struct.pack("ii", 1, 0)


class Direction(Enum):
    """Which way bytes go."""

    TO_SERVER = "to_server"
    TO_CLIENT = "to_client"


class _Pipe:
    """One direction of one connection."""

    def __init__(
        self,
        proxy: "Proxy",
        direction: Direction,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._proxy = proxy
        self._direction = direction
        self._reader = reader
        self._writer = writer

    async def run(self) -> None:
        while True:
            await self._proxy.until_open(self._direction)
            chunk = await self._reader.read(_CHUNK)
            # Also what was read while the hole opened is kept back.
            await self._proxy.until_open(self._direction)
            if self._proxy.delay_sec:
                await asyncio.sleep(self._proxy.delay_sec)
            if not chunk:
                with contextlib.suppress(OSError, RuntimeError):
                    self._writer.write_eof()
                return
            self._proxy.passed[self._direction] += len(chunk)
            self._writer.write(chunk)
            await self._writer.drain()


class Proxy:
    """Passes connections on to one server; an async context manager.

    Blackholed bytes are kept and go on with `heal`, as TCP's repetitions do: what was sent into the
    hole may arrive later.

    Args:
        target: URL or `host:port` of the server.

    Attributes:
        delay_sec: how long each piece of data is held back, in both directions.
        passed: bytes by direction.
        accepted: connections so far.
    """

    def __init__(self, target: str) -> None:
        parts = urlsplit(target if "//" in target else f"//{target}")
        assert parts.hostname is not None
        assert parts.port is not None
        self._target = (parts.hostname, parts.port)
        self.delay_sec = 0.0
        self.passed = dict.fromkeys(Direction, 0)
        self.accepted = 0
        self._open = {direction: asyncio.Event() for direction in Direction}
        for event in self._open.values():
            event.set()
        self._server: asyncio.Server | None = None
        # Not one that the system gives to outgoing connections: it is free when `heal` needs it.
        self._port = free_port()
        self._connections: dict[asyncio.Task[None], list[asyncio.StreamWriter]] = {}

    @property
    def address(self) -> str:
        """`host:port` for clients."""
        return f"127.0.0.1:{self._port}"

    @property
    def connections(self) -> int:
        """Those that are open."""
        return len(self._connections)

    async def __aenter__(self) -> Self:
        """Listen on a free port, which stays the same."""
        await self._listen()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Cut everything."""
        await self.refuse()

    async def until_open(self, direction: Direction) -> None:
        """Wait while this direction is a hole."""
        await self._open[direction].wait()

    def delay(self, seconds: float) -> None:
        """Hold back every piece of data from now on."""
        self.delay_sec = seconds

    def blackhole(self, *directions: Direction) -> None:
        """Take connections and bytes, and pass none on; both directions unless told otherwise."""
        for direction in directions or tuple(Direction):
            self._open[direction].clear()

    def cut(self) -> int:
        """Reset every open connection; new ones are served. How many there were."""
        for task, writers in self._connections.items():
            for writer in writers:
                sock = writer.get_extra_info("socket")
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                writer.transport.abort()
            task.cancel()
        return len(self._connections)

    def half_close(self) -> int:
        """Send FIN to every client, and keep taking what it sends. How many there were."""
        for client, *_ in self._connections.values():
            with contextlib.suppress(OSError, RuntimeError):
                client.write_eof()
        return len(self._connections)

    async def refuse(self) -> None:
        """Cut everything and stop listening: connections are refused."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.cut()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def heal(self) -> None:
        """Pass on everything again, what was held back included."""
        self.delay_sec = 0.0
        for event in self._open.values():
            event.set()
        if self._server is None:
            await self._listen()

    async def _listen(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
                break
            except OSError:  # a client's connection may hold the port for a moment
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.1)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.accepted += 1
        writers = [writer]
        self._connections[task] = writers
        try:
            # A connection that is made into the hole reaches nobody either.
            await self.until_open(Direction.TO_SERVER)
            server_reader, server_writer = await asyncio.open_connection(*self._target)
            writers.append(server_writer)
            pipes = (
                _Pipe(self, Direction.TO_SERVER, reader, server_writer),
                _Pipe(self, Direction.TO_CLIENT, server_reader, writer),
            )
            async with asyncio.TaskGroup() as group:
                for pipe in pipes:
                    group.create_task(pipe.run())
        except* (OSError, RuntimeError, asyncio.CancelledError):
            pass  # either side went away, or `cut` was called
        finally:
            self._connections.pop(task, None)
            for each in writers:
                each.transport.abort() if task.cancelling() else each.close()
