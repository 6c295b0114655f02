"""Searching in MongoDB: where OpenSearch is left out, away, or being rebuilt."""

import asyncio
import re
from typing import Any, Final

from bson import Binary
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


class MongoBackend:
    """Searches a tenant's collection.

    Args:
        database: of the installation.
        timeout_sec: what one query may take on the server.
    """

    name = "mongodb"

    def __init__(self, database: AsyncDatabase[Document], *, timeout_sec: float) -> None:
        self._database = database
        self._timeout_ms = int(timeout_sec * 1000)

    async def search(self, query: SearchQuery) -> Page:
        """One page from the store."""
        collection = events_of(self._database, query.home.space.collection)
        try:
            if query.words:
                return await self._full_text(collection, query)
            return await self._filtered(collection, query)
        except ExecutionTimeout:
            raise Problem(504, "search_timeout", "the search took too long; narrow it") from None

    async def _filtered(self, collection: AsyncCollection[Document], query: SearchQuery) -> Page:
        cursor = self._cursor(collection, query).limit(query.limit + 1)
        items = [read_document(document) for document in await cursor.to_list()]
        counted = await collection.count_documents(
            filter_of(query), limit=EXACT_TOTAL + 1, maxTimeMS=self._timeout_ms
        )
        exact = counted <= EXACT_TOTAL
        total = Total(min(counted, EXACT_TOTAL), "eq" if exact else "gte")
        return Page(items[: query.limit], len(items) > query.limit, total)

    async def _full_text(self, collection: AsyncCollection[Document], query: SearchQuery) -> Page:
        words = list(query.words)
        found: list[StoredEvent] = []
        scanned = 0
        cursor = self._cursor(collection, query).limit(MAX_SCANNED + 1).batch_size(_STEP)
        while documents := await cursor.to_list(_STEP):
            scanned += len(documents)
            found.extend(await asyncio.to_thread(_matching, documents, words))
            if len(found) > query.limit:
                return Page(found[: query.limit], True, Total(len(found), "gte"))
        if scanned > MAX_SCANNED:
            raise unavailable(
                "search_too_broad",
                f"words are compared in {MAX_SCANNED:,} events at most while the search index is"
                " not in use; narrow the search by time or by a filter",
                retry_after_sec=30,
            )
        relation = "eq" if query.after is None else "gte"
        return Page(found, False, Total(len(found), relation))

    def _cursor(self, collection: AsyncCollection[Document], query: SearchQuery) -> Any:
        direction = DESCENDING if query.sort.descending else ASCENDING
        return (
            collection.find(_with_position(filter_of(query), query), READ_PROJECTION)
            .sort([(query.sort.field, direction), ("_id", direction)])
            .max_time_ms(self._timeout_ms)
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
    values: list[Any] = list(match.exact)
    values += [re.compile(f"^{re.escape(prefix)}") for prefix in match.prefixes]
    return {match.field: {"$in": values}}


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
