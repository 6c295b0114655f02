"""How many exports a process answers at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ocelot_api.problems import unavailable

_RETRY_AFTER_SEC: Final = 10


class ExportSlots:
    """Refuses exports beyond a number: each holds a page or two, and takes its share of a core.

    Args:
        limit: exports at once.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0

    @contextmanager
    def slot(self) -> Iterator[None]:
        """One export.

        Raises:
            Problem: 503 `too_many_exports`.
        """
        if self._taken >= self._limit:
            raise unavailable(
                "too_many_exports",
                f"{self._limit} exports are under way in this process already",
                retry_after_sec=_RETRY_AFTER_SEC,
            )
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1
