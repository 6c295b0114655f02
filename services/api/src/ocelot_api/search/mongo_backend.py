"""Searching in MongoDB: where OpenSearch is left out, away, or being rebuilt."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final, TypeGuard

from bson.datetime_ms import DatetimeMS
from pymongo import ASCENDING, DESCENDING
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.cursor import AsyncCursor
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import ExecutionTimeout

from ocelot_api.budget import Reservation
from ocelot_api.problems import Problem, search_timeout, unavailable
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
from ocelot_common.reading import (
    Stored,
    answer_of,
    has_place,
    outside_of_time,
    read_document,
    read_projection,
)
from ocelot_common.sequence import newest_seq, timestamp_of
from ocelot_common.stored import StoredEvent, beside, store_key

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
        selection = selection_for(query)
        conditions = [selection.conditions, _stored_until(stored_until)]
        if upto:
            conditions.append(_upto(query, upto))
        stretch, stuck = await self._follow(query, conditions, selection.exact, timeout_sec)
        if stuck:
            # Documents without a place, as many as make a stretch: go round them.
            conditions.append(has_place(query.home.tenant, query.sort.field))
            stretch, _ = await self._follow(query, conditions, selection.exact, timeout_sec)
            stretch = stretch._replace(displaced=True)
        return stretch

    async def _follow(
        self,
        query: SearchQuery,
        conditions: list[Document],
        exact: bool,
        timeout_sec: float | None,
    ) -> tuple[Stretch, bool]:
        """Return the stretch, and whether it shows no position from which to go on."""
        collection = events_of(self._database, query.home.space.collection)
        projection = projection_for(query.home.tenant, query.limit)
        cursor = self._cursor(collection, query, {"$and": conditions}, projection)
        if timeout_sec is not None and timeout_sec < self._timeout_sec:
            cursor = cursor.max_time_ms(int(timeout_sec * 1000))
        condition = None if exact else query.filter
        items: list[Item] = []
        end: Position | None = None
        displaced = False
        scanned = size = 0
        async with (
            self._bounded(),
            aclosing(self._steps(collection, cursor, query.limit)) as steps,
        ):
            async for step in steps:
                scanned += len(step.found)
                size += sum([len(event.text) for event in step.events if _is_event(event)])
                items += await asyncio.to_thread(_items, step.events, query, condition)
                positions = [position_of(query.sort, each) for each in step.found]
                placed = [position for position in positions if position is not None]
                displaced = displaced or len(placed) < len(positions)
                end = placed[-1] if placed else end
                if scanned == query.limit or size > _STRETCH_BYTES:
                    return Stretch(items, end, displaced), end is None
        return Stretch(items, None, displaced), False

    async def is_whole(self, query: SearchQuery, *, stored_until: int) -> bool:
        """Whether no document that matches has a time at which no stretch looks.

        Raises:
            Problem: 504 `search_timeout`.
        """
        conditions = [
            selection_for(query).conditions,
            _stored_until(stored_until),
            outside_of_time(query.sort.field),
        ]
        collection = events_of(self._database, query.home.space.collection)
        async with self._bounded():
            found = await collection.count_documents(
                {"$and": conditions}, limit=1, maxTimeMS=int(self._timeout_sec * 1000)
            )
        return found == 0

    async def look_ahead(self, query: SearchQuery, span: int) -> Position | None:
        """Where the last of the tenant's next `span` events stands, whether it fits or not.

        Where few fit, a stretch that does not end there takes too long.

        Returns:
            None if there are not as many.

        Raises:
            Problem: 504 `search_timeout`.
        """
        collection = events_of(self._database, query.home.space.collection)
        tenant, field = query.home.tenant, query.sort.field
        conditions = {"t": tenant.uid, **has_place(tenant, field)}
        cursor = self._cursor(collection, query, conditions, read_projection(tenant))
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
                conditions,
                read_projection(query.home.tenant),
                max_time_ms=int(self._timeout_sec * 1000),
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
            raise search_timeout() from None

    async def _counted(
        self,
        collection: AsyncCollection[Document],
        query: StatsQuery,
        conditions: Document,
        held: Reservation,
    ) -> Stats:
        stats = ScannedStats(query)

        def take(events: list[Stored]) -> int:
            views = [EventView(event) for event in events if _is_event(event)]
            return stats.add(view for view in views if fits(query.filter, view))

        projection = projection_for(query.home.tenant, MAX_SCANNED + 1)
        cursor = collection.find(conditions, projection)
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
        placed = conditions | has_place(query.home.tenant, query.sort.field)
        projection = projection_for(query.home.tenant, limit)
        cursor = self._cursor(collection, query, placed, projection)
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
        placed = conditions | has_place(query.home.tenant, query.sort.field)
        projection = projection_for(query.home.tenant, MAX_SCANNED + 1)
        cursor = self._cursor(collection, query, placed, projection)
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
    ) -> AsyncGenerator[list[Stored]]:
        """What is to be compared event by event, as far as one request may.

        Raises:
            Problem: 503 `search_too_broad`.
        """
        scanned = 0
        deadline = time.monotonic() + self._timeout_sec
        async with aclosing(self._steps(collection, cursor, MAX_SCANNED + 1, held)) as steps:
            async for step in steps:
                scanned += len(step.found)
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
        projection: Document,
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
        f"Without the search index, a search compares words and metadata of at most {MAX_SCANNED:,}"
        " events. Narrow the search by time or by another filter.",
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
        # Not `$gte`: a document whose time is no date is found by the filter of another time.
        conditions["received_at"] = {"$not": {"$lt": DatetimeMS(query.cutoff)}}
    return conditions


def _stored_until(seq: int) -> Document:
    # Wrapped, so that MongoDB does not choose the field's index, which has another order. A
    # document without a `seq` is not an event; it counts as stored at any time.
    value = {"$cond": [{"$eq": [{"$type": "$seq"}, "timestamp"]}, "$seq", None]}
    return {"$expr": {"$lte": [value, timestamp_of(seq)]}}


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


def _is_event(stored: Stored) -> TypeGuard[StoredEvent]:
    return isinstance(stored, StoredEvent)


def _fitting(found: list[Stored], condition: Filter) -> list[Stored]:
    """Return the events that fit, and what cannot be compared."""
    return [
        stored for stored in found if not _is_event(stored) or fits(condition, EventView(stored))
    ]


def _items(found: list[Stored], query: SearchQuery, condition: Filter | None) -> list[Item]:
    """Return what fits and has a place, as an export gives it."""
    if condition is not None:
        found = _fitting(found, condition)
    items = []
    for stored in found:
        position = position_of(query.sort, stored)
        if position is None:
            continue
        answer = answer_of(stored, query.home.tenant.id)
        if query.fields and _is_event(stored):
            answer = pick(answer, query.fields)
        items.append(Item(position, answer, _is_event(stored)))
    return items
