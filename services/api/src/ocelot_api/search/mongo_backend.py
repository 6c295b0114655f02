"""Searching in MongoDB: where OpenSearch is left out, away, or being rebuilt."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from bson import Binary
from bson.datetime_ms import DatetimeMS
from pymongo import ASCENDING, DESCENDING
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import ExecutionTimeout

from ocelot_api.problems import Problem, unavailable
from ocelot_api.search.filters import Filter
from ocelot_api.search.matching import EventView, fits
from ocelot_api.search.mongo_query import Selection, selection_of
from ocelot_api.search.mongo_stats import PipelineStats, ScannedStats
from ocelot_api.search.query import EXACT_TOTAL, Page, SearchQuery, TenantQuery, Total
from ocelot_api.search.stats import Stats, StatsQuery
from ocelot_common.mongo import events_of
from ocelot_common.stored import READ_PROJECTION, StoredEvent, read_document, store_key

Document = dict[str, Any]

#: Full text is compared document by document: so many at most a request, in steps.
MAX_SCANNED: Final = 20_000
_STEP: Final = 500
#: Counting may take so long at most; a page that is found does not wait for its total.
_COUNT_SEC: Final = 1.0
#: Beyond the server's time: one that does not answer at all.
_GRACE_SEC: Final = 1.0


class MongoBackend:
    """Searches a tenant's collection.

    Args:
        database: of the installation.
        timeout_sec: what one query may take on the server.
    """

    name = "mongodb"

    def __init__(self, database: AsyncDatabase[Document], *, timeout_sec: float) -> None:
        self._database = database
        self._timeout_sec = timeout_sec

    async def search(self, query: SearchQuery) -> Page:
        """One page from the store."""
        collection = events_of(self._database, query.home.space.collection)
        async with self._bounded():
            selection = selection_for(query)
            if selection.exact:
                return await self._selected(collection, query, selection.conditions)
            return await self._judged(collection, query, selection.conditions)

    async def stats(self, query: StatsQuery) -> Stats:
        """Statistics from the store."""
        collection = events_of(self._database, query.home.space.collection)
        async with self._bounded():
            selection = selection_for(query)
            if selection.exact and not (query.needs_attrs and query.home.space.search_enabled):
                pipelines = PipelineStats(
                    collection, selection.conditions, timeout_sec=self._timeout_sec
                )
                return await pipelines.answer(query)
            return await self._scanned(collection, query, selection.conditions)

    @asynccontextmanager
    async def _bounded(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._timeout_sec + _GRACE_SEC):
                yield
        except (ExecutionTimeout, TimeoutError):
            raise Problem(504, "search_timeout", "the search took too long; narrow it") from None

    async def _scanned(
        self, collection: AsyncCollection[Document], query: StatsQuery, conditions: Document
    ) -> Stats:
        stats = ScannedStats(query)

        def take(documents: list[Document]) -> None:
            views = [EventView(read_document(document)) for document in documents]
            stats.add(view for view in views if fits(query.filter, view))

        scanned = 0
        cursor = collection.find(conditions, READ_PROJECTION).limit(MAX_SCANNED + 1)
        cursor = cursor.batch_size(_STEP).max_time_ms(int(self._timeout_sec * 1000))
        while documents := await cursor.to_list(_STEP):
            scanned += len(documents)
            if scanned > MAX_SCANNED:
                raise _too_broad()
            await asyncio.to_thread(take, documents)
        return await stats.answer()

    async def _selected(
        self, collection: AsyncCollection[Document], query: SearchQuery, conditions: Document
    ) -> Page:
        cursor = self._cursor(collection, query, conditions).limit(query.limit + 1)
        items = [read_document(document) for document in await cursor.to_list()]
        more = len(items) > query.limit
        if query.after is None and not more:
            return Page(items, False, Total(len(items), "eq"))
        total = await self._count(collection, conditions, at_least=len(items))
        return Page(items[: query.limit], more, total)

    async def _count(
        self, collection: AsyncCollection[Document], conditions: Document, *, at_least: int
    ) -> Total:
        try:
            counted = await collection.count_documents(
                conditions,
                limit=EXACT_TOTAL + 1,
                maxTimeMS=int(min(_COUNT_SEC, self._timeout_sec) * 1000),
            )
        except ExecutionTimeout:
            return Total(at_least, "gte")
        return Total(min(counted, EXACT_TOTAL), "eq" if counted <= EXACT_TOTAL else "gte")

    async def _judged(
        self, collection: AsyncCollection[Document], query: SearchQuery, conditions: Document
    ) -> Page:
        found: list[StoredEvent] = []
        scanned = 0
        deadline = time.monotonic() + self._timeout_sec
        cursor = self._cursor(collection, query, conditions)
        cursor = cursor.limit(MAX_SCANNED + 1).batch_size(_STEP)
        while documents := await cursor.to_list(_STEP):
            scanned += len(documents)
            found.extend(await asyncio.to_thread(_fitting, documents, query.filter))
            if len(found) > query.limit:
                return Page(found[: query.limit], True, Total(len(found), "gte"))
            if time.monotonic() > deadline:  # large events: comparing takes longer than reading
                raise _too_broad()
        if scanned > MAX_SCANNED:
            raise _too_broad()
        relation = "eq" if query.after is None else "gte"
        return Page(found, False, Total(len(found), relation))

    def _cursor(
        self, collection: AsyncCollection[Document], query: SearchQuery, conditions: Document
    ) -> Any:
        direction = DESCENDING if query.sort.descending else ASCENDING
        return (
            collection.find(_with_position(conditions, query), READ_PROJECTION)
            .sort([(query.sort.field, direction), ("_id", direction)])
            .max_time_ms(int(self._timeout_sec * 1000))
        )


def _too_broad() -> Problem:
    return unavailable(
        "search_too_broad",
        f"words and metadata are compared in {MAX_SCANNED:,} events at most while the search index"
        " is not in use; narrow the search by time or by another filter",
        retry_after_sec=30,
    )


def selection_for(query: TenantQuery) -> Selection:
    """What MongoDB is asked for. The tenant's uid is always in it."""
    conditions: Document = {"t": query.home.tenant.uid}
    if query.cutoff:
        conditions["received_at"] = {"$gte": DatetimeMS(query.cutoff)}
    selection = selection_of(query.filter, with_attrs=not query.home.space.search_enabled)
    if selection.conditions:
        conditions["$and"] = [selection.conditions]
    return Selection(conditions, selection.exact)


def _with_position(conditions: Document, query: SearchQuery) -> Document:
    if query.after is None:
        return conditions
    sign = "$lt" if query.sort.descending else "$gt"
    time = DatetimeMS(query.after.time_ms)
    key: Binary = store_key(query.home.tenant, query.after.event_id)
    field = query.sort.field
    # The first bound lets the index begin at the position; the second is the position.
    bound = {field: {f"{sign}e": time}}
    position = {"$or": [{field: {sign: time}}, {field: time, "_id": {sign: key}}]}
    return {"$and": [conditions, bound, position]}


def _fitting(documents: list[Document], condition: Filter) -> list[StoredEvent]:
    events = map(read_document, documents)
    return [event for event in events if fits(condition, EventView(event))]
