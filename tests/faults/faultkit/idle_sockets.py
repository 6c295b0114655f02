"""Keeps connections to one address open and sends nothing; opens another for each that is closed.

A program of its own: a process has a bounded number of descriptors, and a source address a bounded
number of ports. Writes a line of JSON each half second: how many connections are open, and how
many the server has closed so far.

    python idle_sockets.py HOST PORT NUMBER SOURCE-ADDRESS
"""

import contextlib
import errno
import json
import resource
import selectors
import socket
import sys
import time
from typing import Final

#: So that opening them costs the machine little.
_PER_TURN: Final = 100
_TURN_SEC: Final = 0.02
_REPORT_SEC: Final = 0.5


class IdleSockets:
    """The connections of one process."""

    def __init__(self, address: tuple[str, int], number: int, source: str) -> None:
        self._address = address
        self._number = number
        self._source = source
        self._selector = selectors.DefaultSelector()
        self._connecting: set[socket.socket] = set()
        self._open: set[socket.socket] = set()
        self.closed = 0

    def turn(self) -> None:
        """Open what is missing, a few at a time, and see what was closed."""
        missing = self._number - len(self._open) - len(self._connecting)
        for _ in range(min(missing, _PER_TURN)):
            self._connect()
        for key, events in self._selector.select(_TURN_SEC):
            assert isinstance(key.fileobj, socket.socket)
            self._look_at(key.fileobj, events)
        time.sleep(_TURN_SEC)

    def report(self) -> None:
        """Write a line."""
        line = {"open": len(self._open), "waiting": len(self._connecting), "closed": self.closed}
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()

    def _connect(self) -> None:
        made = socket.socket()
        made.setblocking(False)
        # The port is chosen by the connection, not by the bind: else there are fewer of them.
        made.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
        made.bind((self._source, 0))
        if made.connect_ex(self._address) not in (0, errno.EINPROGRESS):
            made.close()
            return
        self._connecting.add(made)
        self._selector.register(made, selectors.EVENT_WRITE)

    def _look_at(self, known: socket.socket, events: int) -> None:
        if known in self._connecting:
            self._connecting.discard(known)
            if known.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self._forget(known)
                return
            self._open.add(known)
            self._selector.modify(known, selectors.EVENT_READ)
        elif events & selectors.EVENT_READ:
            with contextlib.suppress(OSError):
                if known.recv(65_536):
                    return  # an answer before it is closed
            self._open.discard(known)
            self.closed += 1
            self._forget(known)

    def _forget(self, known: socket.socket) -> None:
        self._selector.unregister(known)
        known.close()


def main() -> None:
    """Run until killed."""
    host, port, number, source = sys.argv[1:]
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    sockets = IdleSockets((host, int(port)), int(number), source)
    reported = 0.0
    while True:
        sockets.turn()
        if time.monotonic() - reported > _REPORT_SEC:
            reported = time.monotonic()
            sockets.report()


if __name__ == "__main__":
    main()
