"""Reading, preparing and sending side by side."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from typing import Final

from ocelot_cli.transfer.account import Account
from ocelot_cli.transfer.ahead import ReadAhead
from ocelot_cli.transfer.delivery import Delivery
from ocelot_cli.transfer.lines import Source
from ocelot_cli.transfer.preparing import Prepared, Preparer, UnusableLineError
from ocelot_cli.transfer.progress import ProgressReport
from ocelot_common.tasks import cancel_and_wait

BATCH_EVENTS: Final = 1_000
BATCH_BYTES: Final = 4 * 1024 * 1024
BATCHES_IN_FLIGHT: Final = 4


class Transfer:
    """Sends the events of some files.

    Args:
        sources: in this order.
        make_preparer: called once a file, since equal lines are counted a file.
        account: of every line.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        make_preparer: Callable[[], Preparer],
        account: Account,
    ) -> None:
        self._sources = sources
        self._make_preparer = make_preparer
        self._account = account

    def batches(self) -> Iterator[list[Prepared]]:
        """The events of all files in batches of up to 1,000 and about 4 MiB."""
        batch: list[Prepared] = []
        size = 0
        for prepared in self.events():
            batch.append(prepared)
            size += len(prepared.event)
            if len(batch) >= BATCH_EVENTS or size >= BATCH_BYTES:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

    def events(self) -> Iterator[Prepared]:
        """The events of all files; lines without one are noted."""
        for source in self._sources:
            preparer = self._make_preparer()
            for line in source.lines():
                self._account.read += 1
                if line.too_long:
                    self._account.reject_line(line, "The line is longer than 1 MiB.")
                    continue
                if not line.raw or line.raw.isspace():
                    self._account.blank += 1
                    continue
                try:
                    yield preparer.prepare(line)
                except UnusableLineError as error:
                    self._account.reject_line(line, str(error))

    async def send(self, delivery: Delivery, progress: ProgressReport) -> None:
        """Send everything.

        Raises:
            RefusedError: the api refuses what we are.
            TimeoutError: it takes nothing for too long.
            UnreadableError: a file can't be read.
        """
        running: set[asyncio.Task[None]] = set()
        async with AsyncExitStack() as stack:
            batches = await stack.enter_async_context(ReadAhead(self.batches()))
            stack.push_async_callback(cancel_and_wait, running)
            # Off the event loop: answers are read while lines are mapped.
            while (batch := await batches.next()) is not None:
                running.add(asyncio.create_task(self._deliver(delivery, batch)))
                progress.update(self._position(), self._account)
                await _finished(running, leave=BATCHES_IN_FLIGHT - 1)
            await _finished(running, leave=0)
            progress.update(self._position(), self._account)

    def _position(self) -> int:
        return sum(source.position for source in self._sources)

    async def _deliver(self, delivery: Delivery, batch: list[Prepared]) -> None:
        delivered = await delivery.deliver(batch)
        self._account.accepted += delivered.accepted
        for refusal in delivered.refused:
            self._account.reject_event(refusal.prepared.line, refusal.reason)


async def _finished(running: set[asyncio.Task[None]], *, leave: int) -> None:
    """Wait until at most so many tasks run; raise what one of them raised."""
    while len(running) > leave:
        done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            running.discard(task)
            task.result()
