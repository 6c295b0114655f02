import asyncio

import pytest
from tenacity import RetryCallState

from ocelot_common.retry import retrying


class Flaky:
    """Fails some times, then works."""

    def __init__(self, failures: int, error: Exception | None = None) -> None:
        self.failures = failures
        self.calls = 0
        self.error = error or ConnectionError("away")

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error
        return "done"


async def attempt(work: Flaky, stopping: asyncio.Event, **changes: float) -> str:
    result = ""
    async for attempted in retrying(on=ConnectionError, stopping=stopping, **changes):  # type: ignore[arg-type]
        with attempted:
            result = work()
    return result


async def test_attempts_go_on_until_one_succeeds() -> None:
    work = Flaky(20)
    assert await attempt(work, asyncio.Event(), min_sec=0.0001, max_sec=0.001) == "done"
    assert work.calls == 21


async def test_an_error_of_another_kind_is_not_repeated() -> None:
    work = Flaky(1, KeyError("x"))
    with pytest.raises(KeyError):
        await attempt(work, asyncio.Event())
    assert work.calls == 1


async def test_a_stop_cuts_a_pause_short_and_gives_one_more_attempt() -> None:
    stopping = asyncio.Event()
    work = Flaky(1_000)
    task = asyncio.create_task(attempt(work, stopping, min_sec=3_600, max_sec=3_600))
    await asyncio.sleep(0.01)
    stopping.set()
    with pytest.raises(ConnectionError, match="away"):
        await asyncio.wait_for(task, 60)
    assert work.calls == 2


async def test_a_cancellation_that_comes_with_the_stop_is_not_lost() -> None:
    """As `asyncio.wait_for` loses it in Python 3.11: a process would not end."""
    stopping = asyncio.Event()
    work = Flaky(1)
    task = asyncio.create_task(attempt(work, stopping, min_sec=3_600, max_sec=3_600))
    await asyncio.sleep(0.01)
    stopping.set()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 60)
    assert work.calls == 1


async def test_nothing_is_repeated_once_the_process_stops() -> None:
    stopping = asyncio.Event()
    stopping.set()
    work = Flaky(1)
    with pytest.raises(ConnectionError):
        await attempt(work, stopping)
    assert work.calls == 1


async def test_each_pause_is_reported_and_none_is_longer_than_the_bound() -> None:
    pauses: list[float] = []

    def report(state: RetryCallState) -> None:
        assert state.next_action is not None
        pauses.append(state.next_action.sleep)

    work = Flaky(30)
    async for attempted in retrying(
        on=(ConnectionError, TimeoutError),
        stopping=asyncio.Event(),
        min_sec=0.0005,
        max_sec=0.002,
        report=report,
    ):
        with attempted:
            work()
    assert len(pauses) == 30
    assert all(0 <= pause <= 0.002 for pause in pauses)
    assert len(set(pauses)) > 20, "pauses without jitter meet again"
