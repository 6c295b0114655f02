"""The dead letter queues of SQS, as the jobs read them."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from ocelot_common.batching import batched
from ocelot_common.dead_letters import Stage
from ocelot_common.queue.client import MAX_BATCH_ENTRIES, SqsClient
from ocelot_common.queue.moving import MOVED
from ocelot_common.signed_text import Purpose
from ocelot_jobs.leases import TryAgainError

#: The message attribute with the time at which SQS first had a message, milliseconds since the
#: epoch: sending it again gives it a new `SentTimestamp`.
FIRST_SENT: Final = "first_sent"


class DeadQueue(NamedTuple):
    """A dead letter queue of SQS.

    Attributes:
        name: `ingest` or `index`.
        url: of the dead letter queue.
        target_url: of the queue whose messages it gets.
        stage: of the letters about it.
        purpose: of its messages.
    """

    name: str
    url: str
    target_url: str
    stage: Stage
    purpose: Purpose


class DeadMessage(NamedTuple):
    """A message in a dead letter queue.

    Attributes:
        id: SQS's message id.
        receipt: for deleting it.
        body: as it was sent.
        attributes: those that were given to it.
        group: its MessageGroupId.
        sent_at: when it was sent to this queue, or to the queue from which SQS moved it;
            milliseconds since the epoch.
    """

    id: str
    receipt: str
    body: str
    attributes: Mapping[str, str]
    group: str
    sent_at: int

    @property
    def first_sent_at(self) -> int:
        """When SQS first had it."""
        told = self.attributes.get(FIRST_SENT, "")
        known = told.isascii() and told.isdigit() and len(told) < 16
        return min(self.sent_at, int(told)) if known else self.sent_at


async def receive(
    sqs: SqsClient, queue_url: str, *, hold_sec: int, wait_sec: int = 1
) -> list[DeadMessage]:
    """Receive up to ten messages.

    Args:
        sqs: the client.
        queue_url: of the dead letter queue.
        hold_sec: how long others do not see them, unless they are deleted or released.
        wait_sec: how long to wait for the first.
    """
    answer = await sqs.receive_message(
        QueueUrl=queue_url,
        MaxNumberOfMessages=MAX_BATCH_ENTRIES,
        WaitTimeSeconds=wait_sec,
        VisibilityTimeout=hold_sec,
        MessageSystemAttributeNames=["MessageGroupId", "SentTimestamp"],
        MessageAttributeNames=[MOVED, FIRST_SENT],
    )
    return [_message(raw) for raw in answer.get("Messages", [])]


async def delete(sqs: SqsClient, queue_url: str, messages: Sequence[DeadMessage]) -> None:
    """Delete up to ten messages.

    Raises:
        TryAgainError: SQS did not delete them all; they are received again.
    """
    if not messages:
        return
    entries = [
        {"Id": str(number), "ReceiptHandle": message.receipt}
        for number, message in enumerate(messages)
    ]
    answer = await sqs.delete_message_batch(QueueUrl=queue_url, Entries=entries)
    if failed := answer.get("Failed"):
        raise TryAgainError(f"SQS did not delete {len(failed)} messages.")


async def release(sqs: SqsClient, queue_url: str, receipts: Sequence[str]) -> None:
    """Let others see messages at once; those that SQS does not release they see later."""
    for part in batched(receipts, MAX_BATCH_ENTRIES):
        entries = [
            {"Id": str(number), "ReceiptHandle": receipt, "VisibilityTimeout": 0}
            for number, receipt in enumerate(part)
        ]
        await sqs.change_message_visibility_batch(QueueUrl=queue_url, Entries=entries)


def _message(raw: Mapping[str, Any]) -> DeadMessage:
    system = raw.get("Attributes", {})
    attributes = {
        name: str(value["StringValue"])
        for name, value in raw.get("MessageAttributes", {}).items()
        if value.get("StringValue")  # SQS refuses empty ones, and all that are sent with them
    }
    return DeadMessage(
        raw["MessageId"],
        raw["ReceiptHandle"],
        raw["Body"],
        attributes,
        system.get("MessageGroupId", ""),
        int(system.get("SentTimestamp", 0)),
    )
