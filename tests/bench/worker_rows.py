"""Consumer and indexer against raw inserts and raw `_bulk` requests."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from harness import Row, cpu_sec, interleaved, pin_under_test
from load import event
from opensearchpy import AsyncOpenSearch
from search_rows import rebuild, store

from ocelot_common import mongo, opensearch
from ocelot_common.batching import batched
from ocelot_common.envelope import Envelope, PackedEvent, Segment, pack
from ocelot_common.event import accept_event
from ocelot_common.event_limits import EventLimits
from ocelot_common.ids import new_id
from ocelot_common.index_message import pack_index_messages
from ocelot_common.provisioning.collections import ensure_collection
from ocelot_common.queue.depth import read_depth
from ocelot_common.queue.keys import KeyFile
from ocelot_common.queue.receiver import WAIT_SEC
from ocelot_common.queue.sending import Outgoing, send_all
from ocelot_common.registry.model import Home, IndexRange, Space, Tenant
from ocelot_common.search_document import index_body
from ocelot_common.signed_text import QueueKey
from ocelot_common.timestamps import now_ms
from ocelot_devstack.provisioning import TenantMaker
from ocelot_devstack.queues import open_sqs
from ocelot_devstack.services import ServiceProcess
from ocelot_devstack.stack import Stack

Report = Callable[[str], None]
#: Fills 128 KiB of envelope; see `ocelot_api.ingest.coalescer`.
EVENTS_PER_ENVELOPE = 1_250
IDS_PER_MESSAGE = 2_000


class LimitProcess:
    """A limit's program, pinned to the core under test, driven over its pipes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def run(self, line: str) -> float:
        """One run; the seconds that it took."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{line}\n".encode())
        return float(await self._process.stdout.readline())


@asynccontextmanager
async def limit_process(stack: Stack, program: str, *arguments: str) -> AsyncIterator[LimitProcess]:
    """Start a limit's program and wait until it has built what it sends."""
    process = await asyncio.create_subprocess_exec(
        "taskset",
        "-c",
        "0",
        sys.executable,
        str(Path(__file__).with_name(program)),
        *arguments,
        env={**os.environ, **stack.env("consumer", port=1)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        if (await process.stdout.readline()).strip() != b"ready":
            raise SystemExit(f"{program} did not start")
        yield LimitProcess(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def fill(stack: Stack, queue: str, bodies: list[str]) -> None:
    async with open_sqs(stack.sqs_endpoint_url, stack.settings.aws_env()) as sqs:
        await send_all(sqs, queue, [Outgoing(body, "bench") for body in bodies])


async def drained(stack: Stack, queue: str) -> float:
    """Wait until a queue is empty; the time on the performance counter.

    Asked rarely: SQS answers on the core that MongoDB needs, and the limit does not ask.
    """
    async with open_sqs(stack.sqs_endpoint_url, stack.settings.aws_env()) as sqs:
        while (await read_depth(sqs, queue)).total:
            await asyncio.sleep(0.1)
        return time.perf_counter()


async def pause_without_polls(worker: ServiceProcess) -> None:
    """Pause a worker whose queue somebody else is to empty.

    Its long polls outlive it at the server: they would take messages and keep them for a minute.
    """
    worker.pause()
    await asyncio.sleep(WAIT_SEC + 1)


async def timed_worker(
    stack: Stack,
    worker: ServiceProcess,
    queue: str,
    bodies: list[str],
    number: int,
    report: Report,
) -> float:
    """Events a second of a worker, paused while its queue fills, to the last delete."""
    worker.pause()
    await fill(stack, queue, bodies)
    used = cpu_sec(worker.pid)
    began = time.perf_counter()
    worker.resume()
    seconds = await drained(stack, queue) - began
    report(f"    core {(cpu_sec(worker.pid) - used) / seconds:.0%} busy")
    return number / seconds


def signing_key(stack: Stack) -> QueueKey:
    """The key with which the installation signs."""
    return KeyFile(stack.installation.queue_keys_file).keys[0]


def envelopes(uid: str, number: int, key: QueueKey) -> list[str]:
    """Envelopes of so many events, as the api makes them."""
    now = now_ms()
    packed = (
        PackedEvent(new_id(), accept_event(event(n), now_ms=now, limits=EventLimits()).text)
        for n in range(number)
    )
    return [
        pack(Envelope(uid, [Segment("bench", now, "", "", list(part))]), key, sent_at=now)
        for part in batched(packed, EVENTS_PER_ENVELOPE)
    ]


async def consumer_row(
    stack: Stack, maker: TenantMaker, *, events: int, rounds: int, state: Path, report: Report
) -> Row:
    """Envelopes in the queue to documents in MongoDB."""
    tenant = await maker.create("bench")
    space = await maker.store.space(tenant.space)
    assert space is not None
    client = mongo.connect(stack.mongodb_url, app_name="bench")
    database = client[stack.installation.mongodb_database]
    bodies = envelopes(tenant.uid, events, signing_key(stack))
    file = state / "envelopes"
    file.write_text("\n".join(bodies))
    worker = await stack.start_service("consumer", extra_env={"SQS_INDEX_QUEUE_URL": ""})
    pin_under_test(worker.pid)
    await worker.wait_ready(30)

    async def fresh(target: Space) -> None:
        await database.drop_collection(target.collection)
        await ensure_collection(database, target)

    async with limit_process(stack, "limit_store.py", tenant.uid, str(file)) as limit:

        async def raw() -> float:
            best = 0.0
            await pause_without_polls(worker)
            for in_flight in (1, 2, 4):
                target = _replaced(space, f"limit_{in_flight}")
                await fresh(target)
                await fill(stack, stack.queues.ingest, bodies)
                best = max(best, events / await limit.run(f"{target.collection} {in_flight}"))
            worker.resume()
            return best

        async def ocelot() -> float:
            await fresh(space)
            rate = await timed_worker(stack, worker, stack.queues.ingest, bodies, events, report)
            counted = await database[space.collection].count_documents({})
            if counted != events:
                raise SystemExit(f"{counted} of {events} events are stored")
            return rate

        row = await interleaved(
            "consumer",
            ocelot=ocelot,
            limit=raw,
            rounds=rounds,
            unit="events/s",
            least=0.60,
            report=report,
        )
    await stack.stop_services("consumer")
    await client.close()
    return row


def _replaced(space: Space, collection: str) -> Space:
    import msgspec  # noqa: PLC0415

    return msgspec.structs.replace(space, collection=collection)


class Indexing:
    """A tenant whose events are stored, and the ways to get them into the index.

    Args:
        stack: of the run.
        space: of the tenant.
        entry: the range that holds its events.
        ids: of its events.
        bodies: index messages of all ids.
        search: a client.
        report: gets lines for people.
    """

    def __init__(
        self,
        stack: Stack,
        space: Space,
        entry: IndexRange,
        ids: list[bytes],
        bodies: list[str],
        search: AsyncOpenSearch,
        report: Report,
    ) -> None:
        self.stack = stack
        self.space = space
        self.entry = entry
        self.ids = ids
        self.bodies = bodies
        self.search = search
        self._report = report

    async def measured(self, work: Callable[[], Awaitable[float]]) -> float:
        """The rate of what fills the index, once it is whole."""
        await self._make_anew()
        rate = await work()
        await self._check_whole()
        return rate

    async def by_indexer(self, worker: ServiceProcess) -> float:
        """From the queue, to the last delete."""
        return await self.measured(lambda: self._timed(worker))

    async def searchable_by_indexer(self, worker: ServiceProcess) -> float:
        """From the queue, until a search finds the last."""
        await self._make_anew()
        rate = await self._timed(worker)
        began = time.perf_counter()
        await self._check_whole()
        return len(self.ids) / (len(self.ids) / rate + time.perf_counter() - began)

    async def _timed(self, worker: ServiceProcess) -> float:
        queue, number = self.stack.queues.index, len(self.ids)
        return await timed_worker(self.stack, worker, queue, self.bodies, number, self._report)

    async def _make_anew(self) -> None:
        await self.search.indices.delete(index=self.entry.index)
        aliases = [self.entry.alias, self.space.alias, *self.entry.write_aliases]
        body = index_body(space_key=self.space.key, shards=1, replicas=0, aliases=aliases)
        await self.search.indices.create(index=self.entry.index, body=body)

    async def _check_whole(self) -> None:
        await self.search.indices.refresh(index=self.entry.index)
        counted = (await self.search.count(index=self.entry.index))["count"]
        if counted != len(self.ids):
            raise SystemExit(f"{counted} of {len(self.ids)} events are indexed")


@asynccontextmanager
async def indexing(
    stack: Stack, maker: TenantMaker, tenant: Tenant, report: Report
) -> AsyncIterator[Indexing]:
    """A tenant whose events are stored already."""
    assert stack.opensearch_url is not None
    space = await maker.store.space(tenant.space)
    assert space is not None
    entry = space.range_at(datetime.now(UTC))
    assert entry is not None
    client = mongo.connect(stack.mongodb_url, app_name="bench")
    collection = client[stack.installation.mongodb_database][space.collection]
    ids = [bytes(document["_id"]) async for document in collection.find({}, {"_id": 1})]
    await client.close()
    bodies = [
        body
        for part in batched(ids, IDS_PER_MESSAGE)
        for body in pack_index_messages(tenant.uid, part, signing_key(stack), sent_at=now_ms())
    ]
    search = opensearch.connect(stack.opensearch_url)
    yield Indexing(stack, space, entry, ids, bodies, search, report)
    await search.close()


async def indexer_row(
    stack: Stack, maker: TenantMaker, tenant: Tenant, *, rounds: int, report: Report
) -> Row:
    """Ids in the queue to documents in OpenSearch."""
    worker = await stack.start_service("indexer")
    pin_under_test(worker.pid)
    await worker.wait_ready(30)
    async with (
        indexing(stack, maker, tenant, report) as place,
        limit_process(stack, "limit_index.py", tenant.uid, place.entry.write_aliases[0]) as limit,
    ):

        async def raw() -> float:
            await pause_without_polls(worker)
            rate = await place.measured(lambda: _rate(limit, len(place.ids)))
            worker.resume()
            return rate

        report("    warming OpenSearch up")
        for _ in range(2):
            await raw()
        row = await interleaved(
            "indexer",
            ocelot=lambda: place.by_indexer(worker),
            limit=raw,
            rounds=rounds,
            unit="events/s",
            least=0.75,
            report=report,
        )
    await stack.stop_services("indexer")
    return row


async def rebuild_row(
    stack: Stack, maker: TenantMaker, *, events: int, rounds: int, report: Report
) -> Row:
    """A rebuild, comparing included, beside the indexer with the same events."""
    tenant = await maker.create("rebuilt")
    space = await maker.store.space(tenant.space)
    assert space is not None
    await store(stack, Home(tenant, space), events, report, over=timedelta(hours=1))
    worker = await stack.start_service("indexer")
    pin_under_test(worker.pid)
    await worker.wait_ready(30)

    async def by_job() -> float:
        await pause_without_polls(worker)
        space = await maker.store.space(tenant.space)
        assert space is not None
        rate = await rebuild(stack, Home(tenant, space), report)
        worker.resume()
        return rate

    async def by_indexer() -> float:
        async with indexing(stack, maker, tenant, report) as place:
            return await place.searchable_by_indexer(worker)

    row = await interleaved(
        "rebuild",
        ocelot=by_job,
        limit=by_indexer,
        rounds=rounds,
        unit="events/s",
        least=0.8,
        note=f"{events:,} events, half of them real ones; the limit is the indexer with the same",
        report=report,
    )
    await stack.stop_services("indexer")
    return row


async def _rate(limit: LimitProcess, number: int) -> float:
    return number / await limit.run("go")
