"""OpenSearch away or killed: writes go on, searches fall back, and the index catches up."""

import asyncio
import random
import time

import pytest

from faultkit.events import text_of
from faultkit.harness import Access, Harness, holds
from ocelot_common.timestamps import now_ms, to_datetime

pytestmark = [pytest.mark.mongodb, pytest.mark.sqs, pytest.mark.opensearch]

LOGS = "/api/v1/logs"


@pytest.mark.parametrize("how", ["stopped", pytest.param("silent", marks=pytest.mark.long)])
async def test_while_opensearch_is_away_searches_are_whole_and_the_index_catches_up(
    faults: Harness, tenants: list[Access], how: str
):
    proxy = faults.proxies["opensearch"]
    rng = random.Random(how)
    await faults.deliver(tenants, rng, 400)
    if how == "stopped":
        await proxy.refuse()
    else:
        proxy.blackhole()
    answers = await faults.deliver(tenants, rng, 800, over_sec=2)
    assert set(answers) == {"202"}, "a write needs no OpenSearch"
    wanted = sum(len(access.ledger.acknowledged) for access in tenants)

    async def stored() -> bool:
        return await faults.stored_count(tenants) == wanted

    assert await holds(stored, timeout_sec=240)
    for access in tenants:
        answer = await faults.get(access, LOGS, limit="1")
        assert answer.status_code == 200, answer.text
        assert answer.json()["backend"] == "mongodb"
        assert answer.json()["total"]["value"] == len(access.ledger.acknowledged)

    await proxy.heal()
    await faults.check(tenants, f"OpenSearch {how}")

    async def back() -> bool:
        answer = await faults.get(tenants[0], LOGS, limit="1")
        assert answer.json()["total"]["value"] == len(tenants[0].ledger.acknowledged)
        return bool(answer.json()["backend"] == "opensearch")

    assert await holds(back, timeout_sec=120, every_sec=0.5)


@pytest.mark.long
@pytest.mark.one_round
async def test_connections_cut_during_bulk_requests_lose_and_double_nothing(
    faults: Harness, tenants: list[Access], rng: random.Random, seed: int
):
    proxy = faults.proxies["opensearch"]
    load = asyncio.create_task(
        faults.deliver(tenants, rng, 20_000 if faults.long else 2_000, over_sec=5)
    )
    cut = 0
    while not load.done():
        await asyncio.sleep(rng.uniform(0.05, 0.6))
        cut += proxy.cut() if rng.random() < 0.7 else proxy.half_close()
    await load
    assert cut, "no connection was there to be cut"
    await faults.check(tenants, f"seed {seed}: {cut} connections to OpenSearch cut or half-closed")


@pytest.mark.long
@pytest.mark.one_round
async def test_opensearch_killed_during_bulk_requests_loses_and_doubles_nothing(
    faults: Harness, tenants: list[Access], rng: random.Random, seed: int
):
    backend = faults.stack.backends.opensearch
    if backend is None or backend.process is None:
        pytest.skip("somebody else's OpenSearch can't be killed")
    load = asyncio.create_task(faults.deliver(tenants, rng, 20_000, over_sec=20))
    for _ in range(2):
        await asyncio.sleep(rng.uniform(1.0, 5.0))
        await backend.process.kill()
        answer = await faults.get(tenants[0], LOGS, limit="1")
        assert answer.status_code == 200
        assert answer.json()["backend"] == "mongodb"
        await backend.process.start()
        await backend.process.wait_ready(240)
    answers = await load
    assert set(answers) == {"202"}, "a write needs no OpenSearch"
    await faults.check(tenants, f"seed {seed}: OpenSearch killed twice")


async def test_an_index_deleted_under_searches_never_answers_with_less(
    faults: Harness, tenants: list[Access]
):
    """From before the deletion until long after the index was made again: every answer is whole."""
    access = tenants[0]
    await faults.deliver([access], random.Random(1), 300)
    await faults.settle([access])
    whole = len(access.ledger.acknowledged)
    entry = (await faults.space_of(access.tenant)).range_at(to_datetime(now_ms()))
    assert entry is not None
    backends: dict[str, int] = {}
    stop = asyncio.Event()
    totals: set[int] = set()

    async def search() -> None:
        while not stop.is_set():
            answer = await faults.get(access, LOGS, limit="1")
            if answer.status_code == 503:
                continue
            assert answer.status_code == 200, answer.text
            body = answer.json()
            backends[body["backend"]] = backends.get(body["backend"], 0) + 1
            totals.add(body["total"]["value"])

    searchers = [asyncio.create_task(search()) for _ in range(4)]

    async def asked(backend: str) -> bool:
        return backends.get(backend, 0) > 0

    assert await holds(lambda: asked("opensearch"), timeout_sec=60), "the index was never in use"
    await faults.search.indices.delete(index=entry.index)
    assert await holds(lambda: asked("mongodb"), timeout_sec=60), "the index was never missed"
    # An event makes the indexer find out; it is found in MongoDB once it is stored.
    late = {"action": "late", "actor": {"id": "u"}}
    async with faults.client(access, random.Random(2)) as client:
        answer = await client.post([late], "late")
        assert answer is not None
        access.ledger.acknowledge(answer.json()["ids"][0], text_of(late))

    async def made_again() -> bool:
        again = (await faults.space_of(access.tenant)).range_at(to_datetime(now_ms()))
        return again is not None and again.index != entry.index and again.building

    assert await holds(made_again, timeout_sec=240)
    await asyncio.sleep(2.0)
    stop.set()
    await asyncio.gather(*searchers)
    assert totals <= {whole, whole + 1}, "an answer had fewer events than are stored"
    faults.note(f"index deleted under searches: answers by {backends}, none short of an event")


async def test_a_process_that_dies_between_making_an_index_and_recording_it_leaves_no_lie(
    faults: Harness, tenants: list[Access]
):
    """`kill -9` in the window that a deleted index opens: the new one is there, but empty."""
    access = tenants[0]
    await faults.deliver([access], random.Random(3), 200)
    await faults.settle([access])
    whole = len(access.ledger.acknowledged)
    space = await faults.space_of(access.tenant)
    entry = space.range_at(to_datetime(now_ms()))
    assert entry is not None
    # What such an indexer leaves behind: the next generation, empty, behind the aliases.
    mapping = await faults.http.get(f"{faults.stack.opensearch_url}/{entry.index}")
    body = mapping.json()[entry.index]
    made = entry.index[:-6] + "000002"
    analysis = body["settings"]["index"]["analysis"]
    await faults.search.indices.delete(index=entry.index)
    await faults.search.indices.create(
        index=made,
        body={
            "mappings": body["mappings"],
            "aliases": {entry.alias: {}, space.alias: {}},
            "settings": {"analysis": analysis, "number_of_replicas": 0},
        },
    )

    began = time.monotonic()
    while time.monotonic() - began < 2:
        answer = (await faults.get(access, LOGS, limit="1")).json()
        assert answer["total"]["value"] == whole, answer["backend"]

    # The jobs look after the indices.
    async def recorded() -> bool:
        again = (await faults.space_of(access.tenant)).range_at(to_datetime(now_ms()))
        return again is not None and again.index == made and again.building

    assert await holds(recorded, timeout_sec=240)
    answer = (await faults.get(access, LOGS, limit="1")).json()
    assert answer["total"]["value"] == whole
