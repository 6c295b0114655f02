"""What a hostile request may cost in CPU, on the real handlers and an event loop.

The bounds are those of docs/operations/guarantees.md, asserted at six times their value. `make
fuzz` searches for requests that break them exactly.
"""

import asyncio
import sys
from collections.abc import AsyncIterator

import pytest

from expensive import searches, writes
from expensive.bounds import STEP_SEC, Baseline, Rating, rate
from expensive.meter import metered_steps
from expensive.service import Service

SLACK = 6


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    made = Service()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def baseline(service: Service) -> Baseline:
    return await Baseline.measured(service)


async def rating_of(
    recipe: writes.Write | searches.Search, service: Service, baseline: Baseline
) -> Rating:
    rating = await rate(service, recipe.sample(), baseline)
    sys.stdout.write(f"{rating}\n")
    return rating


@pytest.mark.parametrize("recipe", writes.SEEDS.values(), ids=writes.SEEDS)
async def test_a_write_costs_no_more_than_its_bytes(
    recipe: writes.Write, service: Service, baseline: Baseline
):
    rating = await rating_of(recipe, service, baseline)
    assert rating.status in (202, 400, 413, 422)
    assert rating.cpu_sec < SLACK * rating.bound_sec
    assert rating.step_sec < SLACK * STEP_SEC


@pytest.mark.parametrize("recipe", searches.SEEDS.values(), ids=searches.SEEDS)
async def test_a_search_costs_no_more_than_its_bytes(
    recipe: searches.Search, service: Service, baseline: Baseline
):
    rating = await rating_of(recipe, service, baseline)
    assert rating.status in (200, 400)
    assert rating.cpu_sec < SLACK * rating.bound_sec
    assert rating.step_sec < SLACK * STEP_SEC


NAMED = {
    "16 MiB of nested arrays in 6.5 KB of zstd": writes.SEEDS["nested arrays"],
    "16 MiB of empty arrays in 1,855 bytes of zstd": writes.SEEDS["empty arrays in zstd"],
    "971 KB of floats": writes.SEEDS["floats"],
    "numbers that take 8 µs each": writes.Write(pattern=("1e300",), size=60_000, events=16),
    "small events of them": writes.Write(pattern=("1e300",), size=900, events=1_000),
    "100 q in one tree": searches.SEEDS["100 q of 2,000 characters"],
    "5,000 CIDRs": searches.SEEDS["5,000 networks"],
}


@pytest.mark.parametrize("recipe", NAMED.values(), ids=NAMED)
async def test_what_once_held_the_event_loop_costs_little(
    recipe: writes.Write | searches.Search, service: Service, baseline: Baseline
):
    ratings = [await rating_of(recipe, service, baseline) for _ in range(3)]
    assert min(rating.worst for rating in ratings) < 2


async def test_while_a_bulk_of_16_mib_is_read_other_requests_have_their_turn(service: Service):
    """Two tasks share the loop: the bulk, and one that only counts its turns."""
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    sample = writes.SEEDS["zeros in zstd"].sample()
    with metered_steps() as steps:
        counting = asyncio.create_task(count_turns())
        answer = await asyncio.create_task(service.answer(sample))
        counting.cancel()
    sys.stdout.write(f"{turns} turns, the longest step {steps.longest_sec * 1e3:.1f} ms\n")
    assert answer.status == 202
    assert turns > 100
    assert steps.longest_sec < SLACK * STEP_SEC
