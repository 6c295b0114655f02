"""Storing events in MongoDB, and telling what became of each (design §6)."""

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final

import bson
import msgspec
import pymongo
from bson import Binary
from bson.errors import BSONError
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import BulkWriteError, OperationFailure, WriteConcernError

from ocelot_common.batching import batched
from ocelot_common.dead_letters import DeadLetter, Reason, Stage
from ocelot_common.mongo import events_of
from ocelot_common.reading import text_projection
from ocelot_common.stored import build_document, store_key
from ocelot_consumer.metrics import ConsumerMetrics
from ocelot_consumer.work import Arrival, Outcome

Document = dict[str, Any]

#: `seq` is closed 15 s behind the majority (design §4), so no insert may take longer than this.
INSERT_TIMEOUT_SEC: Final = 10
_READ_TIMEOUT_SEC: Final = 10
_DUPLICATE_KEY: Final = 11_000
_MAX_DOCUMENT_BYTES: Final = 16 * 1024 * 1024
#: BadValue, FailedToParse, InvalidBSON, Overflow, key or document too large, failed validation.
_PERMANENT_CODES: Final = frozenset({2, 9, 15, 22, 121, 10_334, 17_280, 17_419, 17_420})


class StoreResult(msgspec.Struct):
    """What became of a batch's events.

    Attributes:
        counts: events by outcome.
        indexable: what the index must hold: events stored now or before.
        letters: dead letters to keep.
        stored: events stored now.
    """

    counts: dict[Outcome, int]
    indexable: list[Arrival]
    letters: list[DeadLetter]
    stored: list[Arrival]

    def count(self, outcome: Outcome, number: int = 1) -> None:
        """Count events of one outcome."""
        self.counts[outcome] = self.counts.get(outcome, 0) + number


class EventStore:
    """Inserts events; the store's own state decides between stored, duplicate and conflict."""

    def __init__(
        self, database: AsyncDatabase[Document], metrics: ConsumerMetrics, *, max_documents: int
    ) -> None:
        self._database = database
        self._metrics = metrics
        self._max_documents = max_documents

    async def store(self, arrivals: Iterable[Arrival]) -> StoreResult:
        """Store events of any tenants.

        Raises:
            pymongo.errors.PyMongoError: the store can't be written now; some events may have been
                stored, and are duplicates the next time.
        """
        result = StoreResult({}, [], [], [])
        by_collection: dict[str, list[Arrival]] = defaultdict(list)
        for arrival in arrivals:
            by_collection[arrival.space.collection].append(arrival)
        for name, group in by_collection.items():
            collection = events_of(self._database, name)
            fresh = await self._without_known(collection, group, result)
            for part in batched(fresh, self._max_documents):
                await self._insert(collection, part, result)
        return result

    async def take_back(self, arrivals: Iterable[Arrival]) -> None:
        """Remove events of tenants that were deleted for good while these were stored.

        Raises:
            pymongo.errors.PyMongoError: the store can't be written now.
        """
        by_collection: dict[str, list[Binary]] = defaultdict(list)
        own = set()
        for arrival in arrivals:
            by_collection[arrival.space.collection].append(_key(arrival))
            if not arrival.tenant.shared:
                own.add(arrival.space.collection)
        for name, keys in by_collection.items():
            for part in batched(keys, self._max_documents):
                with pymongo.timeout(INSERT_TIMEOUT_SEC):
                    await events_of(self._database, name).delete_many({"_id": {"$in": part}})
        for name in own:  # made again by the insert, and never used by another incarnation
            await self._database.drop_collection(name)

    async def _without_known(
        self, collection: AsyncCollection[Document], group: list[Arrival], result: StoreResult
    ) -> list[Arrival]:
        """Redelivered events are read first: 9 µs an event instead of 94 as E11000 errors."""
        redelivered = [arrival for arrival in group if arrival.redelivered]
        if not redelivered:
            return group
        known = await self._texts(collection, redelivered)
        fresh = []
        for arrival in group:
            text = known.get(bytes(_key(arrival))) if arrival.redelivered else None
            if text is None:
                fresh.append(arrival)
            else:
                _compare(arrival, text, result)
        return fresh

    async def _insert(
        self,
        collection: AsyncCollection[Document],
        part: Sequence[Arrival],
        result: StoreResult,
    ) -> None:
        documents, arrivals = [], []
        for arrival in part:
            try:
                documents.append(_document(arrival))
            except ValueError as error:
                _refuse(arrival, str(error), result)
            else:
                arrivals.append(arrival)
        if not documents:
            return
        began = time.monotonic()
        failed: set[int] = set()
        try:
            with pymongo.timeout(INSERT_TIMEOUT_SEC):
                await collection.insert_many(documents, ordered=False)
        except BulkWriteError as error:
            failed = await self._sort_failures(collection, arrivals, error, result)
        except (BSONError, OverflowError, OperationFailure) as error:
            if isinstance(error, OperationFailure) and error.code not in _PERMANENT_CODES:
                raise
            # Refused as a whole, by the driver or, for its size, by MongoDB. Some may be stored all
            # the same: in the second turn these are duplicates.
            encodable = _refuse_unencodable(arrivals, documents, result)
            if len(encodable) == len(arrivals):
                raise
            await self._insert(collection, encodable, result)
            return
        self._metrics.insert_seconds.observe(time.monotonic() - began)
        stored = [arrival for index, arrival in enumerate(arrivals) if index not in failed]
        result.stored.extend(stored)
        result.indexable.extend(stored)
        result.count(Outcome.STORED, len(stored))

    async def _sort_failures(
        self,
        collection: AsyncCollection[Document],
        arrivals: list[Arrival],
        error: BulkWriteError,
        result: StoreResult,
    ) -> set[int]:
        details = error.details
        if details.get("writeConcernErrors"):
            # What was inserted may be rolled back, and so may what the repeated keys met.
            raise WriteConcernError("a batch was not acknowledged by a majority") from error
        repeated, failed = [], set()
        for fault in details["writeErrors"]:
            arrival = arrivals[fault["index"]]
            failed.add(fault["index"])
            if fault["code"] == _DUPLICATE_KEY:
                repeated.append(arrival)
            elif fault["code"] in _PERMANENT_CODES:
                _refuse(arrival, f"MongoDB {fault['code']}: {fault['errmsg']}", result)
            else:
                raise error
        known = await self._texts(collection, repeated)
        for arrival in repeated:
            text = known.get(bytes(_key(arrival)))
            if text is None:
                raise error  # it vanished in between; the next delivery will tell
            _compare(arrival, text, result)
        return failed

    async def _texts(
        self, collection: AsyncCollection[Document], arrivals: list[Arrival]
    ) -> dict[bytes, bytes]:
        """The stored texts of those events that are there, by key."""
        texts: dict[bytes, bytes] = {}
        for part in batched(arrivals, self._max_documents):
            with pymongo.timeout(_READ_TIMEOUT_SEC):
                cursor = collection.find(
                    {"_id": {"$in": [_key(a) for a in part]}}, text_projection()
                )
                async for document in cursor:
                    # A document without a text, or with one that no event can have, is other
                    # content under the same id.
                    text = document["event"] or ""
                    texts[bytes(document["_id"])] = text.encode(errors="replace")
        return texts


def _key(arrival: Arrival) -> Binary:
    return store_key(arrival.tenant, arrival.id)


def _document(arrival: Arrival) -> Document:
    return build_document(
        arrival.tenant,
        arrival.id,
        arrival.text,
        received_at=arrival.received_at,
        writer=arrival.writer,
        with_attrs=not arrival.space.search_enabled,
        internal=arrival.internal,
    )


def _refuse_unencodable(
    arrivals: Sequence[Arrival], documents: Sequence[Document], result: StoreResult
) -> list[Arrival]:
    """Those whose documents BSON can hold; the others would stop each batch that they are in."""
    encodable = []
    for arrival, document in zip(arrivals, documents, strict=True):
        try:
            size = len(bson.encode(document))
        except (BSONError, OverflowError) as error:
            _refuse(arrival, str(error), result)
            continue
        if size > _MAX_DOCUMENT_BYTES:
            _refuse(arrival, f"its document has {size:,} bytes", result)
        else:
            encodable.append(arrival)
    return encodable


def _compare(arrival: Arrival, stored_text: bytes, result: StoreResult) -> None:
    if stored_text == arrival.text:
        result.count(Outcome.DUPLICATE)
        result.indexable.append(arrival)
        return
    result.count(Outcome.CONFLICT)
    result.letters.append(
        _letter(arrival, Reason.CONFLICT, "the id is taken by an event with other content")
    )


def _refuse(arrival: Arrival, detail: str, result: StoreResult) -> None:
    result.count(Outcome.PERMANENT)
    result.letters.append(_letter(arrival, Reason.NOT_STORABLE, detail))


def _letter(arrival: Arrival, reason: Reason, detail: str) -> DeadLetter:
    return DeadLetter(
        stage=Stage.STORE,
        reason=reason,
        uid=arrival.tenant.uid,
        event_id=arrival.id,
        content=arrival.text.decode(errors="backslashreplace"),
        detail=detail,
        received_at=arrival.received_at,
        writer=arrival.writer,
        request_id=arrival.request_id,
    )
