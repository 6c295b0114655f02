"""Batch calls to SQS: packing entries into calls, and sending again only what failed."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from ocelot_common.batching import batched_by_bytes
from ocelot_common.queue.client import MAX_BATCH_ENTRIES, SqsClient

#: AWS limit for a message and for a whole batch, 1 MiB, less room for what goes with it.
MAX_CALL_BYTES: Final = 1_000 * 1024
_STRING: Final = "String"

#: What a call to SQS raises when it can't be reached, times out or refuses.
SQS_ERRORS: Final = (ClientError, BotoCoreError, TimeoutError, ConnectionError)


class Outgoing(NamedTuple):
    """One message to send.

    Attributes:
        body: its text.
        group: becomes the MessageGroupId, which makes queues fair.
        attributes: message attributes of the type String; they count toward the size.
    """

    body: str
    group: str
    attributes: Mapping[str, str] = {}

    @property
    def size(self) -> int:
        """Bytes that count toward SQS's limits."""
        size = len(self.body) if self.body.isascii() else len(self.body.encode())
        return size + sum(
            len(name) + len(_STRING) + len(value.encode())
            for name, value in self.attributes.items()
        )


class SendError(Exception):
    """Some messages were not taken by SQS, or it is unknown whether they were."""


def calls_of(messages: Iterable[Outgoing]) -> Iterator[list[Outgoing]]:
    """Messages in lists that fit one batch call each."""
    return batched_by_bytes(
        messages,
        max_items=MAX_BATCH_ENTRIES,
        max_bytes=MAX_CALL_BYTES,
        size=attrgetter("size"),
    )


async def send_call(
    sqs: SqsClient, queue_url: str, messages: Sequence[Outgoing], *, attempts: int = 3
) -> list[int]:
    """Send one batch call; entries that SQS refused for the moment are sent again.

    Returns:
        The indexes of the messages that SQS did not take in `attempts` calls.

    Raises:
        SQS_ERRORS: a whole call failed; what became of its messages is unknown.
    """
    pending = list(range(len(messages)))
    for _ in range(attempts):
        answer = await sqs.send_message_batch(
            QueueUrl=queue_url,
            Entries=[_entry(index, messages[index]) for index in pending],
        )
        failed = answer.get("Failed", [])
        pending = [int(entry["Id"]) for entry in failed]
        if not pending or all(entry.get("SenderFault") for entry in failed):
            break
    return pending


async def send_all(sqs: SqsClient, queue_url: str, messages: Iterable[Outgoing]) -> int:
    """Send any number of messages.

    Returns:
        How many were sent.

    Raises:
        SendError: SQS did not take one of them.
        SQS_ERRORS: a call failed.
    """
    sent = 0
    for call in calls_of(messages):
        if refused := await send_call(sqs, queue_url, call):
            raise SendError(f"SQS rejected {len(refused)} of {len(call)} messages")
        sent += len(call)
    return sent


def _entry(index: int, message: Outgoing) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "Id": str(index),
        "MessageBody": message.body,
        "MessageGroupId": message.group,
    }
    if message.attributes:
        entry["MessageAttributes"] = {
            name: {"DataType": _STRING, "StringValue": value}
            for name, value in message.attributes.items()
        }
    return entry
