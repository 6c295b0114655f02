"""From a POST to stored and to searchable, at half load."""

import asyncio
import statistics
import time
from collections.abc import Callable

import httpx
from bson import Binary
from harness import Row
from load import event, request, run_load

from ocelot_common import mongo, opensearch
from ocelot_common.ids import parse_id
from ocelot_common.mongo import events_of
from ocelot_devstack.provisioning import TenantMaker
from ocelot_devstack.queues import open_sqs
from ocelot_devstack.stack import Stack

LINGER_SEC = 0.005
REFRESH_SEC = 1.0
BATCH = 100


async def latency_rows(
    stack: Stack,
    maker: TenantMaker,
    *,
    seconds: float,
    events_per_sec: int,
    report: Callable[[str], None],
) -> list[Row]:
    """p99 of probes that are sent while other events flow at a steady rate."""
    assert stack.opensearch_url is not None
    tenant = await maker.create("latency")
    space = await maker.store.space(tenant.space)
    assert space is not None
    writer = maker.token(tenant, "writer")
    for name in ("api", "consumer", "indexer"):
        service = await stack.start_service(name)
        await service.wait_ready(30)
    api = next(service for service in stack.services if service.spec.name == "api")
    client = mongo.connect(stack.mongodb_url, app_name="bench")
    collection = events_of(client[stack.installation.mongodb_database], space.collection)
    search = opensearch.connect(stack.opensearch_url)
    headers = {"Authorization": f"Bearer {writer}"}
    stored: list[float] = []
    searchable: list[float] = []

    async def flow(until: float) -> None:
        number = 0
        while time.perf_counter() < until:
            began = time.perf_counter()
            body = b"\n".join(event(number + each) for each in range(BATCH))
            number += BATCH
            await run_load(
                f"{api.url}/api/v1/logs/bulk",
                [request(f"{api.url}/api/v1/logs/bulk", writer, body, "application/x-ndjson")],
                connections=1,
            )
            pause = BATCH / events_per_sec - (time.perf_counter() - began)
            await asyncio.sleep(max(0.0, pause))

    async def probe(http: httpx.AsyncClient, number: int) -> None:
        began = time.perf_counter()
        answer = await http.post(
            f"{api.url}/api/v1/logs",
            content=event(number),
            headers={**headers, "Content-Type": "application/json"},
        )
        event_id = answer.json()["id"]
        key = Binary(parse_id(event_id), 4)
        while await collection.find_one({"_id": key}, {"_id": 1}) is None:
            await asyncio.sleep(0.005)
        stored.append(time.perf_counter() - began)
        query = {"query": {"term": {"id": event_id}}, "size": 0}
        while (await search.search(index=space.alias, body=query))["hits"]["total"]["value"] == 0:
            await asyncio.sleep(0.02)
        searchable.append(time.perf_counter() - began)

    async with httpx.AsyncClient(timeout=30) as http:
        for number in range(5):
            await probe(http, number)  # the first ones make connections and caches
        stored.clear()
        searchable.clear()
        until = time.perf_counter() + seconds
        flowing = asyncio.create_task(flow(until))
        probes = []
        number = 10_000_000
        while time.perf_counter() < until:
            probes.append(asyncio.create_task(probe(http, number)))
            number += 1
            await asyncio.sleep(0.2)
        await asyncio.gather(flowing, *probes)
    trip = await _round_trip(stack)
    report(f"    {len(stored)} probes at {events_per_sec:,} events/s; SQS round trip {trip:.3f} s")
    await stack.stop_services()
    await client.close()
    await search.close()
    return [
        _latency("POST to stored, p99", stored, LINGER_SEC + trip),
        _latency("POST to searchable, p99", searchable, LINGER_SEC + trip + REFRESH_SEC),
    ]


def _latency(name: str, values: list[float], limit: float) -> Row:
    p99 = statistics.quantiles(values, n=100)[98]
    note = (
        f"limit + {p99 - limit:.3f} s (at most 0.4 asked for); p50 {statistics.median(values):.3f}"
    )
    return Row(name, p99, "s", limit, p99 / limit, None, note)


async def _round_trip(stack: Stack) -> float:
    times = []
    async with open_sqs(stack.sqs_endpoint_url, stack.settings.aws_env()) as sqs:
        for _ in range(30):
            began = time.perf_counter()
            await sqs.send_message(
                QueueUrl=stack.queues.ingest_dlq, MessageBody="x" * 1_000, MessageGroupId="b"
            )
            times.append(time.perf_counter() - began)
        await sqs.purge_queue(QueueUrl=stack.queues.ingest_dlq)
    return statistics.median(times)
