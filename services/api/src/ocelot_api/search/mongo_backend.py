"""Searching in MongoDB: where OpenSearch is left out, away, or being rebuilt."""

import asyncio
import re
import time
from typing import Any, Final

from bson import Binary, Regex
from bson.datetime_ms import DatetimeMS
from pymongo import ASCENDING, DESCENDING
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import ExecutionTimeout

from ocelot_api.problems import Problem, unavailable
from ocelot_api.search.query import EXACT_TOTAL, Match, Page, SearchQuery, Total
from ocelot_common.event import decode_event
from ocelot_common.mongo import events_of
from ocelot_common.stored import READ_PROJECTION, StoredEvent, read_document, store_key
from ocelot_common.text_tokens import contains_all, tokens_of_event

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
        try:
            async with asyncio.timeout(self._timeout_sec + _GRACE_SEC):
                if query.words:
                    return await self._full_text(collection, query)
                return await self._filtered(collection, query)
        except (ExecutionTimeout, TimeoutError):
            raise Problem(504, "search_timeout", "the search took too long; narrow it") from None

    async def _filtered(self, collection: AsyncCollection[Document], query: SearchQuery) -> Page:
        cursor = self._cursor(collection, query).limit(query.limit + 1)
        items = [read_document(document) for document in await cursor.to_list()]
        more = len(items) > query.limit
        if query.after is None and not more:
            return Page(items, False, Total(len(items), "eq"))
        total = await self._count(collection, query, at_least=len(items))
        return Page(items[: query.limit], more, total)

    async def _count(
        self, collection: AsyncCollection[Document], query: SearchQuery, *, at_least: int
    ) -> Total:
        try:
            counted = await collection.count_documents(
                filter_of(query),
                limit=EXACT_TOTAL + 1,
                maxTimeMS=int(min(_COUNT_SEC, self._timeout_sec) * 1000),
            )
        except ExecutionTimeout:
            return Total(at_least, "gte")
        return Total(min(counted, EXACT_TOTAL), "eq" if counted <= EXACT_TOTAL else "gte")

    async def _full_text(self, collection: AsyncCollection[Document], query: SearchQuery) -> Page:
        words = list(query.words)
        found: list[StoredEvent] = []
        scanned = 0
        deadline = time.monotonic() + self._timeout_sec
        cursor = self._cursor(collection, query).limit(MAX_SCANNED + 1).batch_size(_STEP)
        while documents := await cursor.to_list(_STEP):
            scanned += len(documents)
            found.extend(await asyncio.to_thread(_matching, documents, words))
            if len(found) > query.limit:
                return Page(found[: query.limit], True, Total(len(found), "gte"))
            if time.monotonic() > deadline:  # large events: comparing takes longer than reading
                raise _too_broad()
        if scanned > MAX_SCANNED:
            raise _too_broad()
        relation = "eq" if query.after is None else "gte"
        return Page(found, False, Total(len(found), relation))

    def _cursor(self, collection: AsyncCollection[Document], query: SearchQuery) -> Any:
        direction = DESCENDING if query.sort.descending else ASCENDING
        return (
            collection.find(_with_position(filter_of(query), query), READ_PROJECTION)
            .sort([(query.sort.field, direction), ("_id", direction)])
            .max_time_ms(int(self._timeout_sec * 1000))
        )


def _too_broad() -> Problem:
    return unavailable(
        "search_too_broad",
        f"words are compared in {MAX_SCANNED:,} events at most while the search index is"
        " not in use; narrow the search by time or by a filter",
        retry_after_sec=30,
    )


def filter_of(query: SearchQuery) -> Document:
    """The MongoDB filter of a search. The tenant's uid is always in it."""
    conditions: Document = {"t": query.home.tenant.uid}
    if query.cutoff:
        conditions["received_at"] = {"$gte": DatetimeMS(query.cutoff)}
    occurred: Document = {}
    if query.occurred_from is not None:
        occurred["$gte"] = DatetimeMS(query.occurred_from)
    if query.occurred_to is not None:
        occurred["$lt"] = DatetimeMS(query.occurred_to)
    if occurred:
        conditions["occurred_at"] = occurred
    if query.matches:
        conditions["$and"] = [_condition(match) for match in query.matches]
    return conditions


def _condition(match: Match) -> Document:
    if "" in match.prefixes:  # any value; an empty one is none
        return {match.field: {"$gt": ""}}
    values: list[Any] = list(match.exact)
    values += [_beginning_with(prefix) for prefix in match.prefixes]
    return {match.field: {"$in": values}}


def _beginning_with(prefix: str) -> Regex[str]:
    # Not re.compile(), whose flag for Unicode keeps MongoDB from the bounds of an index. A pattern
    # in BSON ends at its first NUL.
    return Regex("^" + re.escape(prefix).replace("\0", r"\x00"))


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


def _matching(documents: list[Document], words: list[str]) -> list[StoredEvent]:
    return [
        read_document(document)
        for document in documents
        if contains_all(tokens_of_event(decode_event(document["event"].encode())), words)
    ]
