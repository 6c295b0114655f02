"""The consumer: envelopes from the ingest queue into MongoDB, ids on to the index queue."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from opentelemetry import trace
from pymongo.errors import PyMongoError

from ocelot_common.dead_letters import DeadLetter, DeadLetterStore, Reason, Stage
from ocelot_common.envelope import Origin
from ocelot_common.index_message import pack_index_messages
from ocelot_common.queue.admission import AheadError, ExpiredError, TimesError, check_times
from ocelot_common.queue.client import SqsClient
from ocelot_common.queue.keys import NoSigningKeyError, QueueKeys
from ocelot_common.queue.receiver import Receiver
from ocelot_common.queue.sending import SQS_ERRORS, Outgoing, SendError, send_all
from ocelot_common.registry.model import Home, TenantState
from ocelot_common.registry.snapshot import RegistrySnapshot
from ocelot_common.telemetry.logs import get_logger
from ocelot_common.telemetry.tracing import links_to
from ocelot_common.timestamps import now_ms
from ocelot_common.worker.batches import BatchRunner
from ocelot_common.worker.monitors import BackendAwayError, BackendMonitor
from ocelot_common.worker.refusing import Refused, RefusedMessages
from ocelot_consumer.metrics import ConsumerMetrics
from ocelot_consumer.storing import EventStore, StoreResult
from ocelot_consumer.work import Arrival, IngestWork, Outcome, open_message

_LINGER_SEC: Final = 0.005

log = get_logger(__name__)
tracer = trace.get_tracer(__name__)


class Consumer:
    """One consumer process.

    Every event of a message ends as one of six outcomes before the message is deleted: stored,
    duplicate, conflict, permanent, gone; or transient, and then the message comes again.
    """

    def __init__(
        self,
        *,
        receiver: Receiver,
        store: EventStore,
        dead_letters: DeadLetterStore,
        snapshot: RegistrySnapshot,
        store_monitor: BackendMonitor,
        sqs: SqsClient,
        keys: QueueKeys,
        refused: RefusedMessages,
        index_queue_url: str | None,
        metrics: ConsumerMetrics,
        batch_events: int,
        batches_in_flight: int,
    ) -> None:
        self._receiver = receiver
        self._store = store
        self._dead_letters = dead_letters
        self._snapshot = snapshot
        self._store_monitor = store_monitor
        self._sqs = sqs
        self._keys = keys
        self._refused = refused
        self._index_queue_url = index_queue_url
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
        """Consume until `stop`, and then until what was received is done."""
        await self._runner.run(self._receiver.messages())

    def stop(self) -> None:
        """Receive nothing more."""
        self._receiver.stop()

    async def abandon(self) -> None:
        """Give back what is in hand."""
        await self._receiver.release_all()

    async def _handle(self, batch: list[IngestWork]) -> None:
        refused = [Refused(work.message, work.refused) for work in batch if work.refused]
        authentic = [work for work in batch if not work.refused]
        # Side by side: events that the api wrote do not wait for what somebody else sent.
        await asyncio.gather(self._refused.settle(refused), self._handle_authentic(authentic))

    async def _handle_authentic(self, batch: list[IngestWork]) -> None:
        if not batch:
            return
        traceparents = [
            segment.traceparent
            for work in batch
            if work.envelope
            for segment in work.envelope.segments
        ]
        if self._store_monitor.failing:
            await self._postpone(batch, BackendAwayError("MongoDB"))
            return
        with tracer.start_as_current_span("store batch", links=links_to(traceparents)):
            try:
                await self._consume(batch, traceparents)
            except PyMongoError as error:
                self._store_monitor.report_failure(error)
                await self._postpone(batch, error)
            except (*SQS_ERRORS, SendError, NoSigningKeyError) as error:
                await self._postpone(batch, error)

    async def _consume(self, batch: list[IngestWork], traceparents: list[str]) -> None:
        letters: list[DeadLetter] = []
        arrivals: list[Arrival] = []
        done: list[IngestWork] = []
        gone = 0
        for work in batch:
            if work.envelope is None:
                letters.append(_letter(work, Reason.MALFORMED, str(work.fault)))
                self._count(Outcome.PERMANENT, 1)
                done.append(work)
                continue
            home = await self._snapshot.find_home(work.envelope.uid)
            if home is None:
                await self._postpone([work], LookupError("the registry has no such tenant yet"))
                continue
            if home.tenant.state is not TenantState.DELETED:
                try:
                    check_times(work.envelope.segments, sent_at=work.sent_at, now=now_ms())
                except AheadError as error:
                    await self._wait(work, error)
                    continue
                except (ExpiredError, TimesError) as error:
                    letters.append(_letter(work, _reason_of(error), str(error)))
                    self._count(Outcome.PERMANENT, work.events)
                    done.append(work)
                    continue
            kept = list(_wanted(work, home))
            gone += work.events - len(kept)
            arrivals.extend(kept)
            if home.tenant.state is TenantState.DELETED and work.message.receive_count > 1:
                # Whoever had it before may have died between storing it and taking it back.
                await self._store.take_back(_arrivals(work, home))
            done.append(work)
        result = await self._store.store(arrivals)
        await self._drop_deleted(result)
        result.count(Outcome.DROPPED, gone)
        await self._dead_letters.put([*letters, *result.letters])
        await self._forward(result.indexable, traceparents)
        await self._receiver.delete([work.message for work in done])
        self._report(result, len(done), len(arrivals))

    async def _drop_deleted(self, result: StoreResult) -> None:
        """Take back what was stored for tenants that were deleted for good meanwhile.

        The tombstone is written before the purge removes anything. So either it is seen now, or
        the purge comes after these inserts and meets them.
        """
        await self._snapshot.confirm()
        deleted = {
            arrival.tenant.uid
            for arrival in result.indexable
            if (tenant := self._snapshot.tenant(arrival.tenant.uid))
            and tenant.state is TenantState.DELETED
        }
        if not deleted:
            return
        doomed = [arrival for arrival in result.indexable if arrival.tenant.uid in deleted]
        await self._store.take_back(doomed)
        for arrivals in (result.stored, result.indexable):
            arrivals[:] = [arrival for arrival in arrivals if arrival.tenant.uid not in deleted]
        result.letters[:] = [letter for letter in result.letters if letter.uid not in deleted]
        duplicates = len(doomed) - result.counts.get(Outcome.STORED, 0) + len(result.stored)
        result.counts[Outcome.STORED] = len(result.stored)
        result.count(Outcome.DUPLICATE, -duplicates)
        result.count(Outcome.DROPPED, len(doomed))

    async def _forward(self, indexable: list[Arrival], traceparents: list[str]) -> None:
        """Hand ids to the index queue; before the delete, so that none is forgotten."""
        if self._index_queue_url is None:
            return
        ids: dict[str, list[bytes]] = defaultdict(list)
        for arrival in indexable:
            if arrival.space.search_enabled:
                ids[arrival.tenant.uid].append(arrival.id)
        if not ids:
            return
        key, sent_at = self._keys.signing_key(), now_ms()
        messages = [
            Outgoing(body, group=uid)
            for uid, group in ids.items()
            for body in pack_index_messages(
                uid, list(dict.fromkeys(group)), key, sent_at=sent_at, traceparents=traceparents
            )
        ]
        await send_all(self._sqs, self._index_queue_url, messages)

    async def _postpone(self, batch: list[IngestWork], cause: Exception) -> None:
        """Leave messages to come again, each after a pause that grows with its receives."""
        log.warning("messages_released", messages=len(batch), cause=repr(cause)[:500])
        self._metrics.messages.labels(result="released").inc(len(batch))
        by_delay: dict[int, list[IngestWork]] = defaultdict(list)
        for work in batch:
            self._count(Outcome.TRANSIENT, work.events)
            by_delay[work.message.back_off_sec].append(work)
        for delay, group in by_delay.items():
            await self._receiver.release([work.message for work in group], delay_sec=delay)

    async def _wait(self, work: IngestWork, ahead: AheadError) -> None:
        """Leave a message whose times lie ahead until it is due."""
        log.warning("message_ahead", wait_sec=ahead.wait_sec)
        self._metrics.messages.labels(result="ahead").inc()
        self._count(Outcome.TRANSIENT, work.events)
        await self._receiver.release([work.message], delay_sec=ahead.wait_sec)

    def _report(self, result: StoreResult, messages: int, events: int) -> None:
        for outcome, number in result.counts.items():
            self._count(outcome, number)
        self._metrics.messages.labels(result="deleted").inc(messages)
        self._metrics.batch_events.observe(events)
        now = now_ms()
        by_tenant: dict[str, int] = defaultdict(int)
        oldest: dict[int, int] = defaultdict(int)
        for arrival in result.stored:
            by_tenant[arrival.tenant.id] += 1
            oldest[arrival.received_at] += 1
        for received_at in oldest:
            self._metrics.age_seconds.observe(max(0, now - received_at) / 1000)
        for tenant_id, number in by_tenant.items():
            label = self._metrics.tenant_labels.label(tenant_id)
            self._metrics.tenant_events.labels(tenant=label).inc(number)
        counts = {outcome.value: number for outcome, number in result.counts.items() if number}
        if counts.keys() <= {Outcome.STORED, Outcome.DUPLICATE}:
            log.debug("batch_done", messages=messages, **counts)
        else:
            log.warning("events_not_stored", messages=messages, **counts)

    def _count(self, outcome: Outcome, number: int) -> None:
        if number:
            self._metrics.events.labels(outcome=outcome.value).inc(number)


def _wanted(work: IngestWork, home: Home) -> Iterator[Arrival]:
    """The events of a message that are still wanted: no tombstone's, none past its cutoff."""
    if home.tenant.state is TenantState.DELETED:
        return
    cutoff = home.tenant.cutoff_ms()
    yield from (arrival for arrival in _arrivals(work, home) if arrival.received_at >= cutoff)


def _arrivals(work: IngestWork, home: Home) -> Iterator[Arrival]:
    """All events of a message."""
    tenant, space = home
    redelivered = work.message.receive_count > 1
    for segment in work.envelope.segments if work.envelope else ():
        internal = segment.origin is Origin.INTERNAL
        for event in segment.events:
            yield Arrival(
                tenant,
                space,
                event.id,
                event.text,
                segment.received_at,
                segment.writer,
                segment.request_id,
                redelivered,
                internal,
            )


def _letter(work: IngestWork, reason: Reason, detail: str) -> DeadLetter:
    """The letter of a whole message, which was authenticated."""
    return DeadLetter(
        stage=Stage.STORE,
        reason=reason,
        uid=work.envelope.uid if work.envelope else "",
        event_id=None,
        content=work.message.body,
        detail=detail,
    )


def _reason_of(error: ExpiredError | TimesError) -> Reason:
    return Reason.EXPIRED if isinstance(error, ExpiredError) else Reason.MALFORMED
