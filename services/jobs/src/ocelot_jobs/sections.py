"""A tenant's events of a range of time: copied into an index, and compared with it.

They are walked by (`received_at`, key), which has an index of its own: an event that is stored
behind the walk was stored after the walk had begun, when the indexer wrote the index already.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import Any, Final, NamedTuple

import msgspec
from bson.datetime_ms import DatetimeMS
from opensearchpy import AsyncOpenSearch
from opensearchpy.exceptions import NotFoundError
from pymongo.asynchronous.database import AsyncDatabase

from ocelot_common.batching import batched
from ocelot_common.bulk import BulkWriter, Candidate
from ocelot_common.dead_letters import DeadLetter, DeadLetterStore
from ocelot_common.ids import format_id, parse_id
from ocelot_common.mongo import events_of
from ocelot_common.names import write_alias
from ocelot_common.reading import (
    Stored,
    Unreadable,
    has_place,
    read_document,
    read_projection,
)
from ocelot_common.registry.model import Home, IndexRange
from ocelot_common.search_document import document_id
from ocelot_common.stored import StoredEvent, beside, event_id_of, store_key
from ocelot_common.stored_steps import read_steps
from ocelot_common.tasks import cancel_and_wait
from ocelot_common.timestamps import to_datetime
from ocelot_jobs.leases import TryAgainError
from ocelot_jobs.metrics import JobsMetrics

Document = dict[str, Any]

_COPY_EVENTS: Final = 2_000
_COPIES_IN_FLIGHT: Final = 3
#: Steps in memory, of all jobs of a process together: one is read while others are written.
_STEPS_HELD: Final = _COPIES_IN_FLIGHT + 1
#: OpenSearch gives no more in one answer (`index.max_result_window`).
_COMPARE_EVENTS: Final = 10_000
_CONFIRM_EVENTS: Final = 20_000
_BUSY_ATTEMPTS: Final = 8
_BUSY_PAUSE_SEC: Final = 0.5
_MISSING: Final = 404


class IndexGoneError(Exception):
    """The index that is being filled was deleted."""


class BusyError(TryAgainError):
    """OpenSearch does not take what is written now."""


class Position(NamedTuple):
    """Where a walk stands: everything up to this event is done.

    Attributes:
        received_at: milliseconds since the epoch.
        event_id: 16 bytes.
    """

    received_at: int
    event_id: bytes


class Section(msgspec.Struct, frozen=True):
    """Events of one tenant, received in [start, end), milliseconds since the epoch."""

    home: Home
    start: int
    end: int

    @property
    def last(self) -> Position:
        """A position behind all of its events."""
        return Position(self.end, b"\xff" * 16)

    def query(self, after: Position | None, upto: Position | None = None) -> Document:
        """The section's events behind one position and up to another, past the tenant's cutoff."""
        tenant = self.home.tenant
        start = max(self.start, tenant.cutoff_ms())
        query: Document = {
            "t": tenant.uid,
            "received_at": {"$gte": DatetimeMS(start), "$lt": DatetimeMS(self.end)},
        }
        parts = [query]
        if after is not None:
            key = store_key(tenant, after.event_id)
            parts.append(beside("received_at", after.received_at, key, sign="$gt"))
        if upto is not None:
            key = store_key(tenant, upto.event_id)
            parts.append(beside("received_at", upto.received_at, key, sign="$lt", of_key="$lte"))
        return {"$and": parts}

    def query_of_index(self, after: Position | None) -> Document:
        """The same for counting: the index by time answers it alone, and no event is read.

        That of a Dedicated collection has no `t`, of which all of its events have the same.
        """
        query = self.query(after)
        if not self.home.tenant.shared:
            del query["$and"][0]["t"]
        return query


class Done(NamedTuple):
    """What became of one step of a walk.

    Attributes:
        position: everything up to it is done.
        events: walked.
        added: of a comparison: were not in the index.
        removed: of a comparison: were in the index and not in the store.
        refused: OpenSearch will never take them, or they are no events; each is a dead letter.
    """

    position: Position
    events: int
    added: int = 0
    removed: int = 0
    refused: int = 0


class Step(NamedTuple):
    """What a walk reads at once.

    Attributes:
        position: of the last document that has a place; where none has, that of the step before.
        found: the documents.
    """

    position: Position
    found: list[Stored]


Report = Callable[[Done], Awaitable[None]]


class Sections:
    """Copies and compares.

    Args:
        database: of the installation.
        opensearch: of its indices.
        writer: into them.
        dead_letters: for what OpenSearch refuses.
        metrics: counts.
    """

    def __init__(
        self,
        *,
        database: AsyncDatabase[Document],
        opensearch: AsyncOpenSearch,
        writer: BulkWriter[Candidate],
        dead_letters: DeadLetterStore,
        metrics: JobsMetrics,
    ) -> None:
        self._database = database
        self._opensearch = opensearch
        self._writer = writer
        self._dead_letters = dead_letters
        self._metrics = metrics
        self._held = asyncio.Semaphore(_STEPS_HELD)

    async def count(self, section: Section, after: Position | None = None) -> int:
        """How many events a section has now, behind a position."""
        collection = events_of(self._database, section.home.space.collection)
        return await collection.count_documents(section.query_of_index(after))

    async def copy(
        self, section: Section, into: IndexRange, after: Position | None, report: Report
    ) -> None:
        """Write a section's events into an index.

        Args:
            section: whose.
            into: the index, or both of them.
            after: begin behind this event.
            report: told of each step, in order.

        Raises:
            IndexGoneError: the index was deleted.
        """
        writes: deque[asyncio.Task[Done]] = deque()
        steps = self._steps(section, after)
        try:
            while (write := await self._begin_copy(steps, section.home, into)) is not None:
                writes.append(write)
                if len(writes) >= _COPIES_IN_FLIGHT:
                    await report(await writes.popleft())
            while writes:
                await report(await writes.popleft())
        finally:
            await cancel_and_wait(writes)
            await steps.aclose()

    async def compare(
        self, section: Section, into: IndexRange, after: Position | None, report: Report
    ) -> None:
        """Bring an index to hold exactly a section's events: add what it lacks, remove the rest.

        Both sides' ids are compared a window at a time; arguments as of `copy`.

        Raises:
            IndexGoneError: the index was deleted.
        """
        await self._compare(section, into, after, None, report)

    async def confirm(
        self, section: Section, into: IndexRange, after: Position | None, report: Report
    ) -> None:
        """Bring an index that was filled from the store, and refreshed, to hold what that holds.

        Where both have as many events, they are the same: a fresh index lacks some, or has some
        that were purged meanwhile, and both at once, as many, within one window is not to be
        expected. Elsewhere their ids are compared. Arguments as of `copy`.

        Raises:
            IndexGoneError: the index was deleted.
        """
        while True:
            upto = await self._position_after(section, after, _CONFIRM_EVENTS)
            stored = _CONFIRM_EVENTS if upto else await self.count(section, after)
            if stored == await self._count_indexed(section, into.index, after, upto):
                await report(Done(upto or section.last, stored))
            else:
                await self._compare(section, into, after, upto, report)
            if upto is None:
                return
            after = upto

    async def _compare(
        self,
        section: Section,
        into: IndexRange,
        after: Position | None,
        upto: Position | None,
        report: Report,
    ) -> None:
        """Compare the ids between two positions."""
        while True:
            stored = await self._keys(section, after, upto)
            ended = len(stored) < _COMPARE_EVENTS
            bound = upto if ended else stored[-1]
            indexed = await self._indexed(section, into.index, after, bound)
            lacking = set(stored) - indexed
            added, refused = await self._add(section.home, into, lacking)
            removed = await self._remove_absent(
                section.home, [into], {at.event_id for at in indexed - set(stored)}
            )
            position = bound or section.last
            await report(Done(position, len(stored), added, removed, refused))
            if ended:
                return
            after = position

    async def bring(self, home: Home, ids: Sequence[bytes]) -> Done:
        """Bring the indices of a space to say of these events what the store says."""
        there: set[bytes] = set()
        cutoff = home.tenant.cutoff_ms()
        refused = 0
        async with self._held, aclosing(self._read(home, _by_ids(home, ids))) as steps:
            async for found in steps:
                there.update(each.id for each in found if each.id is not None)
                refused += await self._keep_unreadable(home, found)
                events = _events(found)
                for entry in home.space.indices:
                    inside = [
                        event
                        for event in events
                        if entry.covers(to_datetime(event.received_at))
                        and event.received_at >= cutoff
                    ]
                    refused += await self._write_surely(home, entry, inside)
        absent = set(ids) - there
        removed = await self._remove_absent(home, home.space.indices, absent)
        return Done(Position(0, b""), len(ids), len(there) - refused, removed, refused)

    async def _steps(self, section: Section, after: Position | None) -> AsyncGenerator[Step]:
        """Yield what a section has, in order, in steps of bounded number and memory."""
        query, more = section.query(after), True
        while more:
            number, began = 0, after
            async with aclosing(self._read(section.home, query, limit=_COPY_EVENTS)) as steps:
                async for found in steps:
                    number += len(found)
                    after = _last_place(found) or after
                    yield Step(after or Position(section.start, b""), found)
            more = number == _COPY_EVENTS
            query = section.query(after)
            if after == began:
                # Documents without a place, as many as are read at once: go round them.
                query = {"$and": [query, _placed(section)]}

    async def _begin_copy(
        self, steps: AsyncGenerator[Step], home: Home, into: IndexRange
    ) -> "asyncio.Task[Done] | None":
        """Read the next step and begin to write it; None at the end."""
        await self._held.acquire()
        try:
            step = await anext(steps, None)
        except BaseException:
            self._held.release()
            raise
        if step is None:
            self._held.release()
            return None
        write = asyncio.create_task(self._copy_step(home, into, step))
        write.add_done_callback(lambda _: self._held.release())
        return write

    async def _keys(
        self, section: Section, after: Position | None, upto: Position | None
    ) -> list[Position]:
        collection = events_of(self._database, section.home.space.collection)
        cursor = collection.find(
            {"$and": [section.query(after, upto), _placed(section)]},
            {"received_at": 1},
            batch_size=_COMPARE_EVENTS,
        )
        cursor = cursor.sort([("received_at", 1), ("_id", 1)]).limit(_COMPARE_EVENTS)
        return [_position(document) for document in await cursor.to_list()]

    async def _position_after(
        self, section: Section, after: Position | None, events: int
    ) -> Position | None:
        """The position of the section's so manieth event behind another; none: it has fewer."""
        query = section.query_of_index(after)
        found = await self._skip_to(query, section, events)
        if found is not None and not _has_place(found, section):
            # No index tells which documents have a place.
            query = {"$and": [section.query(after), _placed(section)]}
            found = await self._skip_to(query, section, events)
        return _position(found) if found else None

    async def _skip_to(self, query: Document, section: Section, events: int) -> Document | None:
        collection = events_of(self._database, section.home.space.collection)
        return await collection.find_one(
            query, {"received_at": 1}, sort=[("received_at", 1), ("_id", 1)], skip=events - 1
        )

    async def _read(
        self, home: Home, query: Document, *, limit: int = 0
    ) -> AsyncGenerator[list[Stored]]:
        """Yield what a query finds, in steps of bounded memory.

        Args:
            home: whose documents they are.
            query: for them.
            limit: most documents, in the order of a walk; 0 for all, in any order.
        """
        steps = read_steps(
            events_of(self._database, home.space.collection),
            query,
            projection=read_projection(home.tenant),
            sort=[("received_at", 1), ("_id", 1)] if limit else None,
            limit=limit,
        )
        async with aclosing(steps):
            async for documents in steps:
                yield [read_document(document) for document in documents]

    async def _copy_step(self, home: Home, into: IndexRange, step: Step) -> Done:
        events = _events(step.found)
        refused = await self._keep_unreadable(home, step.found)
        if events:
            refused += await self._write(home, into, events)
        self._metrics.events.labels("copied").inc(len(events))
        return Done(step.position, len(step.found), refused=refused)

    async def _keep_unreadable(self, home: Home, found: Iterable[Stored]) -> int:
        """Keep a dead letter for each document that is not an event, and return how many."""
        letters = [
            DeadLetter.unreadable(home.tenant.uid, each)
            for each in found
            if isinstance(each, Unreadable)
        ]
        await self._dead_letters.put(letters)
        return len(letters)

    async def _write(self, home: Home, into: IndexRange, events: Sequence[StoredEvent]) -> int:
        """Write events; returns how many OpenSearch refuses for good."""
        pending = [Candidate(home, event, into) for event in events]
        letters: list[DeadLetter] = []
        for attempt in range(_BUSY_ATTEMPTS):
            if attempt:
                await asyncio.sleep(_BUSY_PAUSE_SEC * 2 ** min(attempt, 4))
            result = await self._writer.write(pending)
            if result.homeless:
                raise IndexGoneError(f"The index {into.index} was deleted.")
            letters += [
                DeadLetter.not_indexable(candidate.stored, reason)
                for candidate, reason in result.refused
            ]
            pending = result.busy
            if not pending:
                await self._dead_letters.put(letters)
                return len(letters)
        raise BusyError("OpenSearch rejects writes because it is busy.")

    async def _write_surely(
        self, home: Home, into: IndexRange, events: Sequence[StoredEvent]
    ) -> int:
        """Write events over deletions, too; returns how many OpenSearch refuses for good.

        It remembers for a minute what was deleted (`index.gc_deletes`), and answers to our revision
        as to an old one: 409, which elsewhere means that the event is there.

        Raises:
            TryAgainError: in a minute, it will have forgotten.
        """
        if not events:
            return 0
        refused = await self._write(home, into, events)
        answer = await self._opensearch.mget(
            index=into.index,
            body={"ids": [document_id(home.tenant, event.id) for event in events]},
            params={"_source": "false", **_routing(home)},
        )
        absent = sum(not found.get("found", False) for found in answer["docs"])
        if absent > refused:
            raise TryAgainError(
                f"OpenSearch deleted {absent - refused:,} events less than a minute ago."
            )
        return refused

    async def _indexed(
        self, section: Section, index: str, after: Position | None, upto: Position | None
    ) -> set[Position]:
        """What an index holds of a section behind `after`, up to `upto`."""
        body: Document = {
            "query": _indexed_query(section, after, upto),
            "sort": [{"received_at": "asc"}, {"id": "asc"}],
            "size": _COMPARE_EVENTS,
            "_source": False,
            "stored_fields": "_none_",
            "track_total_hits": False,
        }
        found: set[Position] = set()
        while True:
            answer = await self._ask(section, index, self._opensearch.search, body)
            hits = answer["hits"]["hits"]
            found.update(Position(hit["sort"][0], parse_id(hit["sort"][1])) for hit in hits)
            if len(hits) < _COMPARE_EVENTS:
                return found
            body["search_after"] = hits[-1]["sort"]

    async def _count_indexed(
        self, section: Section, index: str, after: Position | None, upto: Position | None
    ) -> int:
        body = {"query": _indexed_query(section, after, upto)}
        answer = await self._ask(section, index, self._opensearch.count, body)
        return int(answer["count"])

    async def _ask(
        self, section: Section, index: str, ask: Callable[..., Awaitable[Any]], body: Document
    ) -> Any:
        try:
            return await ask(index=index, body=body, params=_routing(section.home))
        except NotFoundError:
            raise IndexGoneError(f"The index {index} was deleted.") from None

    async def _add(self, home: Home, into: IndexRange, lacking: set[Position]) -> tuple[int, int]:
        added = refused = 0
        for part in batched(sorted(lacking), _COPY_EVENTS):
            ids = [at.event_id for at in part]
            async with self._held, aclosing(self._read(home, _by_ids(home, ids))) as steps:
                async for found in steps:
                    refused += await self._keep_unreadable(home, found)
                    refused += await self._write_surely(home, into, _events(found))
                    added += len(found)
        self._metrics.events.labels("copied").inc(added)
        return added - refused, refused

    async def _remove_absent(
        self, home: Home, ranges: Iterable[IndexRange], ids: set[bytes]
    ) -> int:
        """Delete from the index what the store has not, asked for once more; how many."""
        if not ids:
            return 0
        collection = events_of(self._database, home.space.collection)
        stored = collection.find(_by_ids(home, ids), {"_id": 1}, batch_size=10_000)
        there = {event_id_of(document["_id"]) for document in await stored.to_list()}
        absent = ids - there
        indices = [index for entry in ranges for index in entry.written]
        for part in batched(sorted(absent), _COPY_EVENTS):
            await remove_from_index(self._opensearch, home, indices, part)
        self._metrics.events.labels("removed").inc(len(absent))
        return len(absent)


async def remove_from_index(
    opensearch: AsyncOpenSearch, home: Home, indices: Iterable[str], ids: Iterable[bytes]
) -> None:
    """Delete events of a tenant from each of these indices; what is not there is done.

    Raises:
        BusyError: OpenSearch may take it later.
    """
    tenant, routing = home.tenant, _routing(home)
    aliases = [write_alias(index) for index in indices]
    lines = [
        msgspec.json.encode(
            {"delete": {"_index": alias, "_id": document_id(tenant, event_id), **routing}}
        )
        for event_id in ids
        for alias in aliases
    ]
    if not lines:
        return
    answer = await opensearch.bulk(
        body=b"\n".join(lines) + b"\n",
        params={"require_alias": "true", "filter_path": "errors,items.*.status"},
    )
    if not answer.get("errors"):
        return
    statuses = {item["delete"]["status"] for item in answer["items"]}
    if wrong := {status for status in statuses if status >= 400} - {_MISSING}:
        raise BusyError(f"OpenSearch answered deletes with {', '.join(map(str, sorted(wrong)))}.")


def _indexed_query(section: Section, after: Position | None, upto: Position | None) -> Document:
    """For OpenSearch: a section's events behind one position and up to another."""
    times = {"gte": section.start, "lt": section.end}
    filters: list[Document] = [
        {"term": {"t": section.home.tenant.uid}},
        {"range": {"received_at": times}},
    ]
    if after is not None:
        filters.append(_on_one_side(after, time="gt", of_id="gt"))
    if upto is not None:
        filters.append(_on_one_side(upto, time="lt", of_id="lte"))
    return {"bool": {"filter": filters}}


def _on_one_side(position: Position, *, time: str, of_id: str) -> Document:
    same_time = [
        {"term": {"received_at": position.received_at}},
        {"range": {"id": {of_id: format_id(position.event_id)}}},
    ]
    sides = [
        {"range": {"received_at": {time: position.received_at}}},
        {"bool": {"filter": same_time}},
    ]
    return {"bool": {"should": sides, "minimum_should_match": 1}}


def _position(document: Document) -> Position:
    return Position(int(document["received_at"]), event_id_of(document["_id"]))


def _by_ids(home: Home, ids: Iterable[bytes]) -> Document:
    """For MongoDB: a tenant's events with these ids."""
    keys = [store_key(home.tenant, event_id) for event_id in ids]
    return {"_id": {"$in": keys}, "t": home.tenant.uid}


def _placed(section: Section) -> Document:
    return has_place(section.home.tenant, "received_at")


def _has_place(document: Document, section: Section) -> bool:
    key, received_at = document["_id"], document["received_at"]
    if not isinstance(received_at, DatetimeMS) or not isinstance(key, bytes):
        return False
    own = store_key(section.home.tenant, event_id_of(key))
    return bytes(own) == bytes(key) and own.subtype == getattr(key, "subtype", 0)


def _events(found: Iterable[Stored]) -> list[StoredEvent]:
    return [each for each in found if isinstance(each, StoredEvent)]


def _last_place(found: Sequence[Stored]) -> Position | None:
    for each in reversed(found):
        if each.id is not None and each.received_at is not None:
            return Position(each.received_at, each.id)
    return None


def _routing(home: Home) -> dict[str, str]:
    return {"routing": home.tenant.uid} if home.tenant.shared else {}
