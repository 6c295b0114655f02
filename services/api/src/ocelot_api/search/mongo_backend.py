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

from ocelot_api.budget import Reservation
from ocelot_api.problems import Problem, unavailable
from ocelot_api.search.fields import pick
from ocelot_api.search.filters import Filter
from ocelot_api.search.matching import EventView, fits
from ocelot_api.search.mongo_query import Selection, selection_of
from ocelot_api.search.mongo_reading import Step, projection_for, read_steps
from ocelot_api.search.mongo_stats import PipelineStats, ScannedStats
from ocelot_api.search.page import Item, Page, PageBuilder, Stretch
from ocelot_api.search.query import (
    EXACT_TOTAL,
    Position,
    SearchQuery,
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
    answer_json,
    beside,
    read_document,
    store_key,
)

Document = dict[str, Any]

#: Full text is compared document by document: so many at most a request, in steps.
MAX_SCANNED: Final = 20_000
#: A stretch ends past so many bytes of events: large ones may not fill the memory.
_STRETCH_BYTES: Final = 2 * 1024 * 1024
#: Counting may take so long at most; a page that is found does not wait for its total.
_COUNT_SEC: Final = 1.0
#: Values that statistics hold for counting.
_MAX_STATS_BYTES: Final = 16 * 1024 * 1024
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

    async def search(self, query: SearchQuery, held: Reservation) -> Page:
        """Return one page from the store."""
        collection = events_of(self._database, query.home.space.collection)
        async with self._bounded():
            selection = selection_for(query)
            if selection.exact:
                return await self._selected(collection, query, selection.conditions, held)
            return await self._judged(collection, query, selection.conditions, held)

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
        cursor = self._cursor(collection, query, {"$and": conditions}, projection_for(query.limit))
        if timeout_sec is not None and timeout_sec < self._timeout_sec:
            cursor = cursor.max_time_ms(int(timeout_sec * 1000))
        condition = None if selection.exact else query.filter
        items: list[Item] = []
        scanned = size = 0
        async with (
            self._bounded(),
            aclosing(self._steps(collection, cursor, query.limit)) as steps,
        ):
            async for step in steps:
                scanned += step.read
                size += sum([len(event.text) for event in step.events])
                items += await asyncio.to_thread(_items, step.events, query, condition)
                if scanned == query.limit or size > _STRETCH_BYTES:
                    return Stretch(items, position_of(query.sort, step.last))
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

    async def stats(self, query: StatsQuery, held: Reservation) -> Stats:
        """Return statistics from the store."""
        collection = events_of(self._database, query.home.space.collection)
        async with self._bounded():
            selection = selection_for(query)
            if selection.exact and not (query.needs_attrs and query.home.space.search_enabled):
                pipelines = PipelineStats(
                    collection, selection.conditions, timeout_sec=self._timeout_sec
                )
                return await pipelines.answer(query)
            return await self._counted(collection, query, selection.conditions, held)

    @asynccontextmanager
    async def _bounded(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._timeout_sec + _GRACE_SEC):
                yield
        except (ExecutionTimeout, TimeoutError):
            raise Problem(504, "search_timeout", "the search took too long; narrow it") from None

    async def _counted(
        self,
        collection: AsyncCollection[Document],
        query: StatsQuery,
        conditions: Document,
        held: Reservation,
    ) -> Stats:
        stats = ScannedStats(query)

        def take(events: list[StoredEvent]) -> int:
            views = map(EventView, events)
            return stats.add(view for view in views if fits(query.filter, view))

        cursor = collection.find(conditions, projection_for(MAX_SCANNED + 1))
        cursor = cursor.max_time_ms(int(self._timeout_sec * 1000))
        before = held.size
        async with aclosing(self._scan(collection, cursor, held)) as steps:
            async for events in steps:
                held.grow(await asyncio.to_thread(take, events))
                if held.size - before > _MAX_STATS_BYTES:
                    raise _too_broad()
        answer = await stats.answer()
        held.shrink_to(before)
        return answer

    async def _selected(
        self,
        collection: AsyncCollection[Document],
        query: SearchQuery,
        conditions: Document,
        held: Reservation,
    ) -> Page:
        limit = query.limit + 1
        cursor = self._cursor(collection, query, conditions, projection_for(limit))
        builder = PageBuilder(query, held)
        more = False
        async with aclosing(self._steps(collection, cursor, limit, held)) as steps:
            async for step in steps:
                more = not all(map(builder.add, step.events))
                if more:
                    break
        if query.after is None and not more:
            return builder.page(Total(len(builder), "eq"), more=False)
        total = await self._count(collection, conditions, at_least=len(builder) + more)
        return builder.page(total, more=more)

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
        self,
        collection: AsyncCollection[Document],
        query: SearchQuery,
        conditions: Document,
        held: Reservation,
    ) -> Page:
        builder = PageBuilder(query, held)
        cursor = self._cursor(collection, query, conditions, projection_for(MAX_SCANNED + 1))
        async with aclosing(self._scan(collection, cursor, held)) as steps:
            async for events in steps:
                found = await asyncio.to_thread(_fitting, events, query.filter)
                if not all(map(builder.add, found)):
                    return builder.page(Total(len(builder) + 1, "gte"), more=True)
        relation = "eq" if query.after is None else "gte"
        return builder.page(Total(len(builder), relation), more=False)

    async def _scan(
        self,
        collection: AsyncCollection[Document],
        cursor: AsyncCursor[Document],
        held: Reservation,
    ) -> AsyncGenerator[list[StoredEvent]]:
        """What is to be compared event by event, as far as one request may.

        Raises:
            Problem: 503 `search_too_broad`.
        """
        scanned = 0
        deadline = time.monotonic() + self._timeout_sec
        async with aclosing(self._steps(collection, cursor, MAX_SCANNED + 1, held)) as steps:
            async for step in steps:
                scanned += step.read
                # Large events: comparing takes longer than reading.
                if scanned > MAX_SCANNED or time.monotonic() > deadline:
                    raise _too_broad()
                yield step.events

    def _steps(
        self,
        collection: AsyncCollection[Document],
        cursor: AsyncCursor[Document],
        limit: int,
        held: Reservation | None = None,
    ) -> AsyncGenerator[Step]:
        timeout_ms = int(self._timeout_sec * 1000)
        return read_steps(collection, cursor, limit=limit, timeout_ms=timeout_ms, held=held)

    def _cursor(
        self,
        collection: AsyncCollection[Document],
        query: SearchQuery,
        conditions: Document,
        projection: Document = READ_PROJECTION,
    ) -> AsyncCursor[Document]:
        direction = DESCENDING if query.sort.descending else ASCENDING
        return (
            collection.find(_with_position(conditions, query), projection)
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


def _fitting(events: list[StoredEvent], condition: Filter) -> list[StoredEvent]:
    return [event for event in events if fits(condition, EventView(event))]


def _items(events: list[StoredEvent], query: SearchQuery, condition: Filter | None) -> list[Item]:
    """Return the events that fit, as an export gives them."""
    if condition is not None:
        events = _fitting(events, condition)
    tenant_id = query.home.tenant.id
    answers = [answer_json(event, tenant_id) for event in events]
    if query.fields:
        answers = [pick(answer, query.fields) for answer in answers]
    return [
        Item(position_of(query.sort, event), answer)
        for event, answer in zip(events, answers, strict=True)
    ]
