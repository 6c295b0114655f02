"""Clients that ask and read slowly, or not at all."""

import asyncio
import socket
from urllib.parse import urlencode

from ocelot_devstack.services import ServiceProcess


class UnreadAnswer:
    """A connection that reads the status of its answer and nothing more.

    Attributes:
        status: of the answer.
        head: the first bytes that came.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self.head = b""

    @classmethod
    async def get(
        cls, api: ServiceProcess, path: str, headers: dict[str, str], **params: str
    ) -> "UnreadAnswer":
        """Ask, with a small receive buffer, and wait for the status."""
        host, _, port = api.url.removeprefix("http://").partition(":")
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        sock.setblocking(False)
        answer = cls(sock)
        try:
            await answer._ask((host, int(port)), path, headers, params)
        except BaseException:
            sock.close()
            raise
        return answer

    async def _ask(
        self,
        address: tuple[str, int],
        path: str,
        headers: dict[str, str],
        params: dict[str, str],
    ) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_connect(self._socket, address)
        target = f"{path}?{urlencode(params)}" if params else path
        lines = [f"GET {target} HTTP/1.1", f"Host: {address[0]}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        await loop.sock_sendall(self._socket, "\r\n".join([*lines, "", ""]).encode())
        while len(self.head) < len("HTTP/1.1 200 "):
            piece = await self.some(13 - len(self.head))
            if not piece:
                break
            self.head += piece

    @property
    def status(self) -> int:
        """The status; 0 if there is none."""
        return int(self.head[9:12] or b"0")

    async def some(self, size: int) -> bytes:
        """The next bytes, at most so many; none at the end of the connection."""
        return await asyncio.get_running_loop().sock_recv(self._socket, size)

    async def rest(self) -> bytes:
        """What comes after the status, to the end of the connection."""
        pieces = []
        while piece := await self.some(1024 * 1024):
            pieces.append(piece)
        return b"".join(pieces)

    def close(self) -> None:
        """Leave."""
        self._socket.close()
