"""What becomes of messages that could not be authenticated."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Final, NamedTuple

from prometheus_client import Counter
from pymongo.errors import PyMongoError

from ocelot_common.queue.client import SqsClient
from ocelot_common.queue.keys import UnknownKeyError
from ocelot_common.queue.moving import Moved, moved_message, send_each
from ocelot_common.queue.receiver import Received, Receiver
from ocelot_common.registry.snapshot import RegistrySnapshot
from ocelot_common.signed_text import ForgedError
from ocelot_common.telemetry.logs import get_logger
from ocelot_common.versioned import NewerVersionError
from ocelot_common.worker.key_monitor import KeyMonitor

#: A message of a newer version is released so often and then moved, since SQS allows 120,000
#: messages in flight.
MAX_NEWER_RELEASES: Final = 30

Fault = ForgedError | NewerVersionError | UnknownKeyError
#: The same, for `except` and `isinstance`.
FAULTS: Final = (ForgedError, NewerVersionError, UnknownKeyError)

log = get_logger(__name__)


class Refused(NamedTuple):
    """A message and why it could not be authenticated."""

    message: Received
    fault: Fault


class RefusedMessages:
    """Moves messages to the dead letter queue, or releases them. Nothing is deleted unless moved.

    Args:
        receiver: that holds the messages.
        sqs: the client.
        dlq_url: of the queue's dead letter queue.
        snapshot: of the registry.
        keys: tells which keys this process must wait for.
        counter: with the label `result`.
    """

    def __init__(
        self,
        *,
        receiver: Receiver,
        sqs: SqsClient,
        dlq_url: str,
        snapshot: RegistrySnapshot,
        keys: KeyMonitor,
        counter: Counter,
    ) -> None:
        self._receiver = receiver
        self._sqs = sqs
        self._dlq_url = dlq_url
        self._snapshot = snapshot
        self._keys = keys
        self._counter = counter

    async def settle(self, refused: Sequence[Refused]) -> None:
        """Move or release messages.

        A message whose key the registry has as active is released at once, for a process that has
        the key, and this process receives nothing until it has it, too.
        """
        if not refused:
            return
        moving: dict[Moved, list[Refused]] = defaultdict(list)
        waiting: list[Refused] = []
        unknown: list[Refused] = []
        for each in refused:
            if isinstance(each.fault, UnknownKeyError):
                unknown.append(each)
            elif isinstance(each.fault, ForgedError):
                moving[Moved.FORGED].append(each)
            elif each.message.receive_count > MAX_NEWER_RELEASES:
                moving[Moved.NEWER].append(each)
            else:
                waiting.append(each)
        if unknown:
            try:
                forged, awaited = await self._by_key(unknown)
            except PyMongoError as error:
                log.warning("messages_released", messages=len(unknown), cause=repr(error)[:500])
                waiting.extend(unknown)
            else:
                moving[Moved.FORGED].extend(forged)
                await self._release(awaited, at_once=True)
        await self._release(waiting)
        for why, group in moving.items():
            await self._move(group, why)

    async def _by_key(self, unknown: list[Refused]) -> tuple[list[Refused], list[Refused]]:
        """Split messages into those whose key does not exist and those whose key is awaited.

        Raises:
            pymongo.errors.PyMongoError: the registry can't be read now.
        """
        await self._snapshot.confirm()  # a new key may be younger than the snapshot
        kids = {each.fault.kid for each in unknown if isinstance(each.fault, UnknownKeyError)}
        known = {kid for kid in kids if self._keys.is_awaited(kid)}
        forged: list[Refused] = []
        awaited: list[Refused] = []
        for each in unknown:
            kid = each.fault.kid if isinstance(each.fault, UnknownKeyError) else ""
            (awaited if kid in known else forged).append(each)
        return forged, awaited

    async def _move(self, group: list[Refused], why: Moved) -> None:
        copies = [moved_message(each.message.body, why) for each in group]
        arrived = await send_each(self._sqs, self._dlq_url, copies)
        moved = [each for each, there in zip(group, arrived, strict=True) if there]
        if moved:
            log.error(
                "messages_refused",
                messages=len(moved),
                moved=why.value,
                first=str(moved[0].fault)[:300],
            )
            self._counter.labels(result=why.value).inc(len(moved))
            await self._receiver.delete([each.message for each in moved])
        await self._release([each for each, there in zip(group, arrived, strict=True) if not there])

    async def _release(self, group: list[Refused], *, at_once: bool = False) -> None:
        by_delay: dict[int, list[Received]] = defaultdict(list)
        for each in group:
            by_delay[0 if at_once else each.message.back_off_sec].append(each.message)
        for delay_sec, messages in by_delay.items():
            self._counter.labels(result="released").inc(len(messages))
            await self._receiver.release(messages, delay_sec=delay_sec)
