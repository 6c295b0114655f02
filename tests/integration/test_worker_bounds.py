"""Replicas share a backlog, and a worker's memory is bounded whatever a writer sends."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import pytest_asyncio

from ocelot_common import mongo, opensearch
from ocelot_common.envelope import Envelope, PackedEvent, Segment
from ocelot_common.ids import new_id
from ocelot_common.jobs.model import JobKind, JobState
from ocelot_common.jobs.rebuild import request_rebuild_of_tenant
from ocelot_common.jobs.store import JobStore
from ocelot_common.mongo import events_of
from ocelot_common.queue.depth import read_depth
from ocelot_common.queue.receiver import WAIT_SEC
from ocelot_common.queue.sending import Outgoing, send_all
from ocelot_common.registry.model import Home, Tenant
from ocelot_common.timestamps import now_ms
from ocelot_devstack.backends import Backends
from ocelot_devstack.provisioning import open_tenant_maker
from ocelot_devstack.pytest_plugin import SERVICE_ENV, dev_settings
from ocelot_devstack.queues import open_sqs
from ocelot_devstack.stack import Stack
from queuekit.signing import ingest_text, key_of

pytestmark = [pytest.mark.mongodb, pytest.mark.sqs, pytest.mark.opensearch]

MIB = 1024 * 1024
#: Of a worker (docs/operations/guarantees.md).
MAX_MEMORY_BYTES = 400 * MIB
#: The largest event that the api takes by default.
EVENT_BYTES = 64 * 1024
#: As many as the indexer and a rebuild read together, if only their number is bounded.
LARGE_EVENTS = 128 * MIB // EVENT_BYTES
#: Work of a few seconds for one consumer.
BACKLOG = 60_000


class Place(NamedTuple):
    """An installation of its own that has one tenant and runs no service yet."""

    stack: Stack
    tenant: Tenant
    home: Home
    sqs: Any
    database: Any
    search: Any

    async def send(self, texts: Sequence[bytes], *, per_message: int) -> None:
        """Send events as the api does, so many per message."""
        key = key_of(self.stack)
        events = [PackedEvent(new_id(), text) for text in texts]
        parts = [events[at : at + per_message] for at in range(0, len(events), per_message)]
        bodies = [
            ingest_text(Envelope(self.tenant.uid, [Segment("w", now_ms(), "r", "", part)]), key)
            for part in parts
        ]
        outgoing = [Outgoing(body, self.tenant.uid) for body in bodies]
        await send_all(self.sqs, self.stack.queues.ingest, outgoing)

    async def until_stored(self, number: int) -> None:
        """Wait until the tenant has so many events."""
        collection = events_of(self.database, self.home.space.collection)

        async def there() -> bool:
            return await collection.count_documents({}) == number

        await eventually(there, f"{number} stored events")

    async def until_indexed(self, number: int) -> None:
        """Wait until the tenant's index has so many events."""

        async def there() -> bool:
            await self.search.indices.refresh(index=self.home.space.alias)
            counted = await self.search.count(index=self.home.space.alias)
            return bool(counted["count"] == number)

        await eventually(there, f"{number} indexed events")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def place(
    backends: Backends, opensearch_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Place]:
    settings = dev_settings(tmp_path_factory.mktemp("bounds"))
    async with AsyncExitStack() as cleanup:
        stack = Stack(
            settings, backends=backends, name="bounds", env=SERVICE_ENV, report=lambda _: None
        )
        await cleanup.enter_async_context(stack)
        cleanup.push_async_callback(stack.remove)
        cleanup.push_async_callback(stack.stop_services)
        maker = await cleanup.enter_async_context(open_tenant_maker(stack.installation))
        tenant = await maker.create("bounds")
        space = await maker.store.space(tenant.space)
        assert space is not None
        sqs = await cleanup.enter_async_context(
            open_sqs(stack.sqs_endpoint_url, settings.aws_env())
        )
        client = mongo.connect(stack.mongodb_url, app_name="tests")
        cleanup.push_async_callback(client.close)
        search = opensearch.connect(opensearch_url)
        cleanup.push_async_callback(search.close)
        database = client[stack.installation.mongodb_database]
        yield Place(stack, tenant, Home(tenant, space), sqs, database, search)


async def eventually(probe: Any, what: str, *, timeout_sec: float = 300) -> None:
    try:
        async with asyncio.timeout(timeout_sec):
            while not await probe():  # noqa: ASYNC110 - backends tell nobody
                await asyncio.sleep(0.1)
    except TimeoutError:
        pytest.fail(f"{what}: not within {timeout_sec:g} s")


async def stored_by(consumer: Any) -> int:
    """How many events a consumer has stored, as its metrics say."""
    async with httpx.AsyncClient(timeout=60) as http:
        metrics = (await http.get(f"{consumer.probes_url}/metrics")).text
    name = 'ocelot_consumer_events_total{outcome="stored"}'
    found = [line.split()[1] for line in metrics.splitlines() if line.startswith(name)]
    return int(float(found[0])) if found else 0


def peak_bytes(pid: int) -> int:
    """The most memory that a process ever had."""
    [line] = [
        line
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("VmHWM:")
    ]
    return int(line.split()[1]) * 1024


async def until_taken(place: Place) -> None:
    """Wait until a consumer has received something."""

    async def taken() -> bool:
        return (await read_depth(place.sqs, place.stack.queues.ingest)).in_flight > 0

    await eventually(taken, "received messages")


@pytest.mark.parametrize(
    ("later", "least"), [(False, 0.35), (True, 0.25)], ids=["together", "one a little later"]
)
async def test_two_consumers_share_a_backlog(place: Place, *, later: bool, least: float):
    consumers = [await place.stack.start_service("consumer") for _ in range(2)]
    try:
        for consumer in consumers:
            await consumer.wait_ready(180)
            consumer.pause()
        await asyncio.sleep(WAIT_SEC + 1)  # their receives outlive them at SQS for so long
        texts = [
            b'{"action":"doc.read","actor":{"id":"u%d"}}' % number for number in range(BACKLOG)
        ]
        await place.send(texts, per_message=600)
        consumers[0].resume()
        if later:
            await until_taken(place)
        consumers[1].resume()
        await place.until_stored(BACKLOG)

        async def counted() -> bool:
            return sum([await stored_by(consumer) for consumer in consumers]) == BACKLOG

        await eventually(counted, "counted events")
        shares = [await stored_by(consumer) / BACKLOG for consumer in consumers]
        print("shares:", *(f"{share:.0%}" for share in shares))  # noqa: T201 - a measurement
        assert min(shares) >= least, shares
    finally:
        await place.stack.stop_services("consumer")
        collection = events_of(place.database, place.home.space.collection)
        await collection.delete_many({})
        await place.sqs.purge_queue(QueueUrl=place.stack.queues.index)


def large_texts() -> list[bytes]:
    """128 MiB of the largest events, which compress 1,000:1; every second one has an emoji, which
    makes Python hold its text in four times its bytes."""
    texts = []
    for number in range(LARGE_EVENTS):
        head = f'{{"action":"large","actor":{{"id":"u{number}"}},"metadata":{{"blob":"'
        filler = ("🦊" if number % 2 else "xxxx") + "x" * (EVENT_BYTES - len(head) - 64)
        texts.append((head + filler + '"}}').encode())
    return texts


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def peaks(place: Place) -> dict[str, int]:
    """The most memory of each worker after it handled the largest events, by service."""
    found = {}
    await place.send(large_texts(), per_message=100)
    consumer = await place.stack.start_service("consumer")
    await place.until_stored(LARGE_EVENTS)
    found["consumer"] = peak_bytes(consumer.pid)
    indexer = await place.stack.start_service("indexer")
    await place.until_indexed(LARGE_EVENTS)
    found["indexer"] = peak_bytes(indexer.pid)
    worker = await place.stack.start_service("jobs")
    jobs = JobStore(place.database)
    job = await request_rebuild_of_tenant(jobs, place.home, created_by="test")

    async def done() -> bool:
        [state] = [
            each.state
            for each in await jobs.find(kinds=[JobKind.REBUILD], states=list(JobState))
            if each.id == job.id
        ]
        assert state not in (JobState.FAILED, JobState.CANCELLED), "the rebuild failed"
        return state is JobState.SUCCEEDED

    await eventually(done, "the rebuild")
    found["jobs"] = peak_bytes(worker.pid)
    print(*(f"{name}: {peak / MIB:.0f} MiB" for name, peak in found.items()))  # noqa: T201
    return found


@pytest.mark.parametrize("service", ["consumer", "indexer", "jobs"])
def test_a_worker_stays_within_its_memory_on_large_events_that_compress_well(
    peaks: dict[str, int], service: str
):
    assert peaks[service] < MAX_MEMORY_BYTES
