"""Receiving from SQS: several long polls, visibility extended while work lasts, a drain at the end.

The receiver holds every message from its receive to its `delete` or `release`. What dies in between
comes back when its visibility ends. How much it holds is bounded (held.py): what is beyond the
bounds stays in the queue, where other replicas find it.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, Final

import msgspec

from ocelot_common.batching import batched
from ocelot_common.queue.client import MAX_BATCH_ENTRIES, SqsClient
from ocelot_common.queue.gate import Gate
from ocelot_common.queue.held import HeldBounds
from ocelot_common.queue.sending import SQS_ERRORS
from ocelot_common.retry import retrying
from ocelot_common.telemetry.logs import get_logger

VISIBILITY_SEC: Final = 60
#: Short, since a drain waits for open polls: a cancelled one may swallow messages until their
#: visibility ends.
WAIT_SEC: Final = 5
_EXTEND_EVERY_SEC: Final = 20.0
#: Before a message that could not be handled comes again: the first pause, and the longest.
_BACK_OFF_SEC: Final = (2, 60)

log = get_logger(__name__)


class Received(msgspec.Struct, eq=False, gc=False):
    """One message in our hands.

    Attributes:
        receive_count: how often SQS has handed it out, this time included.
        sent_at: milliseconds since the epoch.
        visible_at: on the monotonic clock, when SQS gives it to others.
        unpacked_bytes: what it was unpacked to, which is held beside its body.
    """

    receipt: str
    body: str
    receive_count: int
    sent_at: int
    visible_at: float
    unpacked_bytes: int = 0

    @property
    def held_bytes(self) -> int:
        """What it takes of the memory for held messages."""
        return len(self.body) + self.unpacked_bytes

    @property
    def back_off_sec(self) -> int:
        """The pause before it comes again: doubled at each receive, up to a minute."""
        first, longest = _BACK_OFF_SEC
        return int(min(first * 2 ** min(self.receive_count - 1, 10), longest))


class Receiver:
    """Takes messages from one queue while its gate is open and there is room for them.

    Args:
        sqs: the client.
        queue_url: of the queue.
        gate: while it is shut, nothing is received.
        receivers: most receives under way at once.
        max_buffered_bytes: bound of the messages in hand and of what they were unpacked to.
        wait_sec: how long a receive waits for messages.
        visibility_sec: how long a message is hidden from others, unless extended.
    """

    def __init__(
        self,
        sqs: SqsClient,
        queue_url: str,
        *,
        gate: Gate,
        receivers: int,
        max_buffered_bytes: int,
        wait_sec: int = WAIT_SEC,
        visibility_sec: int = VISIBILITY_SEC,
    ) -> None:
        self._sqs = sqs
        self._queue_url = queue_url
        self._gate = gate
        self._receivers = receivers
        self._bounds = HeldBounds(max_bytes=max_buffered_bytes)
        self._wait_sec = wait_sec
        self._visibility_sec = visibility_sec
        self._held: dict[str, Received] = {}
        self._room = asyncio.Condition()
        self._stopping = asyncio.Event()
        self._failure: BaseException | None = None
        self._arrived: asyncio.Queue[list[Received]] = asyncio.Queue()

    @property
    def held(self) -> int:
        """Messages received and neither deleted nor released."""
        return len(self._held)

    @property
    def held_bytes(self) -> int:
        """Size of the bodies of what is held, and of what they were unpacked to."""
        return self._bounds.bytes

    def fits(self, size: int) -> bool:
        """Whether a held message may be unpacked to so many bytes within the bound."""
        return self._bounds.fits(size)

    def unpacked(self, message: Received, size: int) -> None:
        """Count so many bytes, to which a held message was unpacked, until it is let go."""
        message.unpacked_bytes += size
        if message.receipt in self._held:
            self._bounds.bytes += size

    def stop(self) -> None:
        """Begin no further receive."""
        self._stopping.set()

    async def messages(self) -> AsyncIterator[list[Received]]:
        """Messages as they come, up to ten at a time; ends after `stop` with the last poll.

        Raises:
            BaseException: what ended a poll and nobody foresaw; the process is to end.
        """
        extender = asyncio.create_task(self._extend_visibility(), name="extend-visibility")
        polls = [
            asyncio.create_task(self._poll(), name=f"receive-{number}")
            for number in range(self._receivers)
        ]
        ended = asyncio.create_task(self._when_ended(polls), name="receivers-ended")
        try:
            while batch := await self._arrived.get():
                yield batch
            if self._failure is not None:
                raise self._failure
        finally:
            self._stopping.set()
            await ended
            extender.cancel()

    async def delete(self, messages: Sequence[Received]) -> None:
        """Delete messages that are done; one that can't be deleted comes again, a duplicate."""
        calls = [
            self._batch(self._sqs.delete_message_batch, "delete", [_handle(m) for m in part], part)
            for part in batched(messages, MAX_BATCH_ENTRIES)
        ]
        await asyncio.gather(*calls)
        self._bounds.finished(len(messages))
        await self._let_go(messages)

    async def release(self, messages: Sequence[Received], *, delay_sec: int = 0) -> None:
        """Give messages back, to be received again after `delay_sec`."""
        await self._change_visibility(messages, delay_sec)
        await self._let_go(messages)

    async def release_all(self) -> None:
        """Give back everything that is held, at once."""
        await self.release(list(self._held.values()))

    async def _poll(self) -> None:
        while not self._stopping.is_set():
            number = await self._until_room()
            if not number:
                return
            try:
                await self._receive(number)
            finally:
                self._bounds.answered(number)  # this poll asks for all that it leaves free

    async def _receive(self, number: int) -> None:
        async for attempt in retrying(on=SQS_ERRORS, stopping=self._stopping, report=_report):
            with attempt:
                answer = await self._sqs.receive_message(
                    QueueUrl=self._queue_url,
                    MaxNumberOfMessages=number,
                    WaitTimeSeconds=self._wait_sec,
                    VisibilityTimeout=self._visibility_sec,
                    MessageSystemAttributeNames=["ApproximateReceiveCount", "SentTimestamp"],
                )
                visible_at = time.monotonic() + self._visibility_sec
                batch = [_received(raw, visible_at) for raw in answer.get("Messages", [])]
                for message in batch:
                    self._held[message.receipt] = message
                    self._bounds.add(message.held_bytes)
                if batch:
                    self._arrived.put_nowait(batch)

    async def _until_room(self) -> int:
        """Wait until there is room, and count a receive; how many to ask for, 0 after a stop."""
        while not self._stopping.is_set():
            async with self._room:
                await self._room.wait_for(
                    lambda: self._bounds.to_ask_for() or self._stopping.is_set()
                )
            # The gate comes last: it may have been shut while there was no room.
            if self._gate.is_open and not self._stopping.is_set():
                # It may have gone since it was seen: the average that it depends on falls with
                # time, and the machine may have run something else in between.
                if number := self._bounds.to_ask_for():
                    self._bounds.asked(number)
                    return number
                continue
            gate = asyncio.create_task(self._gate.wait_open())
            stop = asyncio.create_task(self._stopping.wait())
            await asyncio.wait([gate, stop], return_when=asyncio.FIRST_COMPLETED)
            gate.cancel()
            stop.cancel()
        return 0

    async def _when_ended(self, polls: list[asyncio.Task[None]]) -> None:
        stop = asyncio.create_task(self._stopping.wait())
        # Before the stop, a poll ends only by an error that nobody foresaw.
        await asyncio.wait([stop, *polls], return_when=asyncio.FIRST_COMPLETED)
        self._stopping.set()
        await self._tell_of_room()
        results = await asyncio.gather(*polls, return_exceptions=True)
        for result in results:
            if isinstance(result, SQS_ERRORS):
                log.warning("receive_ended_with_error", error=repr(result))
            elif isinstance(result, BaseException):
                self._failure = self._failure or result
        self._arrived.put_nowait([])

    async def _extend_visibility(self) -> None:
        while True:
            await asyncio.sleep(_EXTEND_EVERY_SEC / 4)
            soon = time.monotonic() + self._visibility_sec - _EXTEND_EVERY_SEC
            ageing = [message for message in self._held.values() if message.visible_at < soon]
            if ageing:
                await self._change_visibility(ageing, self._visibility_sec)

    async def _change_visibility(self, messages: Iterable[Received], seconds: int) -> None:
        parts = batched(messages, MAX_BATCH_ENTRIES)
        # Side by side: a drain gives back thousands of messages in its last seconds.
        await asyncio.gather(*(self._change_part(part, seconds) for part in parts))

    async def _change_part(self, part: Sequence[Received], seconds: int) -> None:
        entries = [{**_handle(m), "VisibilityTimeout": seconds} for m in part]
        asked_at = time.monotonic()
        call = self._sqs.change_message_visibility_batch
        refused = await self._batch(call, "change_visibility", entries, part)
        for index, message in enumerate(part):
            if index not in refused:
                message.visible_at = asked_at + seconds

    async def _batch(
        self, call: Any, what: str, entries: list[dict[str, Any]], part: Sequence[Received]
    ) -> set[int]:
        """Indexes of the entries that SQS did not take."""
        numbered = [{"Id": str(index), **entry} for index, entry in enumerate(entries)]
        try:
            answer = await call(QueueUrl=self._queue_url, Entries=numbered)
        except SQS_ERRORS as error:
            log.warning("sqs_call_failed", call=what, messages=len(part), error=repr(error))
            return set(range(len(entries)))
        if failed := answer.get("Failed"):
            log.warning("sqs_entries_failed", call=what, messages=len(failed), first=failed[0])
        return {int(entry["Id"]) for entry in failed or ()}

    async def _let_go(self, messages: Iterable[Received]) -> None:
        for message in messages:
            if self._held.pop(message.receipt, None):
                self._bounds.remove(message.held_bytes)
        await self._tell_of_room()

    async def _tell_of_room(self) -> None:
        async with self._room:
            self._room.notify_all()


def _received(raw: dict[str, Any], visible_at: float) -> Received:
    attributes = raw.get("Attributes", {})
    return Received(
        receipt=raw["ReceiptHandle"],
        body=raw["Body"],
        receive_count=int(attributes.get("ApproximateReceiveCount", 1)),
        sent_at=int(attributes.get("SentTimestamp", 0)),
        visible_at=visible_at,
    )


def _handle(message: Received) -> dict[str, Any]:
    return {"ReceiptHandle": message.receipt}


def _report(state: Any) -> None:
    log.warning(
        "receive_failed",
        attempt=state.attempt_number,
        error=repr(state.outcome.exception()),
        next_attempt_sec=round(state.next_action.sleep, 2),
    )
