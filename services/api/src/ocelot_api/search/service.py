"""Which backend answers, and in what form."""

import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import msgspec

from ocelot_api.metrics import ApiMetrics
from ocelot_api.search.backend import SearchBackend, SearchUnavailableError
from ocelot_api.search.fields import pick
from ocelot_api.search.query import SearchQuery, TenantQuery, write_cursor
from ocelot_api.search.stats import StatsQuery, answer_stats
from ocelot_common.stored import answer_json
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
        metrics: counts.
    """

    def __init__(
        self, *, index: SearchBackend | None, store: SearchBackend, metrics: ApiMetrics
    ) -> None:
        self._index = index
        self._store = store
        self._metrics = metrics
        self._index_away = False
        self._paused_until = 0.0

    async def search(self, query: SearchQuery) -> bytes:
        """The JSON of one page: `{items, next_cursor, total, backend}`."""
        page, backend = await self._answer(query, lambda backend: backend.search(query))
        tenant_id = query.home.tenant.id
        cursor = write_cursor(query, page.items[-1]) if page.more else None
        rest = msgspec.json.encode(
            {"next_cursor": cursor, "total": page.total._asdict(), "backend": backend}
        )
        answers = [answer_json(event, tenant_id) for event in page.items]
        if query.fields:
            answers = [pick(answer, query.fields) for answer in answers]
        items = b",".join(answers)
        return b'{"items":[' + items + b"]," + rest[1:]

    async def stats(self, query: StatsQuery) -> bytes:
        """The JSON of statistics; see `stats.answer_stats`."""
        stats, backend = await self._answer(query, lambda backend: backend.stats(query))
        return answer_stats(query, stats, backend)

    async def _answer(
        self, query: TenantQuery, ask: Callable[[SearchBackend], Awaitable[T]]
    ) -> tuple[T, str]:
        """What the index answers, or else the store, with the name of the one that did."""
        answer, backend = await self._ask_either(query, ask)
        self._metrics.searches.labels(backend.name).inc()
        return answer, backend.name

    async def _ask_either(
        self, query: TenantQuery, ask: Callable[[SearchBackend], Awaitable[T]]
    ) -> tuple[T, SearchBackend]:
        index = self._index
        if index and query.home.space.search_enabled and self._may_try_index():
            try:
                answer = await ask(index)
            except SearchUnavailableError as error:
                log.warning("search_falls_back", tenant=query.home.tenant.id, reason=str(error))
                self._note(away=error.away)
            else:
                self._note(away=False)
                return answer, index
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
