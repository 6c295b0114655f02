"""One timer for many limits: what it must have in common with `asyncio.timeout`."""

import asyncio

import pytest

from ocelot_api.timers import TimeLimits


async def test_what_ends_in_time_is_left_alone():
    limits = TimeLimits(1.0)
    for _ in range(3):
        with limits.limit():
            await asyncio.sleep(0)
    await asyncio.sleep(1.1)  # an old deadline cancels nothing


async def test_what_lasts_too_long_is_ended():
    limits = TimeLimits(0.05)
    with pytest.raises(TimeoutError), limits.limit():
        await asyncio.sleep(60)
    task = asyncio.current_task()
    assert task
    assert task.cancelling() == 0


async def test_each_of_many_has_its_own_deadline():
    limits = TimeLimits(0.2)
    loop = asyncio.get_running_loop()
    lasted = []

    async def hang() -> None:
        began = loop.time()
        with pytest.raises(TimeoutError), limits.limit():
            await asyncio.sleep(60)
        lasted.append(loop.time() - began)

    tasks = []
    for _ in range(10):
        tasks.append(asyncio.create_task(hang()))
        await asyncio.sleep(0.03)
    await asyncio.gather(*tasks)
    assert min(lasted) >= 0.2
    assert len(lasted) == 10


async def test_a_cancellation_from_outside_stays_one():
    limits = TimeLimits(60)

    async def hang() -> None:
        with limits.limit():
            await asyncio.sleep(60)

    task = asyncio.create_task(hang())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_beside_the_time_out_wins():
    limits = TimeLimits(0.05)

    async def hang() -> None:
        with limits.limit():
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                task.cancel()
                raise

    task = asyncio.create_task(hang())
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_within_goes_on():
    limits = TimeLimits(60)
    with pytest.raises(KeyError), limits.limit():
        raise KeyError


async def test_nothing_is_kept_of_what_has_ended():
    limits = TimeLimits(60)
    for _ in range(100):
        with limits.limit():
            await asyncio.sleep(0)
    assert not limits._open
