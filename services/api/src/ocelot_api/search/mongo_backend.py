"""Searching in MongoDB: where OpenSearch is left out, away, or being rebuilt."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final

from bson.datetime_ms import DatetimeMS
from pymongo import ASCENDING, DESCENDING
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.cursor import AsyncCursor
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import ExecutionTimeout

from ocelot_api.problems import Problem, unavailable
from ocelot_api.search.filters import Filter
from ocelot_api.search.matching import EventView, fits
from ocelot_api.search.mongo_query import Selection, selection_of
from ocelot_api.search.mongo_stats import PipelineStats, ScannedStats
from ocelot_api.search.query import (
    EXACT_TOTAL,
    Page,
    Position,
    SearchQuery,
    Stretch,
    TenantQuery,
    Total,
    position_of,
)
from ocelot_api.search.stats import Stats, StatsQuery
from ocelot_common.mongo import events_of
from ocelot_common.sequence import newest_seq, timestamp_of
from ocelot_common.stored import (
    READ_PROJECTION,
    StoredEvent,
    beside,
    read_document,
    store_key,
)

Document = dict[str, Any]

#: Full text is compared document by document: so many at most a request, in steps.
MAX_SCANNED: Final = 20_000
_STEP: Final = 250
_BATCH: Final = 500
#: A stretch ends past so many characters of events: large ones may not fill the memory.
_STRETCH_CHARS: Final = 8 * 1024 * 1024
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

    async def follow(
        self,
        query: SearchQuery,
        *,
        stored_until: int,
        upto: Position | None = None,
        timeout_sec: float | None = None,
    ) -> Stretch:
        """The next stretch of all that a search finds; there is no bound on how far that goes.

        Each is a query of its own: no cursor of the server's waits for a slow reader.

        Args:
            query: where the stretch begins, and the most events that MongoDB gives for it.
            stored_until: the last `seq` of those that are looked at.
            upto: where it ends at the latest; see `look_ahead`.
            timeout_sec: what the query may take on the server; as any other unless it is less.

        Raises:
            Problem: 504 `search_timeout`.
        """
        collection = events_of(self._database, query.home.space.collection)
        selection = selection_for(query)
        conditions = [selection.conditions, _stored_until(stored_until)]
        if upto:
            conditions.append(_upto(query, upto))
        cursor = self._cursor(collection, query, {"$and": conditions})
        if timeout_sec is not None and timeout_sec < self._timeout_sec:
            cursor = cursor.max_time_ms(int(timeout_sec * 1000))
        items: list[StoredEvent] = []
        scanned = size = 0
        async with (
            self._bounded(),
            aclosing(_steps(cursor, query.limit, batch=query.limit)) as steps,
        ):
            async for events in steps:
                last = events[-1]
                scanned += len(events)
                size += sum([len(event.text) for event in events])
                if selection.exact:
                    items += events
                else:
                    items += await asyncio.to_thread(_fitting, events, query.filter)
                if scanned == query.limit or size > _STRETCH_CHARS:
                    return Stretch(items, position_of(query.sort, last))
        return Stretch(items, None)

    async def look_ahead(self, query: SearchQuery, span: int) -> Position | None:
        """Where the last of the tenant's next `span` events stands, whether it fits or not.

        Where few fit, a stretch that does not end there takes too long.

        Returns:
            None if there are not as many.

        Raises:
            Problem: 504 `search_timeout`.
        """
        collection = events_of(self._database, query.home.space.collection)
        cursor = self._cursor(collection, query, {"t": query.home.tenant.uid})
        async with self._bounded(), cursor.skip(span - 1).limit(1):
            documents = await cursor.to_list()
        return position_of(query.sort, read_document(documents[0])) if documents else None

    async def newest_seq(self) -> int:
        """The largest `seq` that may be visible now.

        Raises:
            Problem: 504 `search_timeout`.
        """
        async with self._bounded():
            return await newest_seq(self._database)

    async def find_position(self, query: SearchQuery, event_id: bytes) -> Position | None:
        """Where one of the tenant's events stands in the query's order; None if there is none."""
        conditions = _own(query) | {"_id": store_key(query.home.tenant, event_id)}
        async with self._bounded():
            document = await events_of(self._database, query.home.space.collection).find_one(
                conditions, READ_PROJECTION, max_time_ms=int(self._timeout_sec * 1000)
            )
        return position_of(query.sort, read_document(document)) if document else None

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
            return await self._counted(collection, query, selection.conditions)

    @asynccontextmanager
    async def _bounded(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._timeout_sec + _GRACE_SEC):
                yield
        except (ExecutionTimeout, TimeoutError):
            raise Problem(504, "search_timeout", "the search took too long; narrow it") from None

    async def _counted(
        self, collection: AsyncCollection[Document], query: StatsQuery, conditions: Document
    ) -> Stats:
        stats = ScannedStats(query)

        def take(events: list[StoredEvent]) -> None:
            views = map(EventView, events)
            stats.add(view for view in views if fits(query.filter, view))

        cursor = collection.find(conditions, READ_PROJECTION)
        cursor = cursor.max_time_ms(int(self._timeout_sec * 1000))
        async with aclosing(self._scan(cursor)) as steps:
            async for events in steps:
                await asyncio.to_thread(take, events)
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
        async with aclosing(self._scan(self._cursor(collection, query, conditions))) as steps:
            async for events in steps:
                found += await asyncio.to_thread(_fitting, events, query.filter)
                if len(found) > query.limit:
                    return Page(found[: query.limit], True, Total(len(found), "gte"))
        relation = "eq" if query.after is None else "gte"
        return Page(found, False, Total(len(found), relation))

    async def _scan(self, cursor: AsyncCursor[Document]) -> AsyncGenerator[list[StoredEvent]]:
        """What is to be compared event by event, as far as one request may.

        Raises:
            Problem: 503 `search_too_broad`.
        """
        scanned = 0
        deadline = time.monotonic() + self._timeout_sec
        async with aclosing(_steps(cursor, MAX_SCANNED + 1, batch=_BATCH)) as steps:
            async for events in steps:
                scanned += len(events)
                # Large events: comparing takes longer than reading.
                if scanned > MAX_SCANNED or time.monotonic() > deadline:
                    raise _too_broad()
                yield events

    def _cursor(
        self, collection: AsyncCollection[Document], query: SearchQuery, conditions: Document
    ) -> AsyncCursor[Document]:
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
    conditions = _own(query)
    selection = selection_of(query.filter, with_attrs=not query.home.space.search_enabled)
    if selection.conditions:
        conditions["$and"] = [selection.conditions]
    return Selection(conditions, selection.exact)


def _own(query: TenantQuery) -> Document:
    """The tenant's events that are not past their time."""
    conditions: Document = {"t": query.home.tenant.uid}
    if query.cutoff:
        conditions["received_at"] = {"$gte": DatetimeMS(query.cutoff)}
    return conditions


def _stored_until(seq: int) -> Document:
    # Wrapped, the field's index is no choice: it does not have the order that is asked for.
    return {"$expr": {"$lte": [{"$ifNull": ["$seq", None]}, timestamp_of(seq)]}}


def _with_position(conditions: Document, query: SearchQuery) -> Document:
    if query.after is None:
        return conditions
    sign = "$lt" if query.sort.descending else "$gt"
    return {"$and": [conditions, _beside(query, query.after, sign, sign)]}


def _upto(query: SearchQuery, last: Position) -> Document:
    sign = "$gt" if query.sort.descending else "$lt"
    return _beside(query, last, sign, f"{sign}e")


def _beside(query: SearchQuery, position: Position, sign: str, of_key: str) -> Document:
    """On one side of a position in the query's order."""
    key = store_key(query.home.tenant, position.event_id)
    return beside(query.sort.field, position.time_ms, key, sign=sign, of_key=of_key)


async def _steps(
    cursor: AsyncCursor[Document], limit: int, *, batch: int
) -> AsyncGenerator[list[StoredEvent]]:
    """At most `limit` events of a cursor, in steps, of which MongoDB gives several at a time."""
    async with cursor.limit(limit).batch_size(batch):
        while documents := await cursor.to_list(_STEP):
            yield [read_document(document) for document in documents]


def _fitting(events: list[StoredEvent], condition: Filter) -> list[StoredEvent]:
    return [event for event in events if fits(condition, EventView(event))]
