"""The four queues of an installation."""

import asyncio
import json
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass
from typing import Final, Self
from urllib.parse import urlsplit, urlunsplit

from botocore.exceptions import ClientError

from ocelot_common.queue.client import RETENTION_SEC, SqsClient, working_client
from ocelot_common.settings import SqsSettings

_VISIBILITY_SEC: Final = 60
# High: Ocelot's workers decide themselves what is dead; SQS only ends what kills them.
_MAX_RECEIVES: Final = 1000


@dataclass(frozen=True)
class QueueUrls:
    """The queues' URLs, with the host of the endpoint that the caller uses."""

    ingest: str
    ingest_dlq: str
    index: str
    index_dlq: str

    def as_dict(self) -> dict[str, str]:
        """By attribute name, for `dev.json`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, urls: Mapping[str, str]) -> Self:
        """The reverse of as_dict."""
        return cls(urls["ingest"], urls["ingest_dlq"], urls["index"], urls["index_dlq"])


def open_sqs(
    endpoint_url: str, aws_env: Mapping[str, str]
) -> AbstractAsyncContextManager[SqsClient]:
    """A client for making queues and asking for their depth.

    Args:
        endpoint_url: where SQS answers.
        aws_env: region and keys, as DevSettings.aws_env gives them.
    """
    settings = SqsSettings(
        AWS_REGION=aws_env["AWS_REGION"],
        AWS_ACCESS_KEY_ID=aws_env["AWS_ACCESS_KEY_ID"],
        AWS_SECRET_ACCESS_KEY=aws_env["AWS_SECRET_ACCESS_KEY"],
        AWS_ENDPOINT_URL_SQS=endpoint_url,
        SQS_QUEUE_URL=f"{endpoint_url}/queue",  # each call names its own
    )
    return working_client(settings, connections=4)


async def ensure_queues(sqs: SqsClient, endpoint_url: str, *, prefix: str) -> QueueUrls:
    """Make the queues or bring existing ones up to date: 14 days, 60 s visibility, redrive.

    Args:
        sqs: an SQS client.
        endpoint_url: goes into the URLs in place of the host that SQS names for itself.
        prefix: what the queues' names begin with, `ocelot` for `ocelot-ingest`.
    """
    ingest, index = await asyncio.gather(
        _ensure_pair(sqs, f"{prefix}-ingest"), _ensure_pair(sqs, f"{prefix}-index")
    )
    return QueueUrls(*(_at(endpoint_url, url) for url in (*ingest, *index)))


async def delete_queues(sqs: SqsClient, queues: QueueUrls) -> None:
    """Remove the queues and what is in them; missing ones are no error."""
    for url in queues.as_dict().values():
        try:
            await sqs.delete_queue(QueueUrl=url)
        except ClientError as error:
            if "NonExistentQueue" not in str(error.response["Error"]["Code"]):
                raise


async def _ensure_pair(sqs: SqsClient, name: str) -> tuple[str, str]:
    common = {
        "MessageRetentionPeriod": str(RETENTION_SEC),
        "VisibilityTimeout": str(_VISIBILITY_SEC),
    }
    dlq = str((await sqs.create_queue(QueueName=f"{name}-dlq"))["QueueUrl"])
    await sqs.set_queue_attributes(QueueUrl=dlq, Attributes=common)
    answer = await sqs.get_queue_attributes(QueueUrl=dlq, AttributeNames=["QueueArn"])
    redrive = {
        "deadLetterTargetArn": answer["Attributes"]["QueueArn"],
        "maxReceiveCount": _MAX_RECEIVES,
    }
    queue = str((await sqs.create_queue(QueueName=name))["QueueUrl"])
    await sqs.set_queue_attributes(
        QueueUrl=queue, Attributes={**common, "RedrivePolicy": json.dumps(redrive)}
    )
    return queue, dlq


def _at(endpoint_url: str, queue_url: str) -> str:
    endpoint, queue = urlsplit(endpoint_url), urlsplit(queue_url)
    return urlunsplit((endpoint.scheme, endpoint.netloc, queue.path, "", ""))
