"""Starts again what dies, as Kubernetes would, and says so."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from types import TracebackType
from typing import Final, Self

from ocelot_common.tasks import cancel_and_wait
from ocelot_devstack.console import Report
from ocelot_devstack.errors import DevstackError
from ocelot_devstack.process import ManagedProcess

Restarted = Callable[[ManagedProcess], Awaitable[None]]

_MAX_RESTARTS: Final = 5
_WITHIN_SEC: Final = 60.0
_PAUSE_SEC: Final = 1.0


class Supervisor:
    """An async context manager: inside it the processes are watched.

    Args:
        processes: all running.
        restarted: called when one is ready again.
        report: gets the last words of what died.

    Attributes:
        gave_up: set when one keeps dying.
    """

    def __init__(
        self, processes: Iterable[ManagedProcess], *, restarted: Restarted, report: Report
    ) -> None:
        self.gave_up = asyncio.Event()
        self._processes = tuple(processes)
        self._restarted = restarted
        self._report = report
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        """Start watching."""
        self._tasks = [asyncio.create_task(self._watch(process)) for process in self._processes]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop watching; the processes go on."""
        await cancel_and_wait(self._tasks)

    async def _watch(self, process: ManagedProcess) -> None:
        deaths: deque[float] = deque(maxlen=_MAX_RESTARTS)
        while True:
            await process.wait()
            if not process.wanted:
                return
            self._report(process.obituary())
            now = time.monotonic()
            if len(deaths) == _MAX_RESTARTS and now - deaths[0] < _WITHIN_SEC:
                self._report(f"{process.name} keeps ending. Stopping make dev.")
                self.gave_up.set()
                return
            deaths.append(now)
            await asyncio.sleep(_PAUSE_SEC)
            await process.start()
            try:
                await process.wait_ready()
                await self._restarted(process)
            except DevstackError as error:
                if process.running:
                    self._report(str(error))
                continue
            self._report(f"{process.name} was started again.")
