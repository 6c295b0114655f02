"""The one retry policy: exponential pauses with jitter, until it works or the process stops."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential
from tenacity.stop import stop_base


class _StopWhenSet(stop_base):
    def __init__(self, event: asyncio.Event) -> None:
        self._event = event

    def __call__(self, retry_state: RetryCallState) -> bool:
        return self._event.is_set()


def retrying(
    *,
    on: type[BaseException] | tuple[type[BaseException], ...],
    stopping: asyncio.Event,
    min_sec: float = 0.1,
    max_sec: float = 10.0,
    report: Callable[[RetryCallState], None] | None = None,
) -> AsyncRetrying:
    """Attempts that end when one succeeds, or with the last error once `stopping` is set.

    Args:
        on: the errors that a later attempt may not meet.
        stopping: set when the process is asked to stop; cuts a pause short.
        min_sec: bound of the first pause; pauses are random below a bound that doubles.
        max_sec: the largest bound.
        report: called before each pause.
    """

    async def pause(seconds: float) -> None:
        # Not wait_for: in Python 3.11 it loses a cancellation that comes with the event.
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await stopping.wait()

    return AsyncRetrying(
        retry=retry_if_exception_type(on),
        wait=wait_random_exponential(multiplier=min_sec, max=max_sec),
        stop=_StopWhenSet(stopping),
        sleep=pause,
        before_sleep=report,
        reraise=True,
    )
