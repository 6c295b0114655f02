"""`kill -9` of any process at any moment (design §6.5)."""

import asyncio
import random

import pytest

from faultkit.harness import Access, Harness

pytestmark = [pytest.mark.mongodb, pytest.mark.sqs, pytest.mark.opensearch]


async def kill_again_and_again(
    faults: Harness, name: str, rng: random.Random, load: "asyncio.Task[object]"
) -> int:
    """Kill one service at random moments: once at least, more while events are sent."""
    process = faults.services[name]
    kills = 0
    for _ in range(rng.randint(1, 3)):
        await asyncio.sleep(rng.uniform(0.05, 3.0))
        if load.done() and kills:
            break
        await process.kill()
        kills += 1
        await asyncio.sleep(rng.uniform(0.0, 0.5))
        await process.start()
        if rng.random() < 0.7:  # else: the next kill may meet it while it starts
            await process.wait_ready(180)
    await process.wait_ready(180)
    return kills


async def test_killed_processes_lose_and_double_nothing(
    faults: Harness, tenants: list[Access], rng: random.Random, seed: int
):
    events = 20_000 if faults.long else 2_000
    backlog = rng.random() < 0.5
    if backlog:  # the workers meet the kills at full speed
        for name in ("consumer", "indexer"):
            faults.services[name].pause()
    load = asyncio.create_task(
        faults.deliver(tenants, rng, events, over_sec=10 if faults.long else 5)
    )
    if backlog:
        await asyncio.sleep(rng.uniform(1.0, 4.0))
        for name in ("consumer", "indexer"):
            faults.services[name].resume()
    kills = await asyncio.gather(
        *(
            kill_again_and_again(faults, name, random.Random(rng.random()), load)
            for name in faults.services
        )
    )
    answers = await load
    counted = ", ".join(f"{n} {name}" for name, n in zip(faults.services, kills, strict=True))
    verdict = await faults.check(
        tenants, f"seed {seed}: kill -9 of {counted}; answers {dict(answers)}"
    )
    assert verdict.acknowledged >= events
