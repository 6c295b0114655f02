"""From received messages to batches of work, several of them in flight."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Generic, Protocol, TypeVar

from ocelot_common.queue.receiver import Received
from ocelot_common.tasks import cancel_and_wait


class Work(Protocol):
    """What a message asks for."""

    @property
    def units(self) -> int:
        """Its weight in a batch: events, say."""
        ...


W = TypeVar("W", bound=Work)


class BatchRunner(Generic[W]):
    """Collects work into batches and handles several at once.

    As in a group commit, a batch starts when it is full, or when its oldest work has waited for the
    linger; while all places are taken, it grows.

    Args:
        unpack: turns a message into work; never raises.
        handle: sees to a batch, its messages' deletion included.
        max_units: a batch is full at this weight.
        linger_sec: how long the first work of a batch waits for more.
        in_flight: batches handled at once.
    """

    def __init__(
        self,
        *,
        unpack: Callable[[Received], W],
        handle: Callable[[list[W]], Awaitable[None]],
        max_units: int,
        linger_sec: float,
        in_flight: int,
    ) -> None:
        self._unpack = unpack
        self._handle = handle
        self._max_units = max_units
        self._linger_sec = linger_sec
        self._in_flight = in_flight
        self._running: set[asyncio.Future[None]] = set()
        self._waiting: deque[W] = deque()
        self._units = 0
        self._oldest = 0.0
        self._failure: BaseException | None = None

    async def run(self, messages: AsyncIterator[list[Received]]) -> None:
        """Work until the messages end and every batch is done.

        Raises:
            BaseException: what `handle` raised, which no handler foresaw. The process is to end:
                its messages come again elsewhere, and one that kills its reader each time ends in
                the queue's DLQ.
            asyncio.CancelledError: batches that were being handled are cancelled, too.
        """
        try:
            await self._work(messages)
        except asyncio.CancelledError:
            await cancel_and_wait(self._running)
            raise

    async def _work(self, messages: AsyncIterator[list[Received]]) -> None:
        arrival: asyncio.Task[list[Received] | None] | None = _next(messages)
        while arrival is not None or self._waiting:
            if self._failure is not None:
                raise self._failure
            free = len(self._running) < self._in_flight
            if self._waiting and free and (arrival is None or self._due()):
                self._start()
                continue
            waits: set[asyncio.Future[Any]] = set(self._running)
            if arrival is not None and (free or self._units < self._max_units):
                waits.add(arrival)
            timeout = self._until_due() if free else None
            await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if arrival is not None and arrival.done():
                received = arrival.result()
                arrival = _next(messages) if received is not None else None
                for message in received or ():
                    self._add(self._unpack(message))
        if self._running:
            await asyncio.wait(self._running)
        if self._failure is not None:
            raise self._failure

    def _add(self, work: W) -> None:
        if not self._waiting:
            self._oldest = time.monotonic()
        self._waiting.append(work)
        self._units += work.units

    def _take(self) -> list[W]:
        """The next batch: as many as fit, one at least. What is left over is due already."""
        batch: list[W] = []
        units = 0
        while self._waiting and (not batch or units + self._waiting[0].units <= self._max_units):
            work = self._waiting.popleft()
            units += work.units
            batch.append(work)
        self._units -= units
        return batch

    def _due(self) -> bool:
        return self._units >= self._max_units or self._until_due() == 0

    def _until_due(self) -> float | None:
        if not self._waiting:
            return None
        return max(0.0, self._oldest + self._linger_sec - time.monotonic())

    def _start(self) -> None:
        task = asyncio.ensure_future(self._handle(self._take()))
        self._running.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Future[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = self._failure or error


def _next(messages: AsyncIterator[list[Received]]) -> asyncio.Task[list[Received] | None]:
    async def step() -> list[Received] | None:
        return await anext(messages, None)

    return asyncio.create_task(step(), name="next-messages")
