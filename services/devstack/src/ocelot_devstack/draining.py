"""Waits for the queues to run empty, because LocalStack loses them at its end."""

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
_UNKNOWN: Final = -1


async def drain_queues(stack: Stack, *, timeout_sec: float, hurry: asyncio.Event) -> dict[str, int]:
    """Wait until the running workers have emptied their queues; messages left, by queue.

    A queue whose worker does not run is not waited for, but counted. An SQS that somebody else
    runs keeps its queues, so nothing is waited for there.

    Args:
        stack: no sender should run any more.
        timeout_sec: the longest wait.
        hurry: ends the wait.

    Returns:
        Messages by queue, -1 where SQS did not say; empty queues are left out.
    """
    if stack.backends.sqs.process is None:
        return {}
    workers = [process for process in stack.services if process.spec.drains is not None]
    urls = stack.queues.as_dict()
    deadline = time.monotonic() + timeout_sec
    quiet = 0
    async with open_sqs(stack.sqs_endpoint_url, stack.settings.aws_env()) as sqs:
        while True:
            drained = {str(process.spec.drains): False for process in workers}
            drained.update({str(p.spec.drains): True for p in workers if p.running})
            left = {name: await _depth(sqs, urls[name]) for name in drained}
            left = {name: count for name, count in left.items() if count}
            quiet = 0 if any(drained[name] for name in left) else quiet + 1
            if quiet >= _QUIET_POLLS or time.monotonic() > deadline or hurry.is_set():
                return left
            await asyncio.sleep(_POLL_SEC)


async def _depth(sqs: SqsClient, url: str) -> int:
    try:
        async with asyncio.timeout(2):
            return (await read_depth(sqs, url)).total
    except (TimeoutError, ClientError, BotoCoreError):
        return _UNKNOWN
