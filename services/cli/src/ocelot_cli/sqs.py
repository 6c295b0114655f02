"""The queues, for the commands that send to them.

A module of its own, because SQS's client takes longer to import than all else of the command.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from botocore.exceptions import BotoCoreError, ClientError

from ocelot_cli.console import fail
from ocelot_cli.running import backend, first_line, verbose
from ocelot_common.queue.client import SqsClient, working_client
from ocelot_common.queue.sending import SendError
from ocelot_common.settings import SqsSettings, read


@asynccontextmanager
async def queues() -> AsyncIterator[tuple[SqsClient, SqsSettings]]:
    """Connect to SQS as the environment says; its failures become one line and exit status 1."""
    settings = read(SqsSettings)
    try:
        async with working_client(settings) as sqs:
            yield sqs, settings
    except (BotoCoreError, ClientError, SendError) as error:
        if verbose():
            raise
        # AWS itself has no endpoint of one's own.
        variable = (
            "AWS_ENDPOINT_URL_SQS" if "AWS_ENDPOINT_URL_SQS" in os.environ else "SQS_QUEUE_URL"
        )
        fail(f"{backend('SQS', variable)} can't be used: {first_line(error)}")
