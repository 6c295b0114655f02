"""The way back after the loss of a key: an administrator accepts what nobody can authenticate."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from ocelot_common.dead_letters import Stage
from ocelot_common.envelope import unpack
from ocelot_common.index_message import unpack_index_message
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

#: What a message is held for while the others are looked at.
_HOLD_SEC: Final = 600
#: A collector that was reading when this job began holds messages for `HOLD_SEC`.
_QUIET_SEC: Final = HOLD_SEC + 10.0
#: Fewer than SQS allows in flight (AWS limit, 120,000).
_MOST_MESSAGES: Final = 100_000
_MOST_ROWS: Final = 1_000
#: While counting: nobody knows who wrote the messages, and each may name new writers.
_MOST_COUNTED_ROWS: Final = 10_000
_OTHERS: Final = ("", "(others)", "")
_NAME_CHARS: Final = 200

log = get_logger(__name__)


class _Wanted(NamedTuple):
    """A message that passed the checks, and its number of events."""

    message: DeadMessage
    signed: SignedText
    events: int


class Accept:
    """The work of jobs of kind `accept`.

    A job's specification holds `kid`, `sent_from` and `sent_to` (milliseconds since the epoch, or
    None), and `confirmed`. Without confirmation the job counts, and its checkpoint holds `report`:
    rows `[uid, writer, hour, events]`. With it, the job applies every check of the consumer except
    the MAC, signs the messages with the origin `retry`, sends them to their queue and deletes them.

    Args:
        sqs: the client.
        queues: the dead letter queues.
        keys: one of them signs.
        store: of the registry.
        quiet_sec: a queue is read until it gave nothing new for so long.
    """

    def __init__(
        self,
        *,
        sqs: SqsClient,
        queues: Sequence[DeadQueue],
        keys: QueueKeys,
        store: RegistryStore,
        quiet_sec: float = _QUIET_SEC,
    ) -> None:
        self._sqs = sqs
        self._queues = queues
        self._keys = keys
        self._store = store
        self._quiet_sec = quiet_sec

    async def run(self, lease: Lease) -> None:
        """Count or accept the messages of one key.

        Raises:
            JobFailedError: the key is not lost.
            NoSigningKeyError: there is no key to sign with now.
        """
        kid = str(lease.job.spec.get("kid"))
        row = await self._store.queue_key(kid)
        if row is None or row.state is not QueueKeyState.LOST:
            raise JobFailedError(
                f"the key {kid} is not lost in the registry; see `ocelot queue-keys lost`"
            )
        counts: Counter[str] = Counter(messages=0, events=0, refused=0)
        rows: Counter[tuple[str, str, str]] = Counter()
        await asyncio.gather(*(self._read(queue, lease, counts, rows) for queue in self._queues))
        report = [[*row, number] for row, number in rows.most_common(_MOST_ROWS)]
        await lease.save(checkpoint={"report": report}, progress=counts)

    async def tidy(self, lease: Lease) -> None:
        """What is held is seen again by itself."""

    async def _read(
        self,
        queue: DeadQueue,
        lease: Lease,
        counts: Counter[str],
        rows: Counter[tuple[str, str, str]],
    ) -> None:
        held: dict[str, str] = {}  # receipts by message id: bodies would take gigabytes
        try:
            new_at = time.monotonic()
            while len(held) < _MOST_MESSAGES and not await self._is_read(queue, new_at, len(held)):
                messages = await receive(self._sqs, queue.url, hold_sec=_HOLD_SEC, wait_sec=5)
                fresh = [message for message in messages if message.id not in held]
                held.update((message.id, message.receipt) for message in messages)
                if fresh:
                    new_at = time.monotonic()
                    for gone in await self._look_at(queue, lease.job.spec, fresh, counts, rows):
                        held[gone.id] = ""
                    await lease.save(progress=counts)
        finally:
            await release(self._sqs, queue.url, [receipt for receipt in held.values() if receipt])

    async def _is_read(self, queue: DeadQueue, new_at: float, held: int) -> bool:
        """Whether a queue has given everything: nobody else holds a message of it, either."""
        quiet_sec = time.monotonic() - new_at
        if quiet_sec < self._quiet_sec:
            return False
        # An owner of this job that died holds its messages for longer than a collector does.
        in_flight = (await read_depth(self._sqs, queue.url)).in_flight
        return in_flight <= held or quiet_sec > _HOLD_SEC

    async def _look_at(
        self,
        queue: DeadQueue,
        spec: dict[str, Any],
        messages: Sequence[DeadMessage],
        counts: Counter[str],
        rows: Counter[tuple[str, str, str]],
    ) -> list[DeadMessage]:
        """Count up to ten messages, or accept them; return those that are deleted."""
        wanted: list[_Wanted] = []
        for message in messages:
            signed = _of_key(message, spec)
            if signed is None:
                continue
            try:
                found = _checked(queue.stage, signed)
            except (MalformedError, TimesError, AheadError) as error:
                log.warning("message_not_accepted", id=message.id, reason=str(error)[:300])
                counts["refused"] += 1
                continue
            counts["messages"] += 1
            counts["events"] += found.total()
            for row, number in found.items():
                rows[row if row in rows or len(rows) < _MOST_COUNTED_ROWS else _OTHERS] += number
            wanted.append(_Wanted(message, signed, found.total()))
        if not spec.get("confirmed") or not wanted:
            return []
        return await self._accept(queue, wanted, counts)

    async def _accept(
        self, queue: DeadQueue, wanted: Sequence[_Wanted], counts: Counter[str]
    ) -> list[DeadMessage]:
        key = self._keys.signing_key()
        copies: list[list[Outgoing]] = []
        signable: list[DeadMessage] = []
        for message, signed, events in wanted:
            try:
                copies.append(list(resigned(signed, queue.purpose, key, authenticated=False)))
            except NotResignableError as error:
                # Its neighbours are accepted all the same: somebody else may have sent it.
                log.warning("message_not_accepted", id=message.id, reason=str(error)[:300])
                counts.subtract({"messages": 1, "events": events})
                counts["refused"] += 1
            else:
                signable.append(message)
        arrived = iter(
            await send_each(self._sqs, queue.target_url, [copy for each in copies for copy in each])
        )
        verdicts = [[next(arrived) for _ in each] for each in copies]
        accepted = [
            message for message, there in zip(signable, verdicts, strict=True) if all(there)
        ]
        await delete(self._sqs, queue.url, accepted)
        if len(accepted) < len(signable):
            raise TryAgainError(f"SQS did not take {len(signable) - len(accepted)} messages")
        return accepted


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
        raise MalformedError("it names no tenant")


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
