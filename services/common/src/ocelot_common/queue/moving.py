"""Moving messages to a dead letter queue: sent there whole, then deleted where they were.

A process that dies in between leaves a second copy, never none.
"""

import asyncio
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from ocelot_common.queue.client import SqsClient
from ocelot_common.queue.sending import SQS_ERRORS, Outgoing, calls_of, send_call
from ocelot_common.telemetry.logs import get_logger

#: The message attribute that says why a message was moved. SQS's own redrive sets none.
MOVED: Final = "moved"
#: AWS limit of a message, attributes included: 1 MiB.
MAX_MESSAGE_BYTES: Final = 1_048_576
#: A dead letter queue is read by one process, so that no tenant needs its share of it.
GROUP: Final = "moved"
_CALLS_AT_ONCE: Final = 4

log = get_logger(__name__)


class Moved(StrEnum):
    """Why a message was moved to the dead letter queue."""

    FORGED = "forged"
    NEWER = "newer"


def moved_message(body: str, why: Moved) -> Outgoing:
    """Return the copy for the dead letter queue; one that leaves no room has no attribute."""
    message = Outgoing(body, GROUP, {MOVED: why.value})
    return message if message.size <= MAX_MESSAGE_BYTES else Outgoing(body, GROUP)


async def send_each(sqs: SqsClient, queue_url: str, messages: Sequence[Outgoing]) -> list[bool]:
    """Send messages in calls side by side; a call that fails does not stop the others.

    Returns:
        For each message, whether SQS has it.
    """
    slots = asyncio.Semaphore(_CALLS_AT_ONCE)

    async def send(call: list[Outgoing]) -> list[bool]:
        async with slots:
            try:
                refused = set(await send_call(sqs, queue_url, call))
            except SQS_ERRORS as error:
                log.warning("sqs_call_failed", call="move", messages=len(call), error=repr(error))
                return [False] * len(call)
        return [index not in refused for index in range(len(call))]

    sent = await asyncio.gather(*map(send, calls_of(messages)))
    return [each for call in sent for each in call]
