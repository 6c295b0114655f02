"""Ending tasks, also those of a library that loses cancellations."""

import asyncio

from ocelot_common.tasks import cancel_and_wait


async def test_a_task_that_loses_cancellations_ends_all_the_same():
    lost = 0

    async def stubborn() -> None:
        nonlocal lost
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                lost += 1
                if lost == 3:
                    raise

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    await cancel_and_wait([task], again_sec=0.01)
    assert task.cancelled()
    assert lost == 3


async def test_errors_and_results_stay_in_their_tasks():
    async def fails() -> None:
        raise ValueError("of the task")

    async def succeeds() -> int:
        return 7

    tasks = [asyncio.create_task(fails()), asyncio.create_task(succeeds())]
    await asyncio.sleep(0)
    await cancel_and_wait(tasks)
    assert isinstance(tasks[0].exception(), ValueError)
    assert tasks[1].result() == 7


async def test_without_tasks_it_returns_at_once():
    await cancel_and_wait([])
