"""One byte budget a process: what bodies, buffers and sends hold together (design §6)."""

import time
from types import TracebackType
from typing import Final, Self

from prometheus_client import Gauge

from ocelot_api.problems import unavailable
from ocelot_common.telemetry.logs import get_logger

#: What an event holds beside its bytes, in objects; measured. It counts in the budget.
EVENT_BYTES: Final = 320
_LOG_EVERY_SEC: Final = 10.0

log = get_logger(__name__)


class ByteBudget:
    """Bytes that may be held at once. Not waiting but refusing keeps memory bounded."""

    def __init__(self, limit: int, gauge: Gauge) -> None:
        self._limit = limit
        self._used = 0
        self._logged_at = -_LOG_EVERY_SEC
        gauge.set_function(lambda: float(self._used))

    @property
    def used(self) -> int:
        """Bytes held now."""
        return self._used

    def reservation(self) -> "Reservation":
        """A reservation of nothing, to be grown; ends with its `with` block."""
        return Reservation(self)

    def take(self, size: int) -> None:
        """Hold `size` more bytes.

        Raises:
            Problem: 503 `overloaded`; nothing of the request was stored.
        """
        self.check(size)
        self._used += size

    def check(self, size: int) -> None:
        """Refuse what could not be held at present.

        Raises:
            Problem: as `take`.
        """
        if self._used + size > self._limit:
            self._log(size)
            raise unavailable(
                "overloaded",
                "the service holds as much as it may; nothing of this request was taken",
                members={"outcome": "rejected"},
            )

    def _log(self, size: int) -> None:
        """Say it now and then: a client that is refused may come again at once."""
        now = time.monotonic()
        if now - self._logged_at >= _LOG_EVERY_SEC:
            self._logged_at = now
            log.warning("budget_exhausted", used=self._used, wanted=size, limit=self._limit)

    def give_back(self, size: int) -> None:
        """Hold `size` bytes less."""
        self._used -= size


class Reservation:
    """Bytes held by one request."""

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self._size = 0

    def check(self, size: int) -> None:
        """Refuse the request at once if it could not hold `size` more bytes at present.

        They are not held: a client may announce what it never sends.
        """
        self._budget.check(size)

    def grow(self, size: int) -> None:
        """Hold `size` more bytes, or refuse the request."""
        self._budget.take(size)
        self._size += size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._budget.give_back(self._size)
        self._size = 0
