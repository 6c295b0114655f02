"""The dead-letter collector: looks after SQS's dead letter queues.

It authenticates every message before it unpacks anything. A message that verifies was moved by a
process that lacked its key, and goes back to its queue; or SQS gave it up after too many receives,
and it becomes a dead letter. A message that does not verify stays whole in the dead letter queue: a
key that comes back makes it readable, and only `ocelot dead-letters accept` decides otherwise.
"""

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from ocelot_common.dead_letters import DeadLetter, DeadLetterStore, Reason, Stage
from ocelot_common.envelope import unpack
from ocelot_common.index_message import unpack_index_message
from ocelot_common.jobs.model import LIVE, JobKind
from ocelot_common.jobs.store import JobStore
from ocelot_common.queue.client import SqsClient
from ocelot_common.queue.keys import QueueKeys
from ocelot_common.queue.moving import MAX_MESSAGE_BYTES, MOVED, send_each
from ocelot_common.queue.sending import Outgoing
from ocelot_common.signed_text import SignedText
from ocelot_common.telemetry.logs import get_logger
from ocelot_common.timestamps import now_ms
from ocelot_common.versioned import MalformedError
from ocelot_common.worker.refusing import FAULTS, Fault
from ocelot_jobs.dead_queues import FIRST_SENT, DeadMessage, DeadQueue, delete, receive
from ocelot_jobs.leases import Lease, TryAgainError
from ocelot_jobs.metrics import JobsMetrics

_DETAIL: Final = "SQS delivered the message too often: its receiver crashed each time, or could"
" not finish it"
#: Others see a message again so long after the collector has looked at it and left it.
HOLD_SEC: Final = 30
#: One pass looks at so many messages of a queue, so that the other queue has its turn, and far
#: fewer than 120,000 are in flight (AWS limit).
_PASS_MESSAGES: Final = 10_000
#: SQS deletes a message after 14 days (AWS limit), and so it is sent again in time.
RENEW_AFTER_MS: Final = 9 * 24 * 3600 * 1000
#: Notices of messages that do not verify, per queue and day, and what is kept of each.
_NOTICES_PER_DAY: Final = 1_000
_NOTICE_BYTES: Final = 16 * 1024
#: What a pass has seen says nothing about a queue any more after so long.
_SEEN_SEC: Final = 600.0

log = get_logger(__name__)


#: So long, the dead letter queues are left to a job that accepts messages of a lost key.
_LEFT_TO_ACCEPT: Final = timedelta(days=1)


class Drain:
    """The work of the one job `drain`, which recurs each minute.

    Args:
        sqs: the client.
        queues: to look after.
        keys: that authenticate messages.
        dead_letters: where letters are kept.
        jobs: while one of kind `accept` is live, the queues are left to it.
        metrics: counts.
        renew_after_ms: age at which a message that stays is sent again to the same queue.
    """

    def __init__(
        self,
        *,
        sqs: SqsClient,
        queues: list[DeadQueue],
        keys: QueueKeys,
        dead_letters: DeadLetterStore,
        jobs: JobStore,
        metrics: JobsMetrics,
        renew_after_ms: int = RENEW_AFTER_MS,
    ) -> None:
        self._sqs = sqs
        self._queues = queues
        self._keys = keys
        self._dead_letters = dead_letters
        self._jobs = jobs
        self._metrics = metrics
        self._renew_after_ms = renew_after_ms
        self._oldest: dict[str, tuple[int, float]] = {}
        for queue in queues:
            metrics.unauthenticated_age.labels(queue.name).set_function(
                partial(self.oldest_age_sec, queue.name)
            )

    async def run(self, lease: Lease) -> None:
        """Look at every message. One is deleted when its letter or its copy is kept, not before."""
        for job in await self._jobs.find(kinds=[JobKind.ACCEPT], states=LIVE):
            # One that does not end must not keep messages from being renewed.
            if datetime.now(UTC) - job.created_at < _LEFT_TO_ACCEPT:
                return
        numbers = dict.fromkeys(("done", *(queue.name for queue in self._queues)), 0)
        for queue in self._queues:
            oldest: list[int] = []
            seen = 0
            while seen < _PASS_MESSAGES:
                messages = await receive(self._sqs, queue.url, hold_sec=HOLD_SEC)
                if not messages:
                    break
                seen += len(messages)
                left = await self._look_at(queue, messages)
                oldest.extend(message.first_sent_at for message in left)
                numbers["done"] += len(messages) - len(left)
                numbers[queue.name] += len(messages) - len(left)
                await lease.save(progress=numbers)
            if oldest:
                self._oldest[queue.name] = min(oldest), time.monotonic()
        await lease.save(progress=numbers)

    async def tidy(self, lease: Lease) -> None:
        """There is nothing to undo."""

    def oldest_age_sec(self, name: str) -> float:
        """Return the age of the oldest message that stays in a queue, as the last pass saw it."""
        oldest, seen_at = self._oldest.get(name, (0, 0.0))
        if not oldest or time.monotonic() - seen_at > _SEEN_SEC:
            return 0.0
        return max(0.0, (now_ms() - oldest) / 1000)

    async def _look_at(
        self, queue: DeadQueue, messages: Sequence[DeadMessage]
    ) -> list[DeadMessage]:
        """See to up to ten messages; return those that stay."""
        given_up: list[tuple[DeadMessage, SignedText]] = []
        moved: list[tuple[DeadMessage, SignedText]] = []
        unauthentic: list[tuple[DeadMessage, Fault]] = []
        for message in messages:
            try:
                signed = self._keys.open(message.body, queue.purpose)
            except FAULTS as fault:
                unauthentic.append((message, fault))
                continue
            (moved if MOVED in message.attributes else given_up).append((message, signed))
        await self._keep(queue, given_up)
        await self._send_back(queue, moved)
        await self._note(queue, unauthentic)
        await self._renew(queue, [message for message, _ in unauthentic])
        return [message for message, _ in unauthentic]

    async def _keep(
        self, queue: DeadQueue, given_up: Sequence[tuple[DeadMessage, SignedText]]
    ) -> None:
        if not given_up:
            return
        await self._dead_letters.put(
            [_letter(queue.stage, message, signed) for message, signed in given_up]
        )
        self._metrics.letters.labels(queue.name).inc(len(given_up))
        log.warning("dead_letters_collected", queue=queue.name, messages=len(given_up))
        # What is not deleted is received again, and is the same letters.
        await delete(self._sqs, queue.url, [message for message, _ in given_up])

    async def _send_back(
        self, queue: DeadQueue, moved: Sequence[tuple[DeadMessage, SignedText]]
    ) -> None:
        if not moved:
            return
        copies = [
            Outgoing(message.body, _uid(queue.stage, signed) or "dead-letter")
            for message, signed in moved
        ]
        arrived = await send_each(self._sqs, queue.target_url, copies)
        back = [message for (message, _), there in zip(moved, arrived, strict=True) if there]
        self._metrics.sent_back.labels(queue.name).inc(len(back))
        log.warning("dead_letter_queue_redriven", queue=queue.name, messages=len(back))
        await delete(self._sqs, queue.url, back)
        if len(back) < len(moved):
            raise TryAgainError(f"SQS did not accept {len(moved) - len(back)} messages.")

    async def _note(
        self, queue: DeadQueue, unauthentic: Sequence[tuple[DeadMessage, Fault]]
    ) -> None:
        if not unauthentic:
            return
        notices = [_notice(queue.stage, message, fault) for message, fault in unauthentic]
        new = await self._dead_letters.put_notices(notices, most_per_day=_NOTICES_PER_DAY)
        if new:
            log.error("dead_letter_queue_unauthenticated", queue=queue.name, messages=new)

    async def _renew(self, queue: DeadQueue, messages: Sequence[DeadMessage]) -> None:
        """Send messages that SQS would soon delete to the same queue again."""
        now = now_ms()
        ageing = [each for each in messages if now - each.sent_at >= self._renew_after_ms]
        if not ageing:
            return
        arrived = await send_each(self._sqs, queue.url, [_again(each) for each in ageing])
        renewed = [each for each, there in zip(ageing, arrived, strict=True) if there]
        log.info("dead_letter_queue_renewed", queue=queue.name, messages=len(renewed))
        await delete(self._sqs, queue.url, renewed)


def _again(message: DeadMessage) -> Outgoing:
    attributes = {**message.attributes, FIRST_SENT: str(message.first_sent_at)}
    group = message.group or "dead-letter"
    copy = Outgoing(message.body, group, attributes)
    return copy if copy.size <= MAX_MESSAGE_BYTES else Outgoing(message.body, group)


def _letter(stage: Stage, message: DeadMessage, signed: SignedText) -> DeadLetter:
    return DeadLetter(
        stage=stage,
        reason=Reason.EXHAUSTED,
        uid=_uid(stage, signed),
        event_id=None,
        content=message.body,
        detail=_DETAIL,
    )


def _notice(stage: Stage, message: DeadMessage, fault: Fault) -> DeadLetter:
    return DeadLetter(
        stage=stage,
        reason=Reason.UNAUTHENTICATED,
        uid="",
        event_id=None,
        content=message.body.encode()[:_NOTICE_BYTES].decode(errors="ignore"),
        detail=f"SQS message {message.id} stays in the dead letter queue: {fault}",
    )


def _uid(stage: Stage, signed: SignedText) -> str:
    """Whose message this is; empty if it holds nothing that can be read."""
    try:
        if stage is Stage.STORE:
            return unpack(signed).uid
        return unpack_index_message(signed).uid
    except MalformedError:
        return ""
