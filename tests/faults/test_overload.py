"""Ten times what a consumer can take: the api says so, bounds its memory, and keeps its word.

The consumer is made slow (small batches, one at a time, a slow store), so that ten times its rate
is a load that this machine can make. SQS is made slow too: then the api's buffers fill.
"""

import asyncio
import random
import time
from collections import Counter

import httpx
import msgspec
import pytest

from faultkit.client import BULK, Client
from faultkit.events import batches
from faultkit.harness import Access, Harness
from faultkit.memory import growth_of

pytestmark = [pytest.mark.mongodb, pytest.mark.sqs, pytest.mark.opensearch]

_MIB = 1024 * 1024
#: The note in docs/operations/guarantees.md: what the api may grow by, in bytes a byte of its
#: budget (bodies, their events, envelopes, calls), and beside it (connections, caches, allocator).
GROWTH_FACTOR = 3
GROWTH_BYTES = 96 * _MIB


async def test_an_overloaded_api_answers_503_stays_within_its_memory_and_loses_nothing(
    faults: Harness, tenants: list[Access]
):
    seconds = 60 if faults.long else 4
    budget = 4 * _MIB
    await faults.services["consumer"].stop()
    slow = await faults.start(
        "consumer",
        OCELOT_CONSUMER_BATCH_EVENTS="50",
        OCELOT_CONSUMER_BATCHES_IN_FLIGHT="1",
        OCELOT_RECEIVERS="1",
        OCELOT_CONSUMER_MAX_BUFFERED_BYTES=str(_MIB),
    )
    api = await faults.start(
        "api",
        OCELOT_BODY_BUDGET_BYTES=str(budget),
        OCELOT_MAX_BULK_BYTES=str(budget // 8),
        OCELOT_MAX_BULK_EVENTS="1000",
    )
    faults.proxies["mongodb"].delay(0.03)
    faults.proxies["sqs"].delay(0.05)
    stop = asyncio.Event()
    clients: list[Client] = []

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
    growth = asyncio.create_task(growth_of(api.pid, stop))
    began = time.monotonic()
    stored_before = await faults.stored_count(tenants)
    await asyncio.sleep(seconds)
    stored = await faults.stored_count(tenants) - stored_before
    took = time.monotonic() - began
    stop.set()
    faults.proxies["sqs"].delay(0.0)  # what is begun is delivered
    await asyncio.gather(*pressing)
    acknowledged = sum(len(access.ledger.acknowledged) for access in tenants)
    answers = sum((client.answers for client in clients), start=type(clients[0].answers)())
    slowest = max(client.slowest_sec for client in clients)
    faults.note(
        f"overload, {seconds} s: {acknowledged / took:,.0f} events/s acknowledged, "
        f"{stored / took:,.0f} stored; answers {dict(answers)}, slowest {slowest:.2f} s; "
        f"api grew by {await growth / _MIB:.0f} MiB at a budget of {budget // _MIB} MiB"
    )
    assert answers["503"], "the budget was never used up"
    assert answers["202"]
    assert set(answers) <= {"202", "503"}, "the api did not answer"
    assert await growth <= GROWTH_FACTOR * budget + GROWTH_BYTES
    assert acknowledged >= 10 * stored, "the consumer kept up"

    await slow.stop()
    await api.stop()
    await faults.restore()
    await faults.check(tenants, "after the overload")


@pytest.mark.long
@pytest.mark.parametrize(("events", "message_bytes"), [(10_000, 0), (1_000, 14_000)])
async def test_the_api_stays_within_its_memory_while_sqs_swallows_everything(
    faults: Harness, events: int, message_bytes: int
):
    """Small events cost the most beside their bytes; large ones fill the budget soonest.

    One tenant may hold half of the budget, so there are three.
    """
    budget = 96 * _MIB
    writers = [await faults.tenant() for _ in range(3)]
    api = await faults.start(
        "api", OCELOT_BODY_BUDGET_BYTES=str(budget), OCELOT_SQS_TIMEOUT_SEC="1.5"
    )
    faults.proxies["sqs"].blackhole()
    rng = random.Random(events)
    body = msgspec.json.encode(
        [
            {
                "action": "a",
                "actor": {"id": f"u{number}"},
                "message": rng.randbytes(message_bytes // 2).hex(),
            }
            for number in range(events)
        ]
    )
    stop = asyncio.Event()
    answers: Counter[str] = Counter()

    async def press(access: Access) -> None:
        headers = {**access.writer, "Content-Type": "application/json"}
        while not stop.is_set():
            answer = await http.post(f"{api.url}{BULK}", content=body, headers=headers)
            answers[f"{answer.status_code} {answer.json().get('code')}"] += 1

    growth = asyncio.create_task(growth_of(api.pid, stop))
    http = httpx.AsyncClient(timeout=60, trust_env=False, limits=httpx.Limits())
    pressing = [
        asyncio.create_task(press(access))
        for access in writers
        for _ in range(budget // len(body) + 1)
    ]
    await asyncio.sleep(20)
    stop.set()
    await asyncio.gather(*pressing)
    await http.aclose()
    faults.proxies["sqs"].cut()
    faults.note(
        f"SQS swallows {len(pressing)} clients' requests of {events:,} events, "
        f"{len(body) / _MIB:.1f} MiB: api grew by {await growth / _MIB:.0f} MiB at a budget of "
        f"{budget // _MIB} MiB; answers {dict(answers)}"
    )
    await api.stop()
    for access in writers:
        await faults.maker.provisioner.delete(access.tenant.id, owner="cli", now=True)
    assert await growth <= GROWTH_FACTOR * budget + GROWTH_BYTES
    assert set(answers) <= {"503 queue_unavailable", "503 overloaded", "503 tenant_share"}
