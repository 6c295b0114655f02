"""Exports of a large tenant against a raw read of the same documents."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

import bson
from bson.raw_bson import RawBSONDocument
from harness import Row, cpu_sec, interleaved, pin_under_test
from load import event
from worker_rows import limit_process

from ocelot_common import mongo
from ocelot_common.event import accept_event
from ocelot_common.event_limits import EventLimits
from ocelot_common.ids import new_id
from ocelot_common.mongo import events_of
from ocelot_common.registry.model import Tenant
from ocelot_common.stored import build_document
from ocelot_common.timestamps import now_ms
from ocelot_devstack.provisioning import TenantMaker
from ocelot_devstack.stack import Stack

Report = Callable[[str], None]
BATCH = 4_000
_TAIL_BYTES = 2_000
_READ_BYTES = 1024 * 1024
#: NDJSON as it comes, what costs the api most a byte, and what it costs most an event.
VARIANTS = (
    ("export", "", "identity"),
    ("export, zstd", "", "zstd"),
    ("export, CSV", "&format=csv", "identity"),
)


async def export_rows(
    stack: Stack, maker: TenantMaker, *, events: int, rounds: int, report: Report
) -> AsyncIterator[Row]:
    """Yield the rows of documents in MongoDB to the last byte at a client."""
    tenant = await maker.create("export")
    collection = await _store(stack, maker, tenant, events, report)
    api = await stack.start_service("api")
    pin_under_test(api.pid)
    await api.wait_ready(30)
    token = maker.token(tenant, "admin")
    async with limit_process(stack, "limit_read.py") as limit:

        async def raw() -> float:
            return events / await limit.run(f"{collection} {tenant.uid}")

        await raw()  # from the disk into the cache

        def ocelot(name: str, query: str, encoding: str) -> Callable[[], Awaitable[float]]:
            async def run() -> float:
                used = cpu_sec(api.pid)
                began = time.perf_counter()
                tail = await _get(f"{api.url}/api/v1/logs/export?{query}", token, encoding)
                seconds = time.perf_counter() - began
                report(f"    core {(cpu_sec(api.pid) - used) / seconds:.0%} busy")
                if name == "export" and b'"complete":true,"events":%d,' % events not in tail:
                    raise SystemExit(f"not all of {events} events: {tail!r}")
                return events / seconds

            return run

        for name, query, encoding in VARIANTS:
            row = await interleaved(
                name,
                ocelot=ocelot(name, query, encoding),
                limit=raw,
                rounds=rounds,
                unit="events/s",
                least=None,
                report=report,
            )
            peak = _peak_mib(api.pid)
            yield row._replace(note=f"{events:,} events; the api's peak so far {peak:.0f} MiB")
    await stack.stop_services("api")


async def _store(
    stack: Stack, maker: TenantMaker, tenant: Tenant, events: int, report: Report
) -> str:
    """Put documents into the tenant's collection; its name."""
    space = await maker.store.space(tenant.space)
    assert space is not None
    client = mongo.connect(stack.mongodb_url, app_name="bench")
    database = client[stack.installation.mongodb_database]
    target = events_of(database, space.collection)
    now, limits = now_ms(), EventLimits()
    for start in range(0, events, BATCH):
        documents = [
            build_document(
                tenant,
                new_id(),
                accept_event(event(number), now_ms=now, limits=limits).text,
                received_at=now,
                writer="bench",
                with_attrs=False,
            )
            for number in range(start, min(start + BATCH, events))
        ]
        raw = [RawBSONDocument(bson.encode(document)) for document in documents]
        await target.insert_many(raw, ordered=False)
    await client.close()
    report(f"    {events:,} events stored")
    return space.collection


async def _get(url: str, token: str, encoding: str) -> bytes:
    """Read a whole answer; its last bytes."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=_READ_BYTES)
    writer.write(
        f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        f"Authorization: Bearer {token}\r\nAccept-Encoding: {encoding}\r\n"
        "Connection: close\r\n\r\n".encode()
    )
    tail = b""
    while chunk := await reader.read(_READ_BYTES):
        tail = (tail + chunk)[-_TAIL_BYTES:]
    writer.close()
    if not tail.endswith(b"0\r\n\r\n"):
        raise SystemExit(f"the export was cut: {tail!r}")
    return tail


def _peak_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024
