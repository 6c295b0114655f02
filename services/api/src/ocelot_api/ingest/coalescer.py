"""Group commit: events of many requests share envelopes and calls to SQS (design §6).

While calls are out, the buffers grow; the linger counts only when none is out, and for little. A
second call need not wait for the first.
Small envelopes are the expensive case: 21 µs of client CPU an event at 8 KiB, 0.6 in batches of
seven at 128 KiB.
"""

import asyncio
import time
import traceback
from bisect import bisect_left
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import accumulate
from typing import Final, NamedTuple

import msgspec

from ocelot_api.metrics import ApiMetrics
from ocelot_api.timers import TimeLimits
from ocelot_common.envelope import MAX_ENCODED_BYTES, Envelope, Segment, pack
from ocelot_common.queue.client import MAX_BATCH_ENTRIES, SEND_TIMEOUT_SEC, SqsClient
from ocelot_common.queue.keys import QueueKeys
from ocelot_common.queue.sending import MAX_CALL_BYTES, SQS_ERRORS, Outgoing, send_call
from ocelot_common.telemetry.logs import get_logger
from ocelot_common.timestamps import now_ms

ENVELOPE_TARGET_BYTES: Final = 128 * 1024
CALLS_IN_FLIGHT: Final = 4
#: Events that wait behind calls that hang are answered so many seconds after the calls' limit: a
#: request is answered within 2 s of the arrival of its events (the contract), whatever SQS does.
ANSWER_SLACK_SEC: Final = 0.3
#: While some calls are out, events wait for their end or so long at most: one connection that
#: hangs does not hold up what the other calls could take.
PATIENCE_SEC: Final = 0.1
#: Events of so many bytes do not linger while few calls are out: sharing a call (1.4 ms of CPU
#: time, as much as accepting 200 events) with more of them would save less than the waiting costs.
PROMPT_BYTES: Final = 64 * 1024
#: With one call at a time the process idles while SQS works and all its clients wait.
_FEW_CALLS: Final = 2
#: msgpack's and the id's share of an event.
_EVENT_OVERHEAD: Final = 24

log = get_logger(__name__)


class SendFailedError(Exception):
    """SQS did not say that it took the events; it may have, all the same."""


class _Part(msgspec.Struct, eq=False):
    """Events of one request that go into one envelope.

    Attributes:
        done: whether SQS has taken them. Never an exception: with its traceback it would hold the
            request's events in a cycle, and cycles are collected rarely here.
    """

    uid: str
    segment: Segment
    size: int
    done: asyncio.Future[bool]


class _Packed(NamedTuple):
    """An envelope, and whom to tell whether SQS has taken it. The events themselves are let go."""

    message: Outgoing
    waiting: list[asyncio.Future[bool]]


class Coalescer:
    """Packs events of all requests into envelopes, and sends those.

    Args:
        sqs: a client that neither repeats nor waits for long.
        queue_url: the ingest queue.
        keys: one of them signs every envelope.
        metrics: counts.
        linger_sec: how long events wait for others when nothing else makes them wait.
        send_timeout_sec: seconds that one call to SQS may take. A request is answered at most
            `ANSWER_SLACK_SEC` and 0.1 s later.
    """

    def __init__(
        self,
        sqs: SqsClient,
        queue_url: str,
        *,
        keys: QueueKeys,
        metrics: ApiMetrics,
        linger_sec: float,
        send_timeout_sec: float = SEND_TIMEOUT_SEC,
    ) -> None:
        self._sqs = sqs
        self._queue_url = queue_url
        self._keys = keys
        self._metrics = metrics
        self._linger_sec = linger_sec
        self._waiting: OrderedDict[str, deque[_Part]] = OrderedDict()
        self._waiting_bytes = 0
        self._carried: deque[_Packed] = deque()
        self._changed = asyncio.Event()
        self._calls: set[asyncio.Task[None]] = set()
        self._ratio = 0.4
        self._closing = False
        self._pump: asyncio.Task[None] | None = None
        self._send_timeout_sec = send_timeout_sec
        self._answer_limits = TimeLimits(send_timeout_sec + ANSWER_SLACK_SEC)

    async def start(self) -> None:
        """Begin to send."""
        self._pump = asyncio.create_task(self._run(), name="coalescer")

    async def close(self) -> None:
        """Send what waits, and return when every call is answered."""
        self._closing = True
        self._changed.set()
        if self._pump is not None:
            await self._pump

    async def submit(self, uid: str, segment: Segment) -> None:
        """Hand events over and return when SQS has taken them all.

        Raises:
            NoSigningKeyError: there is no key to sign with; nothing was handed over.
            SendFailedError: it has not, or has not said so in time.
        """
        self._keys.signing_key()
        loop = asyncio.get_running_loop()
        parts = [
            _Part(uid, piece, size, loop.create_future()) for piece, size in self._cut(segment)
        ]
        waiting = self._waiting.setdefault(uid, deque())
        waiting.extend(parts)
        self._waiting_bytes += sum(part.size for part in parts)
        self._changed.set()
        try:
            with self._answer_limits.limit():
                for part in parts:
                    if not await part.done:
                        raise SendFailedError("SQS did not confirm the events.")
        except TimeoutError:
            raise SendFailedError("SQS did not answer in time.") from None
        finally:
            self._abandon(uid, parts)

    def _abandon(self, uid: str, parts: Sequence[_Part]) -> None:
        """Let go of parts whose request is answered, so that none of their bytes is kept."""
        for part in parts:
            part.done.cancel()  # if it is not sent yet: nobody waits for it any more
        # The oldest give up first, so they stand at the front. Without this, an outage that lasts
        # would fill the buffers of many tenants faster than the calls that time out empty them.
        waiting = self._waiting.get(uid)
        while waiting and waiting[0].done.done():
            self._waiting_bytes -= waiting.popleft().size
        if waiting is not None and not waiting:
            del self._waiting[uid]

    def _cut(self, segment: Segment) -> Iterator[tuple[Segment, int]]:
        """A request's events in pieces that fill one envelope each."""
        bound = self._envelope_bytes()
        events = segment.events
        if len(events) == 1:  # a request of one event: every microsecond counts
            yield segment, len(events[0].text) + _EVENT_OVERHEAD
            return
        ends = list(accumulate([len(event.text) + _EVENT_OVERHEAD for event in events]))
        begin, behind = 0, 0
        while begin < len(events):
            # The event that reaches the bound is the piece's last.
            end = min(bisect_left(ends, behind + bound, begin) + 1, len(events))
            piece = events[begin:end] if end - begin < len(events) else events
            yield msgspec.structs.replace(segment, events=piece), ends[end - 1] - behind
            begin, behind = end, ends[end - 1]

    def _envelope_bytes(self) -> int:
        return int(ENVELOPE_TARGET_BYTES / self._ratio)

    async def _run(self) -> None:
        while True:
            while not self._has_work() and not self._closing:
                self._changed.clear()
                await self._changed.wait()
            if not self._has_work():
                break
            await self._linger()
            try:
                call = self._next_call()
            except Exception:
                log.exception("packing_failed")  # its requests time out
                continue
            if call:
                task = asyncio.create_task(self._send(call), name="sqs-send")
                self._calls.add(task)
                task.add_done_callback(self._ended)
        if self._calls:
            await asyncio.wait(self._calls)

    def _has_work(self) -> bool:
        return bool(self._waiting or self._carried)

    async def _linger(self) -> None:
        """Return when it is time for the next call."""
        began = time.monotonic()
        full = int(MAX_CALL_BYTES / self._ratio)
        while not self._closing or len(self._calls) >= CALLS_IN_FLIGHT:
            enough = PROMPT_BYTES if len(self._calls) < _FEW_CALLS else full
            if len(self._calls) < CALLS_IN_FLIGHT and self._waiting_bytes >= enough:
                return
            left = None
            if len(self._calls) < CALLS_IN_FLIGHT:
                patience = max(PATIENCE_SEC, self._linger_sec) if self._calls else self._linger_sec
                left = began + patience - time.monotonic()
                if left <= 0:
                    return
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._changed.wait()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._calls.discard(task)
        self._changed.set()
        task.result()

    def _next_call(self) -> list[_Packed]:
        """Up to ten envelopes that fit one batch call, tenants in turn."""
        call: list[_Packed] = []
        size = 0
        while len(call) < MAX_BATCH_ENTRIES:
            if not self._carried:
                self._pack_next()
            if not self._carried:
                break
            length = len(self._carried[0].message.body)
            if call and size + length > MAX_CALL_BYTES:
                break
            size += length
            call.append(self._carried.popleft())
        return call

    def _pack_next(self) -> None:
        """Pack the next tenant's waiting events into `_carried`."""
        while self._waiting:
            uid, waiting = self._waiting.popitem(last=False)
            parts: list[_Part] = []
            size = 0
            while waiting and (not parts or size + waiting[0].size <= self._envelope_bytes()):
                part = waiting.popleft()
                self._waiting_bytes -= part.size
                if not part.done.done():
                    parts.append(part)
                    size += part.size
            if waiting:
                self._waiting[uid] = waiting
            if parts:
                self._carried.extend(self._packed(uid, parts, size))
                return

    def _packed(self, uid: str, parts: Sequence[_Part], size: int) -> Iterator[_Packed]:
        envelope = Envelope(uid, [part.segment for part in parts])
        body = pack(envelope, self._keys.signing_key(), sent_at=now_ms())
        if len(body) > MAX_ENCODED_BYTES:
            yield from self._halves(uid, parts)
            return
        self._ratio += 0.1 * (max(len(body) / size, 0.02) - self._ratio)
        self._metrics.envelope_events.observe(sum(len(part.segment.events) for part in parts))
        yield _Packed(Outgoing(body, group=uid), [part.done for part in parts])

    def _halves(self, uid: str, parts: Sequence[_Part]) -> Iterator[_Packed]:
        """An envelope that came out too large, as two; events that hardly compress do that."""
        self._ratio = min(1.4, self._ratio * 2)
        middle = len(parts) // 2
        if middle:
            for group in (parts[:middle], parts[middle:]):
                yield from self._packed(uid, group, sum(part.size for part in group))
            return
        whole = parts[0]
        middle = len(whole.segment.events) // 2
        halves = []
        for events in (whole.segment.events[:middle], whole.segment.events[middle:]):
            size = sum(len(event.text) + _EVENT_OVERHEAD for event in events)
            piece = msgspec.structs.replace(whole.segment, events=events)
            future = asyncio.get_running_loop().create_future()
            halves.append(_Part(uid, piece, size, future))
        _complete_with(whole.done, [half.done for half in halves])
        for half in halves:
            yield from self._packed(uid, [half], half.size)

    async def _send(self, call: list[_Packed]) -> None:
        messages = [packed.message for packed in call]
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._send_timeout_sec):
                refused = set(await send_call(self._sqs, self._queue_url, messages, attempts=2))
        except SQS_ERRORS as error:
            self._metrics.send_failures.inc()
            log.warning("sqs_send_failed", messages=len(messages), error=repr(error)[:300])
            refused = set(range(len(call)))
            _forget(error)
        self._metrics.send_seconds.observe(time.monotonic() - began)
        for index, packed in enumerate(call):
            for future in packed.waiting:
                if not future.done():
                    future.set_result(index not in refused)


def _forget(error: BaseException | None) -> None:
    """Empty the frames of an error that is dealt with.

    botocore's errors are cycles: until these are collected, which is rare here, each would hold the
    megabyte of its call.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _complete_with(whole: asyncio.Future[bool], halves: list[asyncio.Future[bool]]) -> None:
    """Complete a future when its halves are: taken if both are."""

    def check(_: asyncio.Future[bool]) -> None:
        if whole.done() or not all(half.done() for half in halves):  # the request may be gone
            return
        whole.set_result(all(not half.cancelled() and half.result() for half in halves))

    for half in halves:
        half.add_done_callback(check)
