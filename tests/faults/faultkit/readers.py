"""Clients that ask and do not read, and memory while they wait."""

import asyncio
import socket
from pathlib import Path
from urllib.parse import urlencode

from ocelot_devstack.services import ServiceProcess


def resident_bytes(pid: int) -> int:
    """Memory that a process has at present."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096


def peak_bytes(pid: int) -> int:
    """The most memory that a process ever had, as the kernel counts it."""
    status = Path(f"/proc/{pid}/status").read_text()
    kibibytes = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(kibibytes.split()[1]) * 1024


async def growth_of(pid: int, until: asyncio.Event) -> int:
    """By how many bytes a new process grew at most, however seldom this loop has its turn."""
    before = resident_bytes(pid)
    await until.wait()
    return peak_bytes(pid) - before


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
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, (host, int(port)))
        target = f"{path}?{urlencode(params)}" if params else path
        lines = [f"GET {target} HTTP/1.1", f"Host: {host}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        await loop.sock_sendall(sock, "\r\n".join([*lines, "", ""]).encode())
        answer = cls(sock)
        while len(answer.head) < len("HTTP/1.1 200 "):
            piece = await loop.sock_recv(sock, 13 - len(answer.head))
            if not piece:
                break
            answer.head += piece
        return answer

    @property
    def status(self) -> int:
        """The status; 0 if there is none."""
        return int(self.head[9:12] or b"0")

    async def rest(self) -> bytes:
        """What comes after the status, to the end of the connection."""
        loop = asyncio.get_running_loop()
        pieces = []
        while piece := await loop.sock_recv(self._socket, 1024 * 1024):
            pieces.append(piece)
        return b"".join(pieces)

    def close(self) -> None:
        """Leave."""
        self._socket.close()
