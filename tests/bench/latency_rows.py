"""From a POST to stored and to searchable, at half of what the whole pipeline sustains."""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Collection
from typing import Final

import httpx
from bson import Binary
from harness import Row
from load import event, request, run_load
from opensearchpy import AsyncOpenSearch

from ocelot_common import mongo, opensearch
from ocelot_common.ids import format_id, parse_id
from ocelot_common.mongo import events_of
from ocelot_devstack.provisioning import TenantMaker
from ocelot_devstack.queues import open_sqs
from ocelot_devstack.stack import Stack

Report = Callable[[str], None]

LINGER_SEC: Final = 0.005
REFRESH_SEC: Final = 1.0
#: Events of a request, in the rounds that find the rate and in the flow beside the probes.
BATCH: Final = 1_000
#: Rounds that find the pipeline's rate. All but the last warm OpenSearch's compiler up: its second
#: hundred thousand events take half the time of the first.
WARM_ROUNDS: Final = 6
WARM_EVENTS: Final = 50_000
PROBE_EVERY_SEC: Final = 0.1
LOOK_EVERY_SEC: Final = 0.01


class Arrivals:
    """Looks for awaited ids, all of them at a time, and notes how long each took to appear.

    Args:
        look: returns those of the ids that are there.
    """

    def __init__(self, look: Callable[[Collection[bytes]], Awaitable[Collection[bytes]]]) -> None:
        self._look = look
        self._awaited: dict[bytes, float] = {}
        self.seconds: list[float] = []

    def expect(self, event_id: bytes, since: float) -> None:
        """Await an id that was sent at `since`."""
        self._awaited[event_id] = since

    async def watch(self) -> None:
        """Look until cancelled."""
        while True:
            if self._awaited:
                found = await self._look(list(self._awaited))
                now = time.perf_counter()
                self.seconds += [now - self._awaited.pop(event_id) for event_id in found]
            await asyncio.sleep(LOOK_EVERY_SEC)

    async def all_arrived(self) -> None:
        """Return when nothing is awaited any more."""
        while self._awaited:
            await asyncio.sleep(LOOK_EVERY_SEC)


async def latency_rows(
    stack: Stack,
    maker: TenantMaker,
    *,
    seconds: float,
    events_per_sec: int | None,
    report: Report,
) -> list[Row]:
    """p99 of probes that are sent while other events flow at a steady rate.

    Args:
        events_per_sec: of the flow; None: half of what the pipeline has just sustained.
    """
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

    async def in_store(ids: Collection[bytes]) -> list[bytes]:
        keys = [Binary(event_id, 4) for event_id in ids]
        return [
            bytes(document["_id"])
            async for document in collection.find({"_id": {"$in": keys}}, {"_id": 1})
        ]

    async def in_index(ids: Collection[bytes]) -> list[bytes]:
        body = {
            "query": {"terms": {"id": [format_id(event_id) for event_id in ids]}},
            "size": len(ids),
            "_source": False,
            "docvalue_fields": ["id"],
        }
        answer = await search.search(index=space.alias, body=body)
        return [parse_id(hit["fields"]["id"][0]) for hit in answer["hits"]["hits"]]

    rate = await _sustained_rate(f"{api.url}/api/v1/logs/bulk", writer, search, space.alias, report)
    flow = events_per_sec or int(rate / 2)
    stored, searchable = Arrivals(in_store), Arrivals(in_index)
    watchers = [asyncio.create_task(arrivals.watch()) for arrivals in (stored, searchable)]

    async with httpx.AsyncClient(
        base_url=api.url, timeout=30, headers={"Authorization": f"Bearer {writer}"}
    ) as http:

        async def send_flow(until: float) -> None:
            number = 0
            due = time.perf_counter()
            while due < until:
                body = b"\n".join(event(number + each) for each in range(BATCH))
                number += BATCH
                answer = await http.post(
                    "/api/v1/logs/bulk",
                    content=body,
                    headers={"Content-Type": "application/x-ndjson"},
                )
                answer.raise_for_status()
                due += BATCH / flow
                await asyncio.sleep(max(0.0, due - time.perf_counter()))

        async def probe(number: int) -> None:
            began = time.perf_counter()
            answer = await http.post(
                "/api/v1/logs", content=event(number), headers={"Content-Type": "application/json"}
            )
            event_id = parse_id(answer.raise_for_status().json()["id"])
            stored.expect(event_id, began)
            searchable.expect(event_id, began)

        until = time.perf_counter() + seconds
        flowing = asyncio.create_task(send_flow(until))
        await asyncio.sleep(2)  # until the flow is steady
        probes = []
        while time.perf_counter() < until:
            probes.append(asyncio.create_task(probe(10_000_000 + len(probes))))
            await asyncio.sleep(PROBE_EVERY_SEC)
        await asyncio.gather(flowing, *probes)
        await stored.all_arrived()
        await searchable.all_arrived()
    for watcher in watchers:
        watcher.cancel()
    await asyncio.gather(*watchers, return_exceptions=True)
    trip = await _round_trip(stack)
    report(f"    {len(probes)} probes; SQS round trip {trip * 1000:.1f} ms")
    await stack.stop_services()
    await client.close()
    await search.close()
    load = f"{flow:,} events/s beside" + ("" if events_per_sec else f", half of {rate:,.0f}")
    limit = LINGER_SEC + trip
    return [
        _latency("POST to stored, p99", stored.seconds, limit, load),
        _latency("POST to searchable, p99", searchable.seconds, limit + REFRESH_SEC, load),
    ]


async def _sustained_rate(
    url: str, writer: str, search: AsyncOpenSearch, alias: str, report: Report
) -> float:
    """Events/s from the first byte until the last one is indexed, everything on all cores."""
    rate = 0.0
    for number in range(WARM_ROUNDS):
        first = number * WARM_EVENTS
        bodies = [
            b"\n".join(event(each) for each in range(start, start + BATCH))
            for start in range(first, first + WARM_EVENTS, BATCH)
        ]
        requests = [request(url, writer, body, "application/x-ndjson") for body in bodies]
        began = time.perf_counter()
        await run_load(url, requests, connections=4)
        while True:
            await search.indices.refresh(index=alias)
            if (await search.count(index=alias))["count"] >= first + WARM_EVENTS:
                break
            await asyncio.sleep(0.1)
        rate = WARM_EVENTS / (time.perf_counter() - began)
        report(f"whole pipeline, round {number + 1} of {WARM_ROUNDS}: {rate:,.0f} events/s")
    return rate


def _latency(name: str, values: list[float], limit: float, load: str) -> Row:
    p99 = statistics.quantiles(values, n=100)[98]
    note = (
        f"limit + {p99 - limit:.3f} s (at most 0.4 asked for); p50 {statistics.median(values):.3f};"
        f" {load}"
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
