"""A rebuild while events arrive and are searched, and its workers die (design §10)."""

import asyncio
import random

import pytest

from faultkit.harness import Access, Harness, holds

pytestmark = [pytest.mark.mongodb, pytest.mark.sqs, pytest.mark.opensearch]

STATS = "/api/v1/logs/stats"
EVENTS_PER_SEC = 500


class Searchers:
    """Clients that count all events again and again; none may ever be told less than before."""

    def __init__(self, faults: Harness, access: Access) -> None:
        self._faults = faults
        self._access = access
        self._stop = asyncio.Event()
        self._tasks = [asyncio.create_task(self._search()) for _ in range(2)]
        self.answers = 0
        self.fell: list[tuple[int, int]] = []
        self.elsewhere: set[str] = set()

    async def _search(self) -> None:
        most = 0
        while not self._stop.is_set():
            answer = await self._faults.get(self._access, STATS, distinct="action")
            assert answer.status_code == 200, answer.text
            body = answer.json()
            total = body["total"]
            self.answers += 1
            if body["backend"] != "opensearch":
                self.elsewhere.add(body["backend"])
            elif total < most:
                self.fell.append((most, total))
            most = max(most, total)
            await asyncio.sleep(0.02)

    async def end(self) -> None:
        self._stop.set()
        await asyncio.gather(*self._tasks)


async def write_until(
    faults: Harness, access: Access, rng: random.Random, done: asyncio.Event
) -> None:
    while not done.is_set():
        await faults.deliver([access], rng, EVENTS_PER_SEC, over_sec=1)


async def kill_until(faults: Harness, name: str, rng: random.Random, done: asyncio.Event) -> int:
    """Kill a service at random moments, and a few times at most: the work is to come to an end."""
    process = faults.services[name]
    kills = 0
    for _ in range(3 if faults.long else 1):
        pause = rng.uniform(1.0, 20.0 if faults.long else 5.0)
        if await holds(lambda: _is_set(done), timeout_sec=pause):
            break
        await process.kill()
        kills += 1
        await asyncio.sleep(rng.uniform(0.0, 1.0))
        await process.start()
        await process.wait_ready(180)
    return kills


async def _is_set(event: asyncio.Event) -> bool:
    return event.is_set()


@pytest.mark.timeout(1200)
@pytest.mark.one_round
async def test_a_rebuild_under_writes_searches_and_kills_answers_whole_all_the_while(
    faults: Harness, tenants: list[Access], rng: random.Random, seed: int
):
    access = tenants[0]
    await faults.deliver([access], rng, 200_000 if faults.long else 4_000, at_once=4)
    await faults.settle([access])
    before = await faults.space_of(access.tenant)
    done = asyncio.Event()
    searchers = Searchers(faults, access)
    writing = asyncio.create_task(write_until(faults, access, rng, done))
    killing = [
        asyncio.create_task(kill_until(faults, name, random.Random(rng.random()), done))
        for name in ("jobs", "indexer")
    ]
    try:
        job_id = await faults.rebuild(access)

        async def ended() -> bool:
            return (await faults.job(access, job_id))["state"] not in ("queued", "running")

        finished = await holds(ended, timeout_sec=900, every_sec=0.5)
    finally:
        done.set()
        await writing
        kills = await asyncio.gather(*killing)
        await searchers.end()
    job = await faults.job(access, job_id)
    assert finished, job
    assert job["state"] == "succeeded", job
    assert searchers.fell == [], "a search answered with less than one before it"
    assert searchers.elsewhere == set(), "the index was not in use all the while"
    after = await faults.space_of(access.tenant)
    assert not {e.index for e in before.indices} & {e.index for e in after.indices}
    assert [entry.beside for entry in after.indices] == [None] * len(after.indices)
    await faults.check(
        [access],
        f"seed {seed}: rebuild with kill -9 of {kills[0]} jobs, {kills[1]} indexer,"
        f" {searchers.answers} searches, none with less than before",
    )
