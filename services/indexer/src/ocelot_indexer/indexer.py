"""The indexer: ids from the index queue, documents from MongoDB, `_bulk` into OpenSearch."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from sys import getsizeof
from typing import Any, Final

from opensearchpy.exceptions import TransportError
from opentelemetry import trace
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import PyMongoError

from ocelot_common.bulk import BulkWriter
from ocelot_common.dead_letters import DeadLetter, DeadLetterStore, Reason, Stage
from ocelot_common.mongo import events_of
from ocelot_common.opensearch import is_transient
from ocelot_common.provisioning.indices import ForeignIndexError, IndexMaker, NoIndexError
from ocelot_common.queue.keys import QueueKeys
from ocelot_common.queue.receiver import Receiver
from ocelot_common.reading import Stored, read_document, read_projection
from ocelot_common.registry.model import Home, TenantState
from ocelot_common.registry.snapshot import RegistrySnapshot
from ocelot_common.stored import StoredEvent, store_key
from ocelot_common.stored_steps import STEP_BYTES, read_steps
from ocelot_common.telemetry.logs import get_logger
from ocelot_common.telemetry.tracing import links_to
from ocelot_common.timestamps import now_ms, to_datetime
from ocelot_common.versioned import NewerVersionError
from ocelot_common.worker.batches import BatchRunner
from ocelot_common.worker.monitors import BackendAwayError, BackendMonitor
from ocelot_common.worker.refusing import Refused, RefusedMessages
from ocelot_indexer.metrics import IndexerMetrics
from ocelot_indexer.work import AskedFor, IndexWork, Outcome, open_message

Document = dict[str, Any]

#: A new primary's majority view may lag: an id that is not found is believed gone no sooner.
_MISSING_SEC: Final = 30
_LINGER_SEC: Final = 0.05
_READ_TIMEOUT_SEC: Final = 15
_BUSY_ATTEMPTS: Final = 3
#: A process of the next release may soon read a document that this one can't.
_NEWER_ATTEMPTS: Final = 30
_BUSY_PAUSE_SEC: Final = 0.5

log = get_logger(__name__)
tracer = trace.get_tracer(__name__)


class Indexer:
    """One indexer process. What it indexes is what is stored, never what a message says."""

    def __init__(
        self,
        *,
        receiver: Receiver,
        keys: QueueKeys,
        refused: RefusedMessages,
        database: AsyncDatabase[Document],
        writer: BulkWriter[AskedFor],
        indices: IndexMaker,
        dead_letters: DeadLetterStore,
        snapshot: RegistrySnapshot,
        store_monitor: BackendMonitor,
        search_monitor: BackendMonitor,
        metrics: IndexerMetrics,
        batch_events: int,
        batches_in_flight: int,
    ) -> None:
        self._receiver = receiver
        self._refused = refused
        self._database = database
        self._writer = writer
        self._indices = indices
        self._dead_letters = dead_letters
        self._snapshot = snapshot
        self._store_monitor = store_monitor
        self._search_monitor = search_monitor
        self._metrics = metrics
        self._runner = BatchRunner(
            open_message=lambda message: open_message(message, keys),
            handle=self._handle,
            room=receiver,
            max_units=batch_events,
            linger_sec=_LINGER_SEC,
            in_flight=batches_in_flight,
        )

    async def run(self) -> None:
        """Index until `stop`, and then until what was received is done."""
        await self._runner.run(self._receiver.messages())

    def stop(self) -> None:
        """Receive nothing more."""
        self._receiver.stop()

    async def abandon(self) -> None:
        """Give back what is in hand."""
        await self._receiver.release_all()

    async def _handle(self, batch: list[IndexWork]) -> None:
        refused = [Refused(work.message, work.refused) for work in batch if work.refused]
        authentic = [work for work in batch if not work.refused]
        await asyncio.gather(self._refused.settle(refused), self._handle_authentic(authentic))

    async def _handle_authentic(self, batch: list[IndexWork]) -> None:
        if not batch:
            return
        parents = [parent for work in batch if work.body for parent in work.body.traceparents]
        if self._store_monitor.failing or self._search_monitor.failing:
            _postpone(batch, BackendAwayError("MongoDB or OpenSearch is unavailable"))
            await self._finish(batch)
            return
        with tracer.start_as_current_span("index batch", links=links_to(parents)):
            try:
                await self._index(batch)
            except PyMongoError as error:
                self._store_monitor.report_failure(error)
                _postpone(batch, error)
            except TransportError as error:
                if is_transient(error):
                    self._search_monitor.report_failure(error)
                _postpone(batch, error)
            except (NoIndexError, ForeignIndexError) as error:
                _postpone(batch, error)
            await self._finish(batch)

    async def _index(self, batch: list[IndexWork]) -> None:
        by_uid: dict[str, list[IndexWork]] = defaultdict(list)
        for work in batch:
            if work.body is not None:
                by_uid[work.body.uid].append(work)
        await self._dead_letters.put([_malformed(work) for work in batch if work.body is None])
        events = 0
        async with aclosing(self._steps(by_uid)) as steps:
            async for candidates in steps:
                await self._write(candidates)
                events += len(candidates)
        self._metrics.batch_events.observe(events)

    async def _steps(self, by_uid: dict[str, list[IndexWork]]) -> AsyncGenerator[list[AskedFor]]:
        """Yield the stored events of all tenants, at most 8 MiB at a time; 16 MiB are held."""
        held: list[AskedFor] = []
        held_bytes = 0
        for uid, works in by_uid.items():
            async with aclosing(self._candidates(uid, works)) as steps:
                async for candidates in steps:
                    if not held:
                        # Not measured yet: most batches are one step of one tenant.
                        held, held_bytes = candidates, 0
                        continue
                    held_bytes = held_bytes or _size(held)
                    size = _size(candidates)
                    if held_bytes + size > STEP_BYTES:
                        yield held
                        held, held_bytes = candidates, size
                    else:
                        held += candidates
                        held_bytes += size
        if held:
            yield held

    async def _candidates(self, uid: str, works: list[IndexWork]) -> AsyncGenerator[list[AskedFor]]:
        home = await self._snapshot.find_home(uid)
        if home is None:
            _postpone(works, LookupError("the registry has no such tenant yet"))
            return
        if home.tenant.state is TenantState.DELETED or not home.space.search_enabled:
            self._count(Outcome.DROPPED, sum(work.events for work in works))
            return
        asked = {id_: work for work in works if work.body for id_ in work.body.ids}
        # The tenant's uid is asked for too: a collection can't give another incarnation's events.
        keys = [store_key(home.tenant, id_) for id_ in asked]
        steps = read_steps(
            events_of(self._database, home.space.collection),
            {"_id": {"$in": keys}, "t": home.tenant.uid},
            projection=read_projection(home.tenant),
            timeout_sec=_READ_TIMEOUT_SEC,
        )
        async with aclosing(steps):
            async for documents in steps:
                found = [read_document(document) for document in documents]
                candidates, letters = self._sort(home, found, asked)
                await self._dead_letters.put(letters)
                yield candidates
        self._see_to_missing(asked)

    def _sort(
        self, home: Home, found: Iterable[Stored], asked: dict[bytes, IndexWork]
    ) -> tuple[list[AskedFor], list[DeadLetter]]:
        """Sort what was found into what is to be indexed and what is no event.

        It is taken from what is asked for.
        """
        cutoff = home.tenant.cutoff_ms()
        candidates, letters, gone = [], [], 0
        for stored in found:
            if stored.id is None:
                continue  # its key was asked for, so it has one
            work = asked.pop(stored.id)
            if isinstance(stored, StoredEvent):
                if stored.received_at < cutoff:
                    gone += 1
                else:
                    candidates.append(AskedFor(home, stored, work=work))
            elif stored.newer and work.message.receive_count < _NEWER_ATTEMPTS:
                _postpone([work], NewerVersionError(stored.reason))
            else:
                letters.append(DeadLetter.unreadable(home.tenant.uid, stored))
        self._count(Outcome.DROPPED, gone)
        self._count(Outcome.PERMANENT, len(letters))
        return candidates, letters

    def _see_to_missing(self, missing: dict[bytes, IndexWork]) -> None:
        skipped = 0
        for work in missing.values():
            old = now_ms() - work.message.sent_at >= _MISSING_SEC * 1000
            if old and work.message.receive_count > 1:
                skipped += 1
            else:
                work.come_again(_MISSING_SEC)
        if skipped:
            log.warning("ids_not_in_store", ids=skipped)
            self._count(Outcome.MISSING, skipped)

    async def _write(self, candidates: list[AskedFor]) -> None:
        """Write candidates, and dead letters of those that OpenSearch refuses."""
        letters: list[DeadLetter] = []
        pending = candidates
        for attempt in range(_BUSY_ATTEMPTS):
            if not pending:
                break
            if attempt:
                await asyncio.sleep(_BUSY_PAUSE_SEC * 2**attempt)
            await self._find_ranges(pending)
            result = await self._writer.write(pending)
            self._observe_indexed(result.indexed)
            for candidate, reason in result.refused:
                letters.append(DeadLetter.not_indexable(candidate.stored, reason))
            self._count(Outcome.PERMANENT, len(result.refused))
            for candidate in result.homeless:
                # The index was there a moment ago: have it checked, and made.
                await self._make_index(candidate)
            pending = [*result.busy, *result.homeless]
        for candidate in pending:
            _postpone([candidate.work], RuntimeError("OpenSearch is busy"))
        await self._dead_letters.put(letters)

    async def _find_ranges(self, candidates: Iterable[AskedFor]) -> None:
        for candidate in candidates:
            moment = to_datetime(candidate.stored.received_at)
            space = self._snapshot.space(candidate.home.space.name) or candidate.home.space
            entry = space.range_at(moment)
            if entry is None:
                await self._make_index(candidate)
                space = self._snapshot.space(space.name) or space
                entry = space.range_at(moment)
            if entry is None:
                raise NoIndexError(f"no index of {space.name} covers {moment}")
            candidate.range = entry

    async def _make_index(self, candidate: AskedFor) -> None:
        moment = to_datetime(candidate.stored.received_at)
        await self._indices.ensure_period(candidate.home.space.name, moment)
        await self._snapshot.confirm()

    async def _finish(self, batch: list[IndexWork]) -> None:
        done = [work.message for work in batch if work.wait_sec is None]
        again: dict[int, list[IndexWork]] = defaultdict(list)
        for work in batch:
            if work.wait_sec is not None:
                again[work.wait_sec].append(work)
        if done:
            await self._receiver.delete(done)
            self._metrics.messages.labels(result="deleted").inc(len(done))
        for delay, works in again.items():
            self._metrics.messages.labels(result="released").inc(len(works))
            await self._receiver.release([work.message for work in works], delay_sec=delay)

    def _observe_indexed(self, indexed: list[AskedFor]) -> None:
        self._count(Outcome.INDEXED, len(indexed))
        now = now_ms()
        for received_at in {candidate.stored.received_at for candidate in indexed}:
            self._metrics.age_seconds.observe(max(0, now - received_at) / 1000)

    def _count(self, outcome: Outcome, number: int) -> None:
        if number:
            self._metrics.events.labels(outcome=outcome.value).inc(number)


def _size(candidates: Iterable[AskedFor]) -> int:
    return sum(getsizeof(each.stored.text) + getsizeof(each.stored.writer) for each in candidates)


def _postpone(works: list[IndexWork], cause: Exception) -> None:
    log.warning("messages_released", messages=len(works), cause=repr(cause)[:500])
    for work in works:
        work.come_again(work.message.back_off_sec)


def _malformed(work: IndexWork) -> DeadLetter:
    return DeadLetter(
        stage=Stage.INDEX,
        reason=Reason.MALFORMED,
        uid="",
        event_id=None,
        content=work.message.body,
        detail=str(work.fault),
    )
