"""The way back after the loss of a key: an administrator accepts what nobody can authenticate."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import Any, Final, NamedTuple

from ocelot_common.dead_letters import Stage
from ocelot_common.envelope import unpack
from ocelot_common.index_message import unpack_index_message
from ocelot_common.jobs.model import JobState
from ocelot_common.jobs.store import JobStore
from ocelot_common.names import UID
from ocelot_common.queue.admission import AheadError, ExpiredError, TimesError, check_times
from ocelot_common.queue.client import SqsClient
from ocelot_common.queue.depth import read_depth
from ocelot_common.queue.keys import QueueKeys
from ocelot_common.queue.moving import send_each
from ocelot_common.queue.resigning import NotResignableError, resigned
from ocelot_common.queue.sending import Outgoing
from ocelot_common.registry.model import QueueKeyState
from ocelot_common.registry.store import RegistryStore
from ocelot_common.signed_text import ForgedError, SignedText, parse
from ocelot_common.telemetry.logs import get_logger
from ocelot_common.timestamps import now_ms, to_datetime
from ocelot_common.versioned import MalformedError, NewerVersionError
from ocelot_jobs.dead_queues import DeadMessage, DeadQueue, delete, receive, release
from ocelot_jobs.drain import HOLD_SEC
from ocelot_jobs.leases import JobFailedError, Lease, TryAgainError
from ocelot_jobs.shown import Shown, digest_of, packed

#: What a message is held for while the others are looked at.
_HOLD_SEC: Final = 600
#: A collector that was reading when this job began holds messages for `HOLD_SEC`.
_QUIET_SEC: Final = HOLD_SEC + 10.0
#: For the first message of a receive.
_WAIT_SEC: Final = 5
#: Fewer than SQS allows in flight (AWS limit, 120,000).
_MOST_MESSAGES: Final = 100_000
_MOST_ROWS: Final = 1_000
#: While counting: nobody knows who wrote the messages, and each may name new writers.
_MOST_COUNTED_ROWS: Final = 10_000
_OTHERS: Final = ("", "(others)", "")
_NAME_CHARS: Final = 200
#: What a repeated attempt must not count again.
_ACCEPTED: Final = ("messages", "events")

log = get_logger(__name__)


class _Wanted(NamedTuple):
    """A message that passed the checks, with its copies, its digest and its number of events."""

    copies: list[DeadMessage]
    signed: SignedText
    digest: bytes
    events: int


class _Attempt:
    """What one attempt at a job has seen.

    Attributes:
        spec: of the job.
        shown: what may be accepted; None for a job that counts.
        counts: for the job's progress.
        rows: events by tenant, writer and hour.
        seen: digests of the messages that passed the checks.
        unread: by queue, how many messages were looked at before the job had to stop.
    """

    def __init__(self, lease: Lease, shown: Shown | None) -> None:
        self.spec = lease.job.spec
        self.shown = shown
        kept = lease.job.progress if shown else {}
        # What was accepted before is gone from the queue. All else is seen again.
        self.counts: Counter[str] = Counter({name: kept.get(name, 0) for name in _ACCEPTED})
        self.counts["refused"] = 0
        self.rows: Counter[tuple[str, str, str]] = Counter()
        self.seen: set[bytes] = set()
        self.unread: dict[str, int] = {}


class Accept:
    """The work of jobs of kind `accept`.

    A job counts or accepts. The specification of one that counts holds `kid`, `sent_from` and
    `sent_to` (milliseconds since the epoch, or None). Its checkpoint ends as `report`, rows `[uid,
    writer, hour, events]`, and `shown`, the digests of the messages behind them.

    The specification of one that accepts holds the same and `count_job`, the id of the one that
    counted. It applies every check of the consumer except the MAC to the messages that were shown,
    signs them with the origin `retry`, sends them to their queue and deletes them. Its progress
    tells how many `messages` and `events` were accepted; how many messages were `refused` by the
    checks, came `further` since the count, or are `missing` though they were shown.

    `unread` in either checkpoint tells by queue after how many messages the job had to stop.

    Args:
        sqs: the client.
        queues: the dead letter queues.
        keys: one of them signs.
        store: of the registry.
        jobs: has the job that counted.
        quiet_sec: a queue is read until it gave nothing new for so long.
        most_messages: so many messages of a queue are held at once.
    """

    def __init__(
        self,
        *,
        sqs: SqsClient,
        queues: Sequence[DeadQueue],
        keys: QueueKeys,
        store: RegistryStore,
        jobs: JobStore,
        quiet_sec: float = _QUIET_SEC,
        most_messages: int = _MOST_MESSAGES,
    ) -> None:
        self._sqs = sqs
        self._queues = queues
        self._keys = keys
        self._store = store
        self._jobs = jobs
        self._quiet_sec = quiet_sec
        self._wait_sec = max(1, min(_WAIT_SEC, int(quiet_sec)))
        self._most_messages = most_messages

    async def run(self, lease: Lease) -> None:
        """Count or accept the messages of one key.

        Raises:
            JobFailedError: the key is not lost, or nothing was counted.
            TryAgainError: SQS did not take or delete some of them.
            NoSigningKeyError: there is no key to sign with now.
        """
        kid = str(lease.job.spec.get("kid"))
        row = await self._store.queue_key(kid)
        if row is None or row.state is not QueueKeyState.LOST:
            raise JobFailedError(
                f"The key {kid} is not recorded as lost. Run `ocelot queue-keys lost` first."
            )
        attempt = _Attempt(lease, await self._shown(lease))
        await asyncio.gather(*(self._read(queue, lease, attempt) for queue in self._queues))
        checkpoint: dict[str, Any] = {"unread": attempt.unread}
        if attempt.shown is None:
            checkpoint["report"] = [
                [*row, number] for row, number in attempt.rows.most_common(_MOST_ROWS)
            ]
            checkpoint["shown"] = packed(attempt.seen)
        else:
            checkpoint["done"] = attempt.shown.done
            attempt.counts["missing"] = attempt.shown.missing(attempt.seen)
        await lease.save(checkpoint=checkpoint, progress=attempt.counts)

    async def tidy(self, lease: Lease) -> None:
        """What is held is seen again by itself."""

    async def _shown(self, lease: Lease) -> Shown | None:
        """What the administrator was shown; None for a job that counts."""
        job_id = lease.job.spec.get("count_job")
        if job_id is None:
            return None
        counted = await self._jobs.get(str(job_id))
        if counted is None or counted.state is not JobState.SUCCEEDED:
            raise JobFailedError(f"The job {job_id} did not count messages to accept.")
        digests = counted.checkpoint.get("shown")
        if not isinstance(digests, bytes) or counted.spec.get("kid") != lease.job.spec["kid"]:
            raise JobFailedError(f"The job {job_id} did not count messages of this key.")
        return Shown(digests, lease.job.checkpoint.get("done", b""))

    async def _read(self, queue: DeadQueue, lease: Lease, attempt: _Attempt) -> None:
        held: dict[str, str] = {}  # receipts by message id: bodies would take gigabytes
        looked_at = 0
        try:
            new_at = time.monotonic()
            while not await self._is_read(queue, new_at, len(held)):
                if len(held) >= self._most_messages:
                    log.warning(
                        "dead_letter_queue_not_fully_read", queue=queue.name, held=len(held)
                    )
                    attempt.unread[queue.name] = looked_at
                    break
                messages = await receive(
                    self._sqs, queue.url, hold_sec=_HOLD_SEC, wait_sec=self._wait_sec
                )
                fresh = [message for message in messages if message.id not in held]
                held.update((message.id, message.receipt) for message in messages)
                if fresh:
                    new_at = time.monotonic()
                    looked_at += len(fresh)
                    for gone in await self._look_at(queue, lease, attempt, fresh):
                        del held[gone.id]
                    await lease.save(progress=attempt.counts)
        finally:
            await release(self._sqs, queue.url, list(held.values()))

    async def _is_read(self, queue: DeadQueue, new_at: float, held: int) -> bool:
        """Whether a queue has given everything: nobody else holds a message of it, either."""
        quiet_sec = time.monotonic() - new_at
        if quiet_sec < self._quiet_sec:
            return False
        # An owner of this job that died holds its messages for longer than a collector does.
        in_flight = (await read_depth(self._sqs, queue.url)).in_flight
        return in_flight <= held or quiet_sec > _HOLD_SEC

    async def _look_at(
        self, queue: DeadQueue, lease: Lease, attempt: _Attempt, messages: Sequence[DeadMessage]
    ) -> list[DeadMessage]:
        """Count up to ten messages, or accept them; return those that are deleted."""
        wanted: dict[bytes, _Wanted] = {}
        accepted: list[DeadMessage] = []
        for message in messages:
            signed = _of_key(message, attempt.spec)
            if signed is None:
                continue
            try:
                found = _checked(queue.stage, signed)
            except (MalformedError, TimesError, AheadError) as error:
                _refuse(message, error, attempt)
                continue
            digest = digest_of(queue.name, message.body)
            if attempt.shown is None:
                if digest not in attempt.seen:
                    _count(found, attempt)
            elif digest not in attempt.shown:
                attempt.counts["further"] += 1
                continue
            elif attempt.shown.is_done(digest):
                accepted.append(message)  # a copy, or its delete failed
            elif digest in wanted:
                wanted[digest].copies.append(message)
            else:
                wanted[digest] = _Wanted([message], signed, digest, found.total())
            attempt.seen.add(digest)
        if attempt.shown is not None:
            await self._accept(
                queue, lease, attempt, attempt.shown, list(wanted.values()), accepted
            )
        return accepted

    async def _accept(
        self,
        queue: DeadQueue,
        lease: Lease,
        attempt: _Attempt,
        shown: Shown,
        wanted: Sequence[_Wanted],
        accepted: list[DeadMessage],
    ) -> None:
        """Send messages, and delete them and those that are accepted already."""
        key = self._keys.signing_key()
        outgoing: list[list[Outgoing]] = []
        signable: list[_Wanted] = []
        for each in wanted:
            try:
                outgoing.append(
                    list(resigned(each.signed, queue.purpose, key, authenticated=False))
                )
            except NotResignableError as error:
                # Its neighbours are accepted all the same: somebody else may have sent it.
                _refuse(each.copies[0], error, attempt)
            else:
                signable.append(each)
        arrived = iter(
            await send_each(self._sqs, queue.target_url, list(chain.from_iterable(outgoing)))
        )
        verdicts = [[next(arrived) for _ in each] for each in outgoing]
        sent = [each for each, there in zip(signable, verdicts, strict=True) if all(there)]
        for each in sent:
            shown.mark_done(each.digest)
            attempt.counts["messages"] += 1
            attempt.counts["events"] += each.events
            accepted.extend(each.copies)
        if sent:
            # Before the delete: afterwards nobody could tell that they were accepted.
            await lease.save(checkpoint={"done": shown.done}, progress=attempt.counts)
        await delete(self._sqs, queue.url, accepted)
        if len(sent) < len(signable):
            raise TryAgainError(f"SQS did not accept {len(signable) - len(sent)} messages.")


def _count(found: Counter[tuple[str, str, str]], attempt: _Attempt) -> None:
    attempt.counts["messages"] += 1
    attempt.counts["events"] += found.total()
    rows = attempt.rows
    for row, number in found.items():
        rows[row if row in rows or len(rows) < _MOST_COUNTED_ROWS else _OTHERS] += number


def _refuse(message: DeadMessage, error: Exception, attempt: _Attempt) -> None:
    log.warning("message_not_accepted", id=message.id, reason=str(error)[:300])
    attempt.counts["refused"] += 1


def _of_key(message: DeadMessage, spec: dict[str, Any]) -> SignedText | None:
    """The parts of a message of the key and the time that are asked for."""
    try:
        signed = parse(message.body)
    except (ForgedError, NewerVersionError):
        return None
    start, end = spec.get("sent_from"), spec.get("sent_to")
    in_time = (start is None or signed.sent_at >= start) and (end is None or signed.sent_at < end)
    return signed if signed.kid == spec["kid"] and in_time else None


def _check_uid(uid: str) -> None:
    # It becomes the message's group, and SQS refuses groups of other characters.
    if not UID.fullmatch(uid):
        raise MalformedError("the message does not name a tenant")


def _checked(stage: Stage, signed: SignedText) -> Counter[tuple[str, str, str]]:
    """Events of a message by tenant, writer and hour of arrival, after the consumer's checks.

    An event's own checks follow when the consumer stores it.

    Raises:
        MalformedError: it cannot be read.
        TimesError: its times contradict each other, or lie too far ahead.
        AheadError: its times lie ahead.
    """
    if stage is Stage.INDEX:
        message = unpack_index_message(signed)
        _check_uid(message.uid)
        return Counter(
            {(message.uid[:_NAME_CHARS], "(index)", _hour(signed.sent_at)): len(message.ids)}
        )
    envelope = unpack(signed)
    _check_uid(envelope.uid)
    try:
        check_times(envelope.segments, sent_at=signed.sent_at, now=now_ms())
    except ExpiredError:
        # The consumer would keep such a message as a dead letter to be retried. Here an
        # administrator has decided already.
        check_times(envelope.segments, sent_at=signed.sent_at, now=signed.sent_at)
    rows: Counter[tuple[str, str, str]] = Counter()
    for segment in envelope.segments:
        writer = segment.writer[:_NAME_CHARS]
        rows[envelope.uid[:_NAME_CHARS], writer, _hour(segment.received_at)] += len(segment.events)
    return rows


def _hour(moment: int) -> str:
    return f"{to_datetime(moment):%Y-%m-%dT%H:00Z}"
