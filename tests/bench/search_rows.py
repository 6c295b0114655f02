"""Searches and statistics over a large tenant beside the same queries sent to OpenSearch alone."""

import asyncio
import itertools
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from urllib.parse import urlencode, urlsplit

import bson
import msgspec
from bson.raw_bson import RawBSONDocument
from foreign_logs import foreign_lines
from harness import Row, pin_under_test
from load import event
from starlette.datastructures import QueryParams

from ocelot_api.search.opensearch_backend import request_body
from ocelot_api.search.opensearch_stats import stats_body
from ocelot_api.search.parameters import query_of_parameters
from ocelot_api.search.stats import timeline_of
from ocelot_api.search.stats_parameters import stats_of_parameters
from ocelot_cli.mapping.catalog import load_mapping
from ocelot_common import mongo
from ocelot_common.batching import batched
from ocelot_common.event import accept_event
from ocelot_common.event_limits import EventError, EventLimits
from ocelot_common.ids import new_id
from ocelot_common.jobs.model import JobState
from ocelot_common.jobs.rebuild import request_rebuild_of_tenant
from ocelot_common.jobs.store import JobStore
from ocelot_common.mongo import events_of
from ocelot_common.registry.model import Home
from ocelot_common.stored import build_document
from ocelot_common.timestamps import format_rfc3339, now_ms, to_ms
from ocelot_devstack.provisioning import TenantMaker
from ocelot_devstack.stack import Stack

Report = Callable[[str], None]
Params = dict[str, str]

BATCH = 4_000
DAYS = 28
REQUESTS = 100
#: Of the deep pages: so many events lie before them, a thousand pages of a hundred.
DEEP = 100_000
SEARCH_P95_MS = 100
STATS_TYPED_P95_MS = 250
STATS_METADATA_P95_MS = 2_000


class Http:
    """One connection that is kept, and costs the core little."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self._parts = urlsplit(url)
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in headers.items())

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(
            self._parts.hostname, self._parts.port, limit=16 * 1024 * 1024
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def ask(self, method: str, target: str, body: bytes = b"") -> bytes:
        """One request that is answered with 200; the body of the answer."""
        self._writer.write(
            f"{method} {target} HTTP/1.1\r\nHost: {self._parts.netloc}\r\n{self._headers}"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        answer = await self._reader.readexactly(length)
        if not head.startswith(b"http/1.1 200"):
            raise SystemExit(f"{target}: {head!r} {answer[:500]!r}")
        return answer


def texts() -> Iterator[bytes]:
    """Event texts without a time: one of the generator, one mapped, in turn, for ever."""
    limits, now = EventLimits(), now_ms()
    mapped: list[bytes] = []
    for name, lines in foreign_lines():
        mapping = load_mapping(name)
        for line in lines:
            made = mapping.apply(msgspec.json.decode(line))
            made.pop("occurred_at", None)
            encoded = msgspec.json.encode(made)
            with suppress(EventError):
                mapped.append(accept_event(encoded, now_ms=now, limits=limits).text)
    for number, text in zip(itertools.count(), itertools.cycle(mapped), strict=False):
        made = accept_event(event(number), now_ms=now, limits=limits).text
        before, _, after = made.partition(b'"occurred_at":"')
        yield before + after.partition(b'",')[2]
        yield text


async def store(
    stack: Stack, home: Home, events: int, report: Report, *, over: timedelta = timedelta(days=DAYS)
) -> None:
    """Put documents into the tenant's collection as if they had arrived until now."""
    client = mongo.connect(stack.mongodb_url, app_name="bench")
    database = client[stack.installation.mongodb_database]
    target = events_of(database, home.space.collection)
    now = now_ms()
    step = over / timedelta(milliseconds=1) / events
    began = time.perf_counter()
    numbered = enumerate(itertools.islice(texts(), events))
    for part in batched(numbered, BATCH):
        documents = []
        for number, text in part:
            moment_ms = int(now - step * number)
            moment = format_rfc3339(moment_ms).encode()
            document = build_document(
                home.tenant,
                new_id(),
                b'{"occurred_at":"' + moment + b'",' + text[1:],
                received_at=moment_ms,
                writer="bench",
                with_attrs=False,
            )
            documents.append(RawBSONDocument(bson.encode(document)))
        await target.insert_many(documents, ordered=False)
    await client.close()
    report(f"    {events:,} events stored, {events / (time.perf_counter() - began):,.0f}/s")


async def rebuild(stack: Stack, home: Home, report: Report) -> float:
    """Have the jobs fill the tenant's index; events a second, comparing included."""
    client = mongo.connect(stack.mongodb_url, app_name="bench")
    jobs = JobStore(client[stack.installation.mongodb_database])
    process = await stack.start_service("jobs", extra_env={"OCELOT_REBUILD_PROPAGATION_SEC": "0"})
    pin_under_test(process.pid)
    await process.wait_ready(30)
    began = time.perf_counter()
    job = await request_rebuild_of_tenant(jobs, home, created_by="bench")
    while job.live:
        await asyncio.sleep(0.1)
        job = await jobs.get(job.id) or job
    seconds = time.perf_counter() - began
    if job.state is not JobState.SUCCEEDED or job.progress["refused"]:
        raise SystemExit(f"the rebuild ended so: {job}")
    await stack.stop_services("jobs")
    await client.close()
    report(f"    {job.progress['total']:,} events copied and compared in {seconds:,.1f} s")
    return job.progress["total"] / seconds


class Question:
    """One kind of request, the n-th a little different: no cache answers it."""

    def __init__(
        self, name: str, path: str, params: Callable[[int], Params], *, least_ms: float
    ) -> None:
        self.name = name
        self.path = path
        self.params = params
        self.least_ms = least_ms


def span(number: int) -> Params:
    """Bounds of time, others for each request: no shard answers one from its cache."""
    newest, shift = datetime.now(UTC) - timedelta(hours=1), timedelta(seconds=number % 5_000)
    bounds = {"from": newest - timedelta(days=DAYS - 1) - shift, "to": newest - shift}
    return {name: format_rfc3339(to_ms(moment)) for name, moment in bounds.items()}


QUESTIONS = (
    Question(
        "search, filters",
        "/api/v1/logs",
        lambda n: {
            "action": "document.*",
            "source.ip": f"192.0.2.{n % 250}",
            "metadata.plan": "pro",
            **span(n),
        },
        least_ms=SEARCH_P95_MS,
    ),
    Question(
        "search, full text",
        "/api/v1/logs",
        lambda n: {"q": '"title of the report" jane', **span(n)},
        least_ms=SEARCH_P95_MS,
    ),
    Question(
        "search, real events",
        "/api/v1/logs",
        lambda n: {"q": "logon -anonymous", "action": "windows.*", **span(n)},
        least_ms=SEARCH_P95_MS,
    ),
    Question(
        "stats, typed fields",
        "/api/v1/logs/stats",
        lambda n: {"interval": "1d", "group_by": "action", **span(n)},
        least_ms=STATS_TYPED_P95_MS,
    ),
    Question(
        "stats, metadata",
        "/api/v1/logs/stats",
        lambda n: {"interval": "1d", "group_by": "metadata.plan", **span(n)},
        least_ms=STATS_METADATA_P95_MS,
    ),
)


async def search_rows(
    stack: Stack, maker: TenantMaker, *, events: int, rounds: int, report: Report
) -> AsyncIterator[Row]:
    """Yield p95 of searches and statistics, one after the other on one connection."""
    assert stack.opensearch_url is not None
    tenant = await maker.create("large")
    space = await maker.store.space(tenant.space)
    assert space is not None
    await store(stack, Home(tenant, space), events, report)
    rate = await rebuild(stack, Home(tenant, space), report)
    space = await maker.store.space(tenant.space)
    assert space is not None
    home = Home(tenant, space)
    api = await stack.start_service("api")
    pin_under_test(api.pid)
    await api.wait_ready(30)
    bearer = {"Authorization": f"Bearer {maker.token(tenant, 'admin')}"}
    typed = {"Content-Type": "application/json"}
    async with Http(api.url, bearer) as ours, Http(stack.opensearch_url, typed) as raw:
        await until_merged(raw, report)
        cursor = await deep_cursor(ours, report)
        deep = Question(
            "search, 1,000th page",
            "/api/v1/logs",
            lambda _: {"action": "document.*", "limit": "100", "cursor": cursor},
            least_ms=SEARCH_P95_MS,
        )
        note = f"{events:,} events in the tenant; its index was rebuilt at {rate:,.0f} events/s"
        for question in (*QUESTIONS, deep):
            measured = await row(question, home, ours, raw, rounds=rounds, report=report)
            yield measured._replace(note=note) if question is QUESTIONS[0] else measured
    await stack.stop_services("api")


async def until_merged(raw: Http, report: Report) -> None:
    """Wait until OpenSearch has done what the rebuild left behind."""
    began = time.perf_counter()
    while True:
        answer = msgspec.json.decode(await raw.ask("GET", "/_stats/merge"))
        if not answer["_all"]["total"]["merges"]["current"]:
            break
        await asyncio.sleep(0.5)
    report(f"    merges ended after {time.perf_counter() - began:,.1f} s more")


async def deep_cursor(ours: Http, report: Report) -> str:
    """The cursor behind a hundred thousand events."""
    params = {"action": "document.*", "limit": "1000", "fields": "action"}
    for _ in range(DEEP // 1000):
        answer = msgspec.json.decode(await ours.ask("GET", f"/api/v1/logs?{urlencode(params)}"))
        params["cursor"] = answer["next_cursor"]
    report(f"    walked {DEEP:,} events deep")
    return params["cursor"]


async def row(
    question: Question, home: Home, ours: Http, raw: Http, *, rounds: int, report: Report
) -> Row:
    """One question, asked both ways in turn."""
    ranges = ",".join(entry.index for entry in home.space.indices)
    target = f"/{ranges}/_search?allow_partial_search_results=false"
    numbers = itertools.count()

    async def ask_ours() -> float:
        query = urlencode(question.params(next(numbers)))
        return await timed(lambda: ours.ask("GET", f"{question.path}?{query}"))

    async def ask_raw() -> float:
        body = msgspec.json.encode(await body_of(question, next(numbers), home))
        return await timed(lambda: raw.ask("POST", target, body))

    for ask in (ask_raw, ask_ours):
        for _ in range(REQUESTS):
            await ask()
    ratios, values, limits = [], [], []
    for number in range(rounds):
        bound = p95([await ask_raw() for _ in range(REQUESTS)])
        value = p95([await ask_ours() for _ in range(REQUESTS)])
        report(
            f"{question.name}, round {number + 1} of {rounds}: p95 {value:.1f} ms, raw"
            f" {bound:.1f} ms = {bound / value:.2f}"
        )
        values.append(value)
        limits.append(bound)
        ratios.append(bound / value)
    least = 0.8 if question.path.endswith("/logs") else None
    return Row(
        question.name,
        statistics.median(values),
        "ms, p95",
        statistics.median(limits),
        statistics.median(ratios),
        least,
        f"asked: at most {question.least_ms:g} ms",
    )


async def body_of(question: Question, number: int, home: Home) -> dict[str, Any]:
    """What Ocelot asks of OpenSearch for a question."""
    given = QueryParams(question.params(number))
    if question.path.endswith("/stats"):
        stats = stats_of_parameters(given, home)

        async def extent() -> tuple[int, int]:
            now = now_ms()
            return now - DAYS * 24 * 3600 * 1000, now

        return stats_body(stats, await timeline_of(stats, extent))
    return request_body(query_of_parameters(given, home))


async def timed(work: Callable[[], Awaitable[bytes]]) -> float:
    """Milliseconds."""
    began = time.perf_counter()
    await work()
    return (time.perf_counter() - began) * 1000


def p95(values: list[float]) -> float:
    """Of a hundred, the ninety-fifth."""
    return statistics.quantiles(values, n=20)[-1]
