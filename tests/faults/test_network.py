"""Every kind of network fault on every connection at once."""

import asyncio
import random

import pytest

from faultkit.harness import Access, Harness
from faultkit.proxy import Direction, Proxy

pytestmark = [pytest.mark.mongodb, pytest.mark.sqs, pytest.mark.opensearch]


async def disturb(proxy: Proxy, rng: random.Random, until: "asyncio.Task[object]") -> int:
    """Faults of all kinds, one after the other, with pauses; how many."""
    number = 0
    while not until.done():
        await asyncio.sleep(rng.uniform(0.1, 1.5))
        number += 1
        match rng.randrange(6):
            case 0:
                proxy.cut()
            case 1:
                proxy.half_close()
            case 2:
                proxy.delay(rng.uniform(0.01, 0.3))
            case 3:
                proxy.blackhole()
            case 4:
                proxy.blackhole(rng.choice(list(Direction)))
            case _:
                await proxy.refuse()
        await asyncio.sleep(rng.uniform(0.1, 2.5))
        if rng.random() < 0.5:
            proxy.cut()
        await proxy.heal()
    return number


@pytest.mark.one_round
async def test_a_network_that_delays_cuts_and_swallows_loses_and_doubles_nothing(
    faults: Harness, tenants: list[Access], rng: random.Random, seed: int
):
    load = asyncio.create_task(
        faults.deliver(
            tenants, rng, 20_000 if faults.long else 2_000, over_sec=30 if faults.long else 8
        )
    )
    numbers = await asyncio.gather(
        *(disturb(proxy, random.Random(rng.random()), load) for proxy in faults.proxies.values())
    )
    answers = await load
    counted = ", ".join(
        f"{number} of {name}" for name, number in zip(faults.proxies, numbers, strict=True)
    )
    await faults.check(tenants, f"seed {seed}: faults: {counted}; answers {dict(answers)}")
