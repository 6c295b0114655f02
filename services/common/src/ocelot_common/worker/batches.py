"""From received messages to batches of work, several of them in flight."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, Generic, Protocol, TypeVar

from ocelot_common.batching import MAX_BATCH_BYTES
from ocelot_common.queue.receiver import Received
from ocelot_common.tasks import cancel_and_wait

#: What an unpacked event takes in objects beside its text, at most.
_EVENT_BYTES: Final = 150


class Work(Protocol):
    """What a message asks for: authenticated at first, unpacked when there is room for it."""

    @property
    def message(self) -> Received:
        """The message."""
        ...

    @property
    def size(self) -> int:
        """Bytes to which the message unpacks, known before it is unpacked."""
        ...

    @property
    def units(self) -> int:
        """Its weight in a batch, known once it is unpacked: events, say."""
        ...

    def unpack(self) -> None:
        """Unpack the message; never raises."""
        ...


class Room(Protocol):
    """The memory for messages in hand."""

    def fits(self, size: int) -> bool:
        """Whether a held message may be unpacked to so many bytes within the bound."""
        ...

    def unpacked(self, message: Received, size: int) -> None:
        """Count so many bytes, to which a held message was unpacked, until it is let go."""
        ...


W = TypeVar("W", bound=Work)


class BatchCancelledError(Exception):
    """Something below the handler of a batch cancelled it, or lost a cancellation of its own."""


class BatchRunner(Generic[W]):
    """Collects work into batches and handles several at once.

    As in a group commit, a batch starts when it is full, or when its oldest work has waited for the
    linger; while all places are taken, it grows. Messages wait packed, in order, while there is no
    room to unpack the next one.

    Args:
        open_message: turns a message into work that is not unpacked yet; never raises.
        handle: sees to a batch, its messages' deletion included.
        room: bounds what is unpacked. One message is unpacked all the same.
        max_units: a batch is full at this weight,
        max_bytes: and at so many bytes, unpacked.
        linger_sec: how long the first work of a batch waits for more.
        in_flight: batches handled at once.
    """

    def __init__(
        self,
        *,
        open_message: Callable[[Received], W],
        handle: Callable[[list[W]], Awaitable[None]],
        room: Room,
        max_units: int,
        max_bytes: int = MAX_BATCH_BYTES,
        linger_sec: float,
        in_flight: int,
    ) -> None:
        self._open_message = open_message
        self._handle = handle
        self._room = room
        self._max_units = max_units
        self._max_bytes = max_bytes
        self._linger_sec = linger_sec
        self._in_flight = in_flight
        self._running: set[asyncio.Future[None]] = set()
        self._packed: deque[W] = deque()
        self._waiting: deque[W] = deque()
        self._units = 0
        self._bytes = 0
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
        while arrival is not None or self._packed or self._waiting:
            if self._failure is not None:
                raise self._failure
            self._unpack()
            free = len(self._running) < self._in_flight
            if self._waiting and free and (arrival is None or self._due()):
                self._start()
                continue
            waits: set[asyncio.Future[Any]] = set(self._running)
            if arrival is not None and not self._packed and (free or not self._full()):
                waits.add(arrival)
            timeout = self._until_due() if free else None
            await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if arrival is not None and arrival.done():
                received = arrival.result()
                arrival = _next(messages) if received is not None else None
                self._packed.extend(self._open_message(message) for message in received or ())
        if self._running:
            await asyncio.wait(self._running)
        if self._failure is not None:
            raise self._failure

    def _unpack(self) -> None:
        """Unpack as many messages as there is room for, or one if nothing is unpacked."""
        while self._packed:
            work = self._packed[0]
            if not self._room.fits(work.size) and (self._waiting or self._running):
                return
            self._packed.popleft()
            work.unpack()
            units = work.units
            self._room.unpacked(work.message, work.size + units * _EVENT_BYTES)
            if not self._waiting:
                self._oldest = time.monotonic()
            self._waiting.append(work)
            self._units += units
            self._bytes += work.size

    def _take(self) -> list[W]:
        """The next batch: as many as fit, one at least. What is left over is due already."""
        batch: list[W] = []
        units = bytes_ = 0
        while self._waiting:
            work = self._waiting[0]
            of_work = work.units
            over = units + of_work > self._max_units or bytes_ + work.size > self._max_bytes
            if batch and over:
                break
            units += of_work
            bytes_ += work.size
            batch.append(self._waiting.popleft())
        self._units -= units
        self._bytes -= bytes_
        return batch

    def _full(self) -> bool:
        return self._units >= self._max_units or self._bytes >= self._max_bytes

    def _due(self) -> bool:
        # Without room for the next message, no batch becomes any larger.
        return bool(self._packed) or self._full() or self._until_due() == 0

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
        # One that was cancelled and is forgotten would hold its messages for as long as the process
        # lives. `run` never sees this error where it cancels them itself.
        error = BatchCancelledError() if task.cancelled() else task.exception()
        self._failure = self._failure or error


def _next(messages: AsyncIterator[list[Received]]) -> asyncio.Task[list[Received] | None]:
    async def step() -> list[Received] | None:
        return await anext(messages, None)

    return asyncio.create_task(step(), name="next-messages")
