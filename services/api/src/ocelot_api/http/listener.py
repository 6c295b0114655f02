"""Accepts connections, as many as the process may have.

An event loop's own server accepts without bound: at the limit it could only close what it has
accepted, which a proxy answers with 502. A connection that is not accepted waits in the kernel.
"""

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Final

from ocelot_api.http.bounds import SEND_BUFFER_BYTES
from ocelot_api.http.connections import Connections
from ocelot_common.telemetry.logs import get_logger

#: Connections that wait in the kernel, which may hold fewer (net.core.somaxconn).
BACKLOG: Final = 2_048
#: Accepted at a time, before others have their turn.
_ACCEPTED: Final = 64
_PAUSE_SEC: Final = 1.0
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

log = get_logger(__name__)


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that has an address and does not listen yet.

    Raises:
        OSError: the address is taken, or none of this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setblocking(False)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted sockets inherit it.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound


class Listener:
    """Accepts from one listening socket while there is room.

    Args:
        listening: has an address and does not block; closed with the listener.
        connections: hold the limit, and say when there is room again.
        protocol: makes the protocol of a connection.
    """

    def __init__(
        self,
        listening: socket.socket,
        connections: Connections,
        protocol: Callable[[], asyncio.BaseProtocol],
    ) -> None:
        self._socket = listening
        self._connections = connections
        self._protocol = protocol
        self._loop = connections.loop
        self._accepting = False
        self._closed = False
        self._tasks: set[asyncio.Task[None]] = set()
        listening.listen(BACKLOG)
        connections.on_room = self._resume
        self._resume()

    def close(self) -> None:
        """Take what the kernel has accepted already, as far as there is room; listen no more."""
        if not self._closed:
            while self._accept_one():
                pass
            self._pause()
            self._closed = True
            self._socket.close()

    def _resume(self) -> None:
        if not (self._accepting or self._closed or self._connections.full):
            self._accepting = True
            self._connections.waiting = False
            self._loop.add_reader(self._socket, self._accept)

    def _pause(self) -> None:
        if self._accepting:
            self._accepting = False
            self._loop.remove_reader(self._socket)

    def _accept(self) -> None:
        if self._connections.full:  # and somebody waits
            self._pause()
            self._connections.want_room()
            return
        for _ in range(_ACCEPTED):
            if not self._accept_one():
                return

    def _accept_one(self) -> bool:
        """Whether there may be another connection to accept."""
        if self._connections.full:
            return False
        try:
            accepted, _ = self._socket.accept()
        except (BlockingIOError, InterruptedError):
            return False
        except ConnectionError:  # it is gone already
            return True
        except OSError as error:
            if error.errno not in _EXHAUSTED:
                raise
            log.warning("accept_failed", error=str(error))
            self._pause()
            self._loop.call_later(_PAUSE_SEC, self._resume)
            return False
        self._connections.accepted()
        task = self._loop.create_task(self._open(accepted))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def _open(self, accepted: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol, accepted)
        except OSError:  # it is gone already
            accepted.close()
            self._connections.failed()
