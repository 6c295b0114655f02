"""What a request costs: CPU of the process, and the longest step that held the event loop."""

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple


class Cost(NamedTuple):
    """What something took.

    Attributes:
        cpu_sec: CPU seconds of the process, helper threads included.
        step_sec: CPU seconds of the loop's thread in its longest step.
    """

    cpu_sec: float
    step_sec: float


class Steps:
    """The steps of an event loop: each is one callback, which nothing else can interrupt."""

    def __init__(self) -> None:
        self.longest_sec = 0.0
        self.number = 0

    def note(self, seconds: float) -> None:
        """Count one step."""
        self.number += 1
        self.longest_sec = max(self.longest_sec, seconds)


@contextmanager
def metered_steps() -> Iterator[Steps]:
    """Measure the CPU time of every step of asyncio's own event loop (uvloop has other handles).

    `asyncio.Handle._run` is the one place through which the loop calls anything.
    """
    steps = Steps()
    original = asyncio.Handle._run

    def run(self: asyncio.Handle) -> Any:
        began = time.thread_time()
        try:
            return original(self)
        finally:
            steps.note(time.thread_time() - began)

    asyncio.Handle._run = run  # type: ignore[method-assign]
    try:
        yield steps
    finally:
        asyncio.Handle._run = original  # type: ignore[method-assign]


async def measure(action: Callable[[], Awaitable[object]]) -> Cost:
    """What an action on the running loop takes."""
    gc.collect()
    with metered_steps() as steps:
        began = time.process_time()
        # A task of its own: the step that called this began before the meter.
        await asyncio.ensure_future(_run(action))
        cpu_sec = time.process_time() - began
    return Cost(cpu_sec, steps.longest_sec)


async def _run(action: Callable[[], Awaitable[object]]) -> None:
    await action()
