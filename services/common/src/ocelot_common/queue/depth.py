"""How much waits in a queue."""

from typing import NamedTuple

from ocelot_common.queue.client import SqsClient


class Depth(NamedTuple):
    """Messages by their state, as SQS estimates them."""

    visible: int
    in_flight: int
    delayed: int

    @property
    def total(self) -> int:
        """All messages that are not deleted."""
        return self.visible + self.in_flight + self.delayed


async def read_depth(sqs: SqsClient, queue_url: str) -> Depth:
    """Ask SQS for a queue's depth.

    Raises:
        botocore.exceptions.ClientError, BotoCoreError: SQS can't be asked now.
    """
    answer = await sqs.get_queue_attributes(
        QueueUrl=queue_url,
        AttributeNames=[
            "ApproximateNumberOfMessages",
            "ApproximateNumberOfMessagesNotVisible",
            "ApproximateNumberOfMessagesDelayed",
        ],
    )
    attributes = answer["Attributes"]
    return Depth(
        int(attributes["ApproximateNumberOfMessages"]),
        int(attributes["ApproximateNumberOfMessagesNotVisible"]),
        int(attributes["ApproximateNumberOfMessagesDelayed"]),
    )
