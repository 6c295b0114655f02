"""Ending asyncio's tasks."""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

_AGAIN_SEC: Final = 2.0


async def cancel_and_wait(
    tasks: Iterable[asyncio.Future[Any]], *, again_sec: float = _AGAIN_SEC
) -> None:
    """Cancel tasks and wait until each has ended. Their results and errors are left in them.

    `asyncio.wait_for` of Python 3.11, in which PyMongo awaits every answer, loses a cancellation
    that comes together with the result (https://github.com/python/cpython/issues/86296). A task
    that goes on all the same is cancelled again.

    Args:
        tasks: to end.
        again_sec: between two cancellations of a task.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        done, pending = await asyncio.wait(pending, timeout=again_sec)
        for task in done:
            if not task.cancelled():
                task.exception()  # seen: asyncio would log it as never retrieved
