"""Which backend answers, and in what form."""

import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import msgspec

from ocelot_api.budget import FairPool, Reservation
from ocelot_api.metrics import ApiMetrics
from ocelot_api.problems import Problem
from ocelot_api.search.backend import SearchBackend, SearchUnavailableError
from ocelot_api.search.query import SearchQuery, TenantQuery, write_cursor
from ocelot_api.search.stats import StatsQuery, answer_stats
from ocelot_common.telemetry.logs import get_logger

#: After a failure, the index is left alone for so long: no search waits for it in vain.
_PAUSE_SEC: Final = 5.0

T = TypeVar("T")

log = get_logger(__name__)


class SearchService:
    """Searches the index where there is one that holds everything asked for, else the store.

    Args:
        index: OpenSearch, where the installation has it.
        store: MongoDB.
        slots: bound the searches that wait for a backend.
        metrics: counts.
    """

    def __init__(
        self,
        *,
        index: SearchBackend | None,
        store: SearchBackend,
        slots: FairPool,
        metrics: ApiMetrics,
    ) -> None:
        self._index = index
        self._store = store
        self._slots = slots
        self._metrics = metrics
        self._index_away = False
        self._paused_until = 0.0

    async def search(self, query: SearchQuery, held: Reservation) -> list[bytes]:
        """Return the JSON of one page, in parts: `{items, next_cursor, total, backend}`.

        Args:
            query: what is asked.
            held: grows with what is held, and holds at least the parts at the end.

        Raises:
            Problem: the search is too much, or too much is held already.
        """
        page, backend = await self._answer(query, held, lambda backend: backend.search(query, held))
        last = page.items[-1].position if page.more else None
        rest = msgspec.json.encode(
            {
                "next_cursor": write_cursor(query, last) if last else None,
                "total": page.total._asdict(),
                "backend": backend,
            }
        )
        parts = [b'{"items":[']
        for item in page.items:
            parts += (item.json, b",")
        if page.items:
            parts.pop()
        return [*parts, b"],", rest[1:]]

    async def stats(self, query: StatsQuery, held: Reservation) -> list[bytes]:
        """Return the JSON of statistics; see `stats.answer_stats`, and `search` for the rest."""
        stats, backend = await self._answer(query, held, lambda backend: backend.stats(query, held))
        answer = answer_stats(query, stats, backend)
        held.grow(len(answer))
        return [answer]

    async def _answer(
        self,
        query: TenantQuery,
        held: Reservation,
        ask: Callable[[SearchBackend], Awaitable[T]],
    ) -> tuple[T, str]:
        """What the index answers, or else the store, with the name of the one that did."""
        with self._slots.slot(query.home.tenant.uid):
            answer, backend = await self._ask_either(query, held, ask)
        self._metrics.searches.labels(backend.name).inc()
        return answer, backend.name

    async def _ask_either(
        self,
        query: TenantQuery,
        held: Reservation,
        ask: Callable[[SearchBackend], Awaitable[T]],
    ) -> tuple[T, SearchBackend]:
        index = self._index
        if index and query.home.space.search_enabled and self._may_try_index():
            before = held.size
            try:
                answer = await ask(index)
            except SearchUnavailableError as error:
                log.warning("search_falls_back", tenant=query.home.tenant.id, reason=str(error))
                if error.away is not None:
                    self._note(away=error.away)
            except Problem:
                self._note(away=False)  # it was reached
                raise
            else:
                self._note(away=False)
                return answer, index
            held.shrink_to(before)
        return await ask(self._store), self._store

    def _may_try_index(self) -> bool:
        """Whether to ask the index; while it is away, one search in five seconds finds out."""
        now = time.monotonic()
        if now < self._paused_until:
            return False
        if self._index_away:
            self._paused_until = now + _PAUSE_SEC
        return True

    def _note(self, *, away: bool) -> None:
        self._index_away = away
        self._paused_until = time.monotonic() + _PAUSE_SEC if away else 0.0
        self._metrics.search_index_away.set(away)
