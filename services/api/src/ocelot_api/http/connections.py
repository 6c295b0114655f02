"""All connections of the process: their number, their time limits, and their end."""

import asyncio
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Final

from starlette.types import ASGIApp

from ocelot_api.http.bounds import READ_BYTES, EdgeBounds
from ocelot_api.http.connection import Connection
from ocelot_api.http.metrics import EdgeMetrics
from ocelot_common.tasks import cancel_and_wait
from ocelot_common.telemetry.logs import get_logger

#: How often connections are asked whether they are overdue: a limit may be exceeded by this.
_CHECK_EVERY_SEC: Final = 0.5
#: At the limit, so many parts of it make room at a time.
_EVICTED_PART: Final = 16
#: Looking at all connections takes a millisecond, more than a request.
_ROOM_EVERY_SEC: Final = 0.1
_LOG_EVERY_SEC: Final = 10.0

log = get_logger(__name__)


class Connections:
    """Counts connections, closes what is overdue, and makes room where the limit is reached.

    Args:
        app: answers requests.
        bounds: on each connection and on their number.
        loop: runs all of them.
        metrics: of the process.

    Attributes:
        tasks: of requests that are being answered.
        draining: each answer is the last of its connection.
        date_line: the Date header (RFC 9110 §6.6.1).
        read_buffer: for the next read of any connection.
        waiting: somebody waits for room.
        on_room: called when connections may be accepted again.
    """

    def __init__(
        self,
        app: ASGIApp,
        bounds: EdgeBounds,
        *,
        loop: asyncio.AbstractEventLoop,
        metrics: EdgeMetrics,
    ) -> None:
        metrics.open.set_function(lambda: self.count)
        metrics.limit.set(bounds.max_connections)
        self._evicted = metrics.evicted
        self.app = app
        self.bounds = bounds
        self.loop = loop
        self.tasks: set[asyncio.Task[None]] = set()
        self.draining = False
        self.waiting = False
        self.date_line = b""
        self.read_buffer = memoryview(bytearray(READ_BYTES))
        self.on_room: Callable[[], None] = lambda: None
        self._open: set[Connection] = set()
        self._opening = 0
        self._logged_at = -_LOG_EVERY_SEC
        self._next_room_at = 0.0
        self._every_sec = min(_CHECK_EVERY_SEC, bounds.head_timeout_sec / 4, bounds.stalled_sec / 4)
        self._timer: asyncio.TimerHandle | None = None
        self._check()

    @property
    def count(self) -> int:
        """Connections that are open, or accepted and not open yet."""
        return len(self._open) + self._opening

    @property
    def full(self) -> bool:
        """Whether no more may be accepted."""
        return self.count >= self.bounds.max_connections

    def accepted(self) -> None:
        """Count a connection that is accepted and not open yet."""
        self._opening += 1

    def failed(self) -> None:
        """Count one less: it was gone before it opened."""
        self._opening -= 1
        self.on_room()

    def opened(self, connection: Connection) -> None:
        """Count a connection that was accepted as open."""
        self._opening -= 1
        self._open.add(connection)

    def closed(self, connection: Connection) -> None:
        """Count it no more."""
        self._open.discard(connection)
        self.on_room()

    def want_room(self) -> None:
        """Make room for somebody who waits, now or as soon as there is a connection to close."""
        self.waiting = True
        self._make_room()

    def _make_room(self) -> None:
        """Close connections that have been idle for long, the longest idle first.

        If no connection is idle, cut off clients that hardly read their answers: without a token,
        they could hold all connections.
        """
        now = self.loop.time()
        if now < self._next_room_at:
            return  # `_check` tries again
        least = self.bounds.evict_idle_sec
        idle = [each for each in self._open if each.idle_sec(now) > least]
        idle.sort(key=lambda each: -each.idle_sec(now))
        number = max(1, self.bounds.max_connections // _EVICTED_PART)
        evicted = (idle or [each for each in self._open if each.slow])[:number]
        for connection in evicted:
            connection.evict()
        self._evicted.inc(len(evicted))
        if not evicted:
            self._next_room_at = now + _ROOM_EVERY_SEC
        if now - self._logged_at >= _LOG_EVERY_SEC:
            self._logged_at = now
            log.warning("connections_exhausted", open=self.count, evicted=len(evicted))

    def drain(self) -> None:
        """Close what is idle, and the others after their present answers."""
        self.draining = True
        for connection in list(self._open):
            connection.drain()

    async def ended(self) -> None:
        """Wait until all connections are closed and their applications have ended."""
        while self.count or self.tasks:  # noqa: ASYNC110 - once in a process's life
            await asyncio.sleep(0.02)

    async def cut(self) -> None:
        """Cut what is left, and cancel its applications."""
        tasks = list(self.tasks)
        if tasks or self._open:
            log.error("requests_cut", requests=len(tasks), connections=len(self._open))
        for connection in list(self._open):
            connection.abort()
        await cancel_and_wait(tasks)

    def close(self) -> None:
        """End the checks."""
        if self._timer is not None:
            self._timer.cancel()

    def _check(self) -> None:
        self._timer = self.loop.call_later(self._every_sec, self._check)
        self.date_line = b"date: " + formatdate(time.time(), usegmt=True).encode() + b"\r\n"
        now = self.loop.time()
        for connection in list(self._open):
            connection.check(now)
        if self.waiting and self.full:
            self._make_room()
