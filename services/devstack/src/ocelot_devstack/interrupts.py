"""Ctrl-C and SIGTERM: the first asks for an orderly end, the second for a quick one."""

import asyncio
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

# make, uv and the terminal may each pass on the same key press.
_SAME_SEC: Final = 0.5
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """What has been asked for so far.

    Attributes:
        first: set by the first signal.
        second: set by a later one.
    """

    def __init__(self) -> None:
        self.first = asyncio.Event()
        self.second = asyncio.Event()
        self._last = 0.0

    def receive(self) -> None:
        """Count one signal."""
        now = time.monotonic()
        if self.first.is_set() and now - self._last > _SAME_SEC:
            self.second.set()
        self.first.set()
        self._last = now


@contextmanager
def interrupts() -> Iterator[Interrupts]:
    """Listen to SIGINT and SIGTERM inside the block."""
    received = Interrupts()
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, received.receive)
    try:
        yield received
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
