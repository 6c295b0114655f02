"""Waits for the queues to run empty, so that little is left to save."""

import asyncio
import time
from typing import Final

from botocore.exceptions import BotoCoreError, ClientError

from ocelot_common.queue.client import SqsClient
from ocelot_common.queue.depth import read_depth
from ocelot_devstack.queues import open_sqs
from ocelot_devstack.stack import Stack

_POLL_SEC: Final = 0.25
# A batch that moves from one queue to the next may be in neither count once.
_QUIET_POLLS: Final = 2


async def drain_queues(stack: Stack, *, timeout_sec: float, hurry: asyncio.Event) -> None:
    """Wait until the running workers have emptied their queues.

    A queue whose worker does not run is not waited for. An SQS that somebody else runs keeps its
    queues, so nothing is waited for there.

    Args:
        stack: no sender should run any more.
        timeout_sec: the longest wait.
        hurry: ends the wait.
    """
    if stack.backends.sqs.process is None:
        return
    workers = [process for process in stack.services if process.spec.drains is not None]
    urls = stack.queues.as_dict()
    deadline = time.monotonic() + timeout_sec
    quiet = 0
    async with open_sqs(stack.sqs_endpoint_url, stack.settings.aws_env()) as sqs:
        while True:
            drained = {str(process.spec.drains) for process in workers if process.running}
            empty = [await _is_empty(sqs, urls[name]) for name in drained]
            quiet = quiet + 1 if all(empty) else 0
            if quiet >= _QUIET_POLLS or time.monotonic() > deadline or hurry.is_set():
                return
            await asyncio.sleep(_POLL_SEC)


async def _is_empty(sqs: SqsClient, url: str) -> bool:
    try:
        async with asyncio.timeout(2):
            return (await read_depth(sqs, url)).total == 0
    except (TimeoutError, ClientError, BotoCoreError):
        return False
