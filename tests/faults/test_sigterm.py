"""SIGTERM under load: the drain ends in time, keeps what was taken, and leaves nothing in hand."""

import asyncio
import random
import signal
import time

import msgspec
import pytest

from faultkit.client import BULK
from faultkit.events import text_of
from faultkit.harness import Access, Harness, holds
from ocelot_devstack.probes import http_status

pytestmark = [pytest.mark.mongodb, pytest.mark.sqs, pytest.mark.opensearch]

#: A worker's OCELOT_DRAIN_TIMEOUT_SEC and the api's grace, six times, on a machine that other tests
#: share.
DRAIN_SEC = 6 * 25.0
API_DRAIN_SEC = 6 * 20.0
#: uvicorn raises the signal again once everything is closed.
CLEAN_EXITS = {0, -signal.SIGTERM}


async def test_requests_that_the_api_has_taken_are_answered_with_202_after_sigterm(
    faults: Harness, tenants: list[Access]
):
    """SQS is silent until the api has begun to stop, so that the requests are in it until then."""
    access = tenants[0]
    api = await faults.start("api", OCELOT_SQS_TIMEOUT_SEC="60")
    faults.proxies["sqs"].blackhole()

    async def send(number: int) -> int:
        event = {"action": "a", "actor": {"id": "u"}, "message": f"m{number}"}
        answer = await faults.http.post(
            f"{api.url}{BULK}",
            content=msgspec.json.encode([event]),
            headers={**access.writer, "Content-Type": "application/json"},
        )
        if answer.status_code == 202:
            access.ledger.acknowledge(answer.json()["ids"][0], text_of(event))
        return answer.status_code

    requests = [asyncio.create_task(send(number)) for number in range(40)]

    async def taken() -> bool:
        return await faults.metric(api, "ocelot_api_body_budget_used_bytes") >= 40 * 50

    async def stopping() -> bool:
        return await http_status(f"{api.probes_url}/readyz") != 200

    assert await holds(taken, timeout_sec=30, every_sec=0.02), "the requests came too late"
    began = time.monotonic()
    stop = asyncio.create_task(api.stop(API_DRAIN_SEC))
    assert await holds(stopping, timeout_sec=30, every_sec=0.02), "the api did not notice SIGTERM"
    assert not any(request.done() for request in requests)
    await faults.proxies["sqs"].heal()
    assert await stop, "the api had to be killed"
    took = time.monotonic() - began
    statuses = await asyncio.gather(*requests)
    assert set(statuses) == {202}
    assert api.returncode in CLEAN_EXITS
    faults.note(f"SIGTERM of the api with 40 requests in it: all 202, exit after {took:.1f} s")
    await faults.check(tenants, "SIGTERM of the api")


@pytest.mark.long
@pytest.mark.one_round
async def test_the_api_is_rolled_under_load(
    faults: Harness, tenants: list[Access], rng: random.Random, seed: int
):
    """Replaced twice, with a gap each time; clients repeat what met a closed connection."""
    load = asyncio.create_task(
        faults.deliver(tenants, rng, 10_000 if faults.long else 2_000, over_sec=5)
    )
    process = faults.services["api"]
    for _ in range(2):
        await asyncio.sleep(rng.uniform(0.5, 1.5))
        assert await process.stop(API_DRAIN_SEC), "the api had to be killed"
        assert process.returncode in CLEAN_EXITS
        await process.start()
        await process.wait_ready(180)
    answers = await load
    assert not any(name.isdigit() and name >= "500" and name != "503" for name in answers)
    await faults.check(tenants, f"seed {seed}: api rolled twice; answers {dict(answers)}")


@pytest.mark.parametrize("name", ["consumer", "indexer"])
async def test_a_worker_that_is_stopped_under_load_holds_nothing_back(
    faults: Harness, tenants: list[Access], name: str
):
    queue = {"consumer": "ingest", "indexer": "index"}[name]
    process = faults.services[name]
    process.pause()
    await faults.deliver(tenants, random.Random(name), 20_000 if faults.long else 4_000)
    if name == "indexer":
        wanted = sum(len(access.ledger.acknowledged) for access in tenants)

        async def stored() -> bool:
            return await faults.stored_count(tenants) == wanted

        assert await holds(stored, timeout_sec=300)
    process.resume()
    await asyncio.sleep(0.2)  # in the middle of the backlog
    began = time.monotonic()
    assert await process.stop(DRAIN_SEC), f"the {name} had to be killed"
    took = time.monotonic() - began
    assert process.returncode in CLEAN_EXITS
    depth = await faults.depth(queue)
    # A message in hand would be delivered late: when its visibility ends.
    assert depth.in_flight == 0
    faults.note(f"SIGTERM of the {name}: exit after {took:.1f} s, {depth.visible} messages left")
    await faults.restore()
    await faults.check(tenants, f"SIGTERM of the {name}")


@pytest.mark.usefixtures("api_as_it_ships")
@pytest.mark.parametrize(
    ("name", "backend"),
    [
        pytest.param("consumer", "mongodb", marks=pytest.mark.long),
        pytest.param("consumer", "sqs", marks=pytest.mark.long),
        pytest.param("indexer", "opensearch", marks=pytest.mark.long),
        ("api", "sqs"),
    ],
)
async def test_a_process_whose_backend_is_silent_still_exits_in_its_time(
    faults: Harness, tenants: list[Access], name: str, backend: str
):
    process = faults.services[name]
    load = asyncio.create_task(faults.deliver(tenants, random.Random(name), 2_000, over_sec=3))
    await asyncio.sleep(1.0)
    faults.proxies[backend].blackhole()
    await asyncio.sleep(1.0)
    began = time.monotonic()
    in_time = await process.stop(API_DRAIN_SEC if name == "api" else DRAIN_SEC)
    took = time.monotonic() - began
    assert in_time, f"the {name} had to be killed; the end of its log:\n{process.log_tail()}"
    faults.note(f"SIGTERM of the {name} while {backend} is silent: exit after {took:.1f} s")
    await faults.restore()
    await load
    await faults.check(tenants, f"SIGTERM of the {name} while {backend} is silent")
