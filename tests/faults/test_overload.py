"""Ten times what a consumer can take: the api says so, bounds its memory, and keeps its word.

The consumer is made slow (small batches, one at a time, a slow store), so that ten times its rate
is a load that this machine can make. SQS is made slow too: then the api's buffers fill.
"""

import asyncio
import random
import time
from pathlib import Path

import pytest
from faultkit.client import Client
from faultkit.events import batches
from faultkit.harness import Access, Harness

pytestmark = [pytest.mark.mongodb, pytest.mark.sqs, pytest.mark.opensearch]

_MIB = 1024 * 1024
BUDGET_BYTES = 4 * _MIB
#: What the api may grow by, in bytes a byte of budget: bodies, their parts, envelopes, calls.
GROWTH_FACTOR = 6
#: Beside the budget: connections, caches, the allocator's reserve.
GROWTH_BYTES = 48 * _MIB


def resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096


@pytest.mark.timeout(600)
async def test_an_overloaded_api_answers_503_stays_within_its_memory_and_loses_nothing(
    faults: Harness, tenants: list[Access]
):
    seconds = 60 if faults.long else 8
    await faults.services["consumer"].stop()
    slow = await faults.start(
        "consumer",
        OCELOT_CONSUMER_BATCH_EVENTS="50",
        OCELOT_CONSUMER_BATCHES_IN_FLIGHT="1",
        OCELOT_RECEIVERS="1",
        OCELOT_CONSUMER_MAX_HELD_BYTES=str(_MIB),
    )
    api = await faults.start(
        "api",
        OCELOT_BODY_BUDGET_BYTES=str(BUDGET_BYTES),
        OCELOT_MAX_BULK_BYTES=str(BUDGET_BYTES // 2),
    )
    faults.proxies["mongodb"].delay(0.03)
    faults.proxies["sqs"].delay(0.05)
    before = resident_bytes(api.pid)
    peak = before
    stop = asyncio.Event()
    clients: list[Client] = []

    async def watch() -> None:
        nonlocal peak
        while not stop.is_set():
            peak = max(peak, resident_bytes(api.pid))
            await asyncio.sleep(0.02)

    async def press(access: Access, number: int) -> None:
        client = Client(api.url, access.writer, access.ledger, random.Random(number))
        clients.append(client)
        plan = batches(
            random.Random(number), access.tenant.id, [], 10**9, sizes=(400,), first=number * 10**6
        )
        async with client:
            while not stop.is_set():
                await client.deliver(next(plan))

    pressing = [
        asyncio.create_task(press(access, index * 100 + copy))
        for index, access in enumerate(tenants)
        for copy in range(10)
    ]
    watcher = asyncio.create_task(watch())
    began = time.monotonic()
    stored_before = await faults.stored_count(tenants)
    await asyncio.sleep(seconds)
    stored = await faults.stored_count(tenants) - stored_before
    took = time.monotonic() - began
    stop.set()
    faults.proxies["sqs"].delay(0.0)  # what is begun is delivered
    await asyncio.gather(*pressing)
    await watcher
    acknowledged = sum(len(access.ledger.acknowledged) for access in tenants)
    answers = sum((client.answers for client in clients), start=type(clients[0].answers)())
    slowest = max(client.slowest_sec for client in clients)
    growth = peak - before
    faults.note(
        f"overload, {seconds} s: {acknowledged / took:,.0f} events/s acknowledged, "
        f"{stored / took:,.0f} stored; answers {dict(answers)}, slowest {slowest:.2f} s; "
        f"api grew by {growth / _MIB:.0f} MiB at a budget of {BUDGET_BYTES // _MIB} MiB"
    )
    assert answers["503"], "the budget was never used up"
    assert answers["202"]
    assert set(answers) <= {"202", "503"}, "the api did not answer"
    assert growth <= GROWTH_FACTOR * BUDGET_BYTES + GROWTH_BYTES
    assert acknowledged >= 5 * stored, "the consumer kept up"

    await slow.stop()
    await api.stop()
    await faults.restore()
    await faults.check(tenants, "after the overload")
