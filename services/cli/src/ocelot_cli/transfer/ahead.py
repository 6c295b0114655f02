"""Reading one item ahead on a thread that holds up nobody's end.

`asyncio.to_thread` would do but for one case: its threads are waited for when a program ends, so a
Ctrl-C while standard input is silent would wait for the next line, or for ever.
"""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from threading import Semaphore, Thread
from types import TracebackType
from typing import Final, Generic, Self, TypeVar

T = TypeVar("T")

#: In which a step under way ends, unless it waits for input.
_LAST_STEP_SEC: Final = 1.0


class ReadAhead(Generic[T]):
    """Takes items from a blocking iterator on a thread of its own.

    Args:
        items: used by that thread alone; at most one item is read before it is asked for.
    """

    def __init__(self, items: Iterator[T]) -> None:
        self._items = items
        self._loop = asyncio.get_running_loop()
        self._read: asyncio.Queue[T | Exception | None] = asyncio.Queue()
        self._wanted = Semaphore(1)
        self._stopped = False
        self._thread = Thread(target=self._work, name="reading", daemon=True)

    async def __aenter__(self) -> Self:
        self._thread.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped = True
        self._wanted.release()
        self._thread.join(_LAST_STEP_SEC)

    async def next(self) -> T | None:
        """The next item, or None after the last.

        Raises:
            Exception: what reading it raised.
        """
        item = await self._read.get()
        if isinstance(item, Exception):
            raise item
        self._wanted.release()
        return item

    def _work(self) -> None:
        item: T | Exception | None = None
        while self._wanted.acquire() and not self._stopped:
            try:
                item = next(self._items, None)
            except Exception as error:  # noqa: BLE001 - raised where the item is asked for
                item = error
            with suppress(RuntimeError):  # the loop has been closed: nobody asks any more
                self._loop.call_soon_threadsafe(self._read.put_nowait, item)
            if item is None or isinstance(item, Exception):
                return
