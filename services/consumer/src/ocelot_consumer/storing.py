"""Storing events in MongoDB, and telling what became of each (design §6)."""

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from typing import Any, Final

import bson
import msgspec
import pymongo
from bson import Binary
from bson.errors import BSONError
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import BulkWriteError, OperationFailure, WriteConcernError

from ocelot_common.batching import batched, batched_by_bytes
from ocelot_common.dead_letters import DeadLetter, Reason, Stage
from ocelot_common.mongo import events_of
from ocelot_common.reading import text_projection
from ocelot_common.stored import build_document, store_key
from ocelot_common.stored_steps import read_steps
from ocelot_consumer.metrics import ConsumerMetrics
from ocelot_consumer.work import Arrival, Outcome

Document = dict[str, Any]

#: `seq` is closed 15 s behind the majority (design §4), so no insert may take longer than this.
INSERT_TIMEOUT_SEC: Final = 10
_READ_TIMEOUT_SEC: Final = 10
#: Event text of one insert. A document takes up to four times its text, and the driver writes it
#: twice; the batches in flight hold as much at once.
_INSERT_BYTES: Final = 4 * 1024 * 1024
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
            for part in batched_by_bytes(
                fresh,
                max_items=self._max_documents,
                max_bytes=_INSERT_BYTES,
                size=lambda arrival: len(arrival.text),
            ):
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
        known = await self._compare_stored(collection, redelivered, result)
        return [
            arrival
            for arrival in group
            if not (arrival.redelivered and bytes(_key(arrival)) in known)
        ]

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
        known = await self._compare_stored(collection, repeated, result)
        if any(bytes(_key(arrival)) not in known for arrival in repeated):
            raise error  # it vanished in between; the next delivery will tell
        return failed

    async def _compare_stored(
        self, collection: AsyncCollection[Document], arrivals: list[Arrival], result: StoreResult
    ) -> set[bytes]:
        """Compare events with what is stored under their keys; the keys that are stored."""
        by_key: dict[bytes, list[Arrival]] = defaultdict(list)
        for arrival in arrivals:
            by_key[bytes(_key(arrival))].append(arrival)
        known: set[bytes] = set()
        for part in batched(by_key.values(), self._max_documents):
            steps = read_steps(
                collection,
                {"_id": {"$in": [_key(same[0]) for same in part]}},
                projection=text_projection(),
                timeout_sec=_READ_TIMEOUT_SEC,
            )
            async with aclosing(steps):
                async for documents in steps:
                    for document in documents:
                        key = bytes(document["_id"])
                        known.add(key)
                        # A document without a text, or with one that no event can have, is other
                        # content under the same id: its bytes equal those of no event.
                        text = (document["event"] or "").encode(errors="surrogateescape")
                        for arrival in by_key[key]:
                            _compare(arrival, text, result)
        return known


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
            _refuse(
                arrival,
                f"the document has {size:,} bytes; the limit is {_MAX_DOCUMENT_BYTES:,}",
                result,
            )
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
        _letter(
            arrival, Reason.CONFLICT, "another event with the same id and other content is stored"
        )
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
        content=arrival.text,  # decoded when it is written: as text it may take four times as much
        detail=detail,
        received_at=arrival.received_at,
        writer=arrival.writer,
        request_id=arrival.request_id,
        internal=arrival.internal,
    )
