"""A client of the real HTTP edge whose transport is memory: no kernel, but every parser."""

import asyncio
import socket
from collections.abc import Sequence
from typing import Any, Final

from ocelot_api.http.bounds import READ_BYTES
from ocelot_api.http.connection import Connection
from ocelot_api.http.connections import Connections

_HEAD_END: Final = b"\r\n\r\n"
_LENGTH: Final = b"content-length: "


class MemoryTransport(asyncio.Transport):
    """Feeds one request to a connection as an event loop would, and keeps the answer.

    Args:
        connection: that the request arrives on.
        request: its bytes.
        peer: a socket whose descriptor the connection may ask; nothing is sent over it.
    """

    def __init__(self, connection: Connection, request: bytes, peer: socket.socket) -> None:
        super().__init__({"socket": peer, "peername": ("127.0.0.1", 1), "sockname": ("x", 80)})
        self._connection = connection
        self._request = memoryview(request)
        self._loop = asyncio.get_running_loop()
        self._at = 0
        self._paused = False
        self._closing = False
        self._answer = bytearray()
        self._missing: int | None = None
        self.answered: asyncio.Future[None] = self._loop.create_future()
        connection.connection_made(self)
        self._loop.call_soon(self._feed)

    @property
    def answer(self) -> tuple[int, bytes]:
        """Status and content."""
        head, _, content = bytes(self._answer).partition(_HEAD_END)
        return int(head[9:12]), content

    def _feed(self) -> None:
        """Hand over what one read of the event loop would bring."""
        if self._paused or self._closing or self._at >= len(self._request):
            return
        piece = bytes(self._request[self._at : self._at + READ_BYTES])
        self._at += len(piece)
        self._connection.data_received(piece)
        self._loop.call_soon(self._feed)

    def pause_reading(self) -> None:
        """Hand over nothing more for now."""
        self._paused = True

    def resume_reading(self) -> None:
        """Go on."""
        if self._paused:
            self._paused = False
            self._loop.call_soon(self._feed)

    def write(self, data: Any) -> None:
        """Keep a piece of the answer, which is whole once it has the length that its head says."""
        self._answer += data
        if self._missing is None:
            head, end, content = self._answer.partition(_HEAD_END)
            if not end:
                return
            length = int(head.lower().partition(_LENGTH)[2].partition(b"\r\n")[0])
            self._missing = length - len(content)
        else:
            self._missing -= len(data)
        if self._missing <= 0 and not self.answered.done():
            self.answered.set_result(None)

    def get_write_buffer_size(self) -> int:
        """The client takes all at once."""
        return 0

    def is_closing(self) -> bool:
        """Whether the connection wants no more."""
        return self._closing

    def can_write_eof(self) -> bool:
        """As a socket."""
        return True

    def write_eof(self) -> None:
        """The connection sends nothing more."""

    def close(self) -> None:
        """End, once."""
        if self._closing:
            return
        self._closing = True
        if not self.answered.done():
            self.answered.set_exception(ConnectionError("closed without an answer"))
        self._loop.call_soon(self._connection.connection_lost, None)

    def abort(self) -> None:
        """End at once."""
        self.close()


async def exchange(
    connections: Connections, peer: socket.socket, request: bytes
) -> MemoryTransport:
    """Have one request answered on a connection of its own."""
    connections.accepted()
    transport = MemoryTransport(Connection(connections), request, peer)
    try:
        await transport.answered
    finally:
        transport.close()
    return transport


def request_bytes(
    method: str, path: str, query: bytes, headers: Sequence[tuple[bytes, bytes]], body: bytes
) -> bytes:
    """A request as it goes over the wire."""
    target = path.encode() + (b"?" + query if query else b"")
    lines = [
        b"%b %b HTTP/1.1" % (method.encode(), target),
        b"host: localhost",
        *(b"%b: %b" % header for header in headers),
        b"content-length: %d" % len(body),
        b"",
        body,
    ]
    return b"\r\n".join(lines)
