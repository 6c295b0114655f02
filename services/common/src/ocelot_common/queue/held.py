"""How many messages a worker may hold, so that replicas share a backlog and memory is bounded."""

import time
from collections import deque
from collections.abc import Callable
from typing import Final

from ocelot_common.queue.client import MAX_BATCH_ENTRIES

#: A worker may always hold so many messages, however long each takes.
MIN_MESSAGES: Final = 20
#: Beyond those, it holds what it finishes in so many seconds.
HELD_SEC: Final = 3
#: The finished messages of so many seconds make the moving average.
AVERAGE_SEC: Final = 10.0
#: The largest message that SQS takes (AWS limit). A receive that is under way may bring as much per
#: message that it asks for.
MAX_MESSAGE_BYTES: Final = 1024 * 1024
#: A backlog that has just begun is averaged over at least so many seconds. So a worker never holds
#: more than 20 messages and more than it has finished, and leaves half of a short backlog to a
#: replica that begins a little later.
_MIN_AVERAGE_SEC: Final = HELD_SEC


class MovingRate:
    """How many messages per second were finished in the last 10 s.

    After 10 s without any, the average covers the time since the next one, but at least 3 s: a
    backlog that follows a quiet time does not start slowly.

    Args:
        clock: monotonic, in seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._finished: deque[tuple[float, int]] = deque()
        self._sum = 0

    def add(self, number: int) -> None:
        """Count messages that were finished now."""
        self._finished.append((self._clock(), number))
        self._sum += number

    def per_second(self) -> float:
        """Return the average, 0 if nothing was finished."""
        now = self._clock()
        while self._finished and self._finished[0][0] <= now - AVERAGE_SEC:
            self._sum -= self._finished.popleft()[1]
        if not self._finished:
            return 0.0
        return self._sum / max(_MIN_AVERAGE_SEC, now - self._finished[0][0])


class HeldBounds:
    """Counts what a worker holds against its bounds.

    A receive that is under way counts as if it brought everything that it asked for.

    Args:
        max_bytes: bound of the bodies of messages and of what they were unpacked to. One message is
            held all the same if it exceeds the bound alone.
        clock: monotonic, in seconds.
    """

    def __init__(self, *, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_bytes = max_bytes
        self._rate = MovingRate(clock)
        self._asked = 0
        self.messages = 0
        self.bytes = 0

    @property
    def max_messages(self) -> int:
        """How many messages may be held now."""
        return max(MIN_MESSAGES, int(HELD_SEC * self._rate.per_second()))

    def to_ask_for(self) -> int:
        """Return how many messages one more receive may ask for; 0 if there is no room."""
        if not self.messages and not self._asked:
            return min(MAX_BATCH_ENTRIES, max(1, self._max_bytes // MAX_MESSAGE_BYTES))
        by_number = self.max_messages - self.messages - self._asked
        by_bytes = self._free_bytes() // MAX_MESSAGE_BYTES
        return max(0, min(MAX_BATCH_ENTRIES, by_number, by_bytes))

    def asked(self, number: int) -> None:
        """Count a receive that begins and asks for so many messages."""
        self._asked += number

    def answered(self, number: int) -> None:
        """Count a receive that ended and had asked for so many messages."""
        self._asked -= number

    def add(self, size: int) -> None:
        """Count a message of so many bytes that was received."""
        self.messages += 1
        self.bytes += size

    def fits(self, size: int) -> bool:
        """Whether a message that is held may be unpacked to so many bytes."""
        return size <= self._free_bytes()

    def remove(self, size: int) -> None:
        """Count out a message of so many bytes, that to which it was unpacked included."""
        self.messages -= 1
        self.bytes -= size

    def finished(self, messages: int) -> None:
        """Count messages that were finished now, for the moving average."""
        self._rate.add(messages)

    def _free_bytes(self) -> int:
        return self._max_bytes - self.bytes - self._asked * MAX_MESSAGE_BYTES
