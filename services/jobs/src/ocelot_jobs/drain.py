"""Moves what SQS gave up into the dead letters, where it can be seen and sent again (design §6)."""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from ocelot_common.dead_letters import DeadLetter, DeadLetterStore, Reason, Stage
from ocelot_common.envelope import unpack
from ocelot_common.index_message import unpack_index_message
from ocelot_common.names import UID
from ocelot_common.queue.client import MAX_BATCH_ENTRIES, SqsClient
from ocelot_common.telemetry.logs import get_logger
from ocelot_common.versioned import MalformedError, NewerVersionError
from ocelot_jobs.leases import Lease, TryAgainError
from ocelot_jobs.metrics import JobsMetrics

_DETAIL: Final = "received too often without an end: whoever received it died, or could not end it"

log = get_logger(__name__)


class DeadQueue(NamedTuple):
    """A dead letter queue of SQS.

    Attributes:
        name: `ingest` or `index`.
        stage: of the letters that it makes.
    """

    name: str
    url: str
    stage: Stage


class Drain:
    """The work of the one job `drain`, which recurs each minute."""

    def __init__(
        self,
        *,
        sqs: SqsClient,
        queues: list[DeadQueue],
        dead_letters: DeadLetterStore,
        metrics: JobsMetrics,
    ) -> None:
        self._sqs = sqs
        self._queues = queues
        self._dead_letters = dead_letters
        self._metrics = metrics

    async def run(self, lease: Lease) -> None:
        """Empty the queues. A message is deleted when its letter is kept, and not before."""
        numbers = dict.fromkeys(("done", *(queue.name for queue in self._queues)), 0)
        for queue in self._queues:
            while moved := await self._move(queue):
                numbers["done"] += moved
                numbers[queue.name] += moved
                await lease.save(progress=numbers)
        await lease.save(progress=numbers)

    async def tidy(self, lease: Lease) -> None:
        """There is nothing to undo."""

    async def _move(self, queue: DeadQueue) -> int:
        answer = await self._sqs.receive_message(
            QueueUrl=queue.url,
            MaxNumberOfMessages=MAX_BATCH_ENTRIES,
            WaitTimeSeconds=1,
            MessageSystemAttributeNames=["MessageGroupId"],
        )
        messages = answer.get("Messages", [])
        if not messages:
            return 0
        await self._dead_letters.put([_letter(queue.stage, message) for message in messages])
        entries = [
            {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]}
            for number, message in enumerate(messages)
        ]
        deleted = await self._sqs.delete_message_batch(QueueUrl=queue.url, Entries=entries)
        self._metrics.letters.labels(queue.name).inc(len(messages))
        log.warning("dead_queue_drained", queue=queue.name, messages=len(messages))
        if failed := deleted.get("Failed"):
            # They come again, and are the same letters.
            raise TryAgainError(f"SQS did not delete {len(failed)} messages")
        return len(messages)


def _letter(stage: Stage, message: Mapping[str, Any]) -> DeadLetter:
    body = message["Body"]
    return DeadLetter(
        stage=stage,
        reason=Reason.EXHAUSTED,
        uid=_uid(stage, body, message.get("Attributes", {}).get("MessageGroupId", "")),
        event_id=None,
        content=body,
        detail=_DETAIL,
    )


def _uid(stage: Stage, body: str, group: str) -> str:
    """Whose message this is: as it says itself, else as its group says."""
    read: Callable[[str], Any] = unpack if stage is Stage.STORE else unpack_index_message
    try:
        return str(read(body).uid)
    except (MalformedError, NewerVersionError):
        return group if UID.fullmatch(group) else ""
