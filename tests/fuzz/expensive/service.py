"""The api in this process: its real edge, middleware, routes, parsers and packing.

SQS gets its messages from the real client, which serialises and signs each call, parses the answer
and sends nothing. The other backends find nothing.
"""

import asyncio
import json
import socket
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import bson
from aiobotocore.awsrequest import AioAWSResponse
from fastapi import FastAPI
from prometheus_client import CollectorRegistry, Gauge

from expensive.edge import exchange, request_bytes
from ocelot_api.app import _answer_problem
from ocelot_api.authentication import Principal
from ocelot_api.budget import FairPool, Refusal
from ocelot_api.http.bounds import EdgeBounds
from ocelot_api.http.connections import Connections
from ocelot_api.http.metrics import EdgeMetrics
from ocelot_api.ingest.coalescer import Coalescer
from ocelot_api.ingest.endpoints import Ingest
from ocelot_api.jobs.endpoints import Jobs
from ocelot_api.json_bodies import JsonBodies
from ocelot_api.metrics import ApiMetrics
from ocelot_api.middleware import FastRoutes, RequestMiddleware
from ocelot_api.problems import Problem
from ocelot_api.search.endpoints import Reading
from ocelot_api.search.mongo_query import selection_of
from ocelot_api.search.opensearch_backend import request_body
from ocelot_api.search.opensearch_query import tenant_clause
from ocelot_api.search.page import Page
from ocelot_api.search.query import SearchQuery, Total
from ocelot_api.search.service import SearchService
from ocelot_api.search.stats import Stats, StatsQuery, timeline_of
from ocelot_api.settings import ApiSettings
from ocelot_common.queue.client import sending_client
from ocelot_common.registry.model import Home, IndexRange, Isolation, Space, Tenant, TenantState
from queuekit.signing import fixed_keys

#: SQS's answer where it took all messages; only refused ones are looked for.
_TAKEN: Final = b'{"Successful":[],"Failed":[]}'


class Sample(NamedTuple):
    """One request.

    Attributes:
        method: GET or POST.
        path: without the query.
        query: as it goes over the wire.
        headers: names in lowercase.
        body: as it goes over the wire.
        plain_bytes: of the body before it was compressed.
        extra_bytes: that its numbers count for beside them
            (docs/adr/0024-bytes-of-the-cpu-bound.md).
    """

    method: str
    path: str
    query: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    plain_bytes: int
    extra_bytes: int = 0

    def on_the_wire(self) -> bytes:
        """The request as it is sent."""
        return request_bytes(self.method, self.path, self.query, self.headers, self.body)


class Answer(NamedTuple):
    """What came back."""

    status: int
    body: bytes


class Service:
    """The api for one tenant, whose token is taken for granted."""

    def __init__(self, **settings: Any) -> None:
        self._tenant = Tenant(
            uid="0123456789abcdef",
            id="acme",
            version=1,
            display_name="Acme",
            owner="cli",
            isolation=Isolation.DEDICATED,
            state=TenantState.ACTIVE,
            space="logs_acme",
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
        )
        self._home = Home(self._tenant, _space())
        self._settings = ApiSettings.model_validate(
            {
                "mongodb_url": "mongodb://x",
                "sqs_queue_url": "http://x/q",
                "OCELOT_QUEUE_KEYS_FILE": "unread",
                "AWS_ENDPOINT_URL_SQS": "http://x",
                "AWS_ACCESS_KEY_ID": "fuzz",
                "AWS_SECRET_ACCESS_KEY": "fuzz",
            }
            | settings
        )
        self._stack = AsyncExitStack()
        self._peer, self._other = socket.socketpair()

    async def start(self) -> None:
        """Begin to take requests."""
        around: Any = self
        settings = self._settings
        metrics = ApiMetrics(CollectorRegistry())
        budget = _pool(settings.body_budget_bytes)
        answers = _pool(settings.response_budget_bytes)
        service = SearchService(
            index=_Backend(), store=_Backend(), slots=_pool(settings.max_searches), metrics=metrics
        )
        sqs = await self._stack.enter_async_context(sending_client(settings))
        sqs.meta.events.register("before-send.sqs", _sqs_answer)
        self._coalescer = Coalescer(
            sqs, "http://x/q", keys=fixed_keys(), metrics=metrics, linger_sec=0
        )
        await self._coalescer.start()
        self._stack.push_async_callback(self._coalescer.close)
        ingest = Ingest(
            authenticator=around,
            snapshot=around,
            coalescer=self._coalescer,
            budget=budget,
            metrics=metrics,
            settings=settings,
        )
        bodies = JsonBodies(budget, timeout_sec=settings.body_timeout_sec)
        reading = Reading(
            authenticator=around,
            snapshot=around,
            database=around,
            service=service,
            bodies=bodies,
            answers=answers,
            timeout_sec=5,
        )
        jobs = Jobs(
            home=reading.home,
            authenticator=around,
            jobs=around,
            bodies=bodies,
            answers=answers,
            timeout_sec=5,
        )
        framework = FastAPI(openapi_url=None)
        for kind in (Problem, Exception):
            framework.add_exception_handler(kind, _answer_problem)
        framework.include_router(jobs.router())
        framework.include_router(reading.router())
        routes = FastRoutes(framework)
        routes.add("POST", "/api/v1/logs", ingest.post_one, passed_on=("GET", "HEAD"))
        routes.add("POST", "/api/v1/logs/bulk", ingest.post_bulk)
        app = RequestMiddleware(routes, metrics=metrics, tracing=False)
        loop = asyncio.get_running_loop()
        self._connections = Connections(
            app, EdgeBounds(), loop=loop, metrics=EdgeMetrics(CollectorRegistry())
        )
        self._stack.callback(self._connections.close)
        self._stack.push_async_callback(self._connections.cut)

    async def stop(self) -> None:
        """Send what waits, and close what is open."""
        await self._stack.aclose()
        self._peer.close()
        self._other.close()

    async def answer(self, request: bytes) -> Answer:
        """Have one request answered on a connection of its own."""
        transport = await exchange(self._connections, self._peer, request)
        return Answer(*transport.answer)

    # What stands for the authenticator, the registry and the jobs' collection.

    unconfirmed_sec = 0.0
    fresh = True

    async def authenticate(self, headers: dict[bytes, bytes], scope: str) -> Principal:
        return Principal(self._tenant, "fuzz", frozenset({scope}))

    def home(self, uid: str) -> Home:
        return self._home

    async def request(self, *arguments: Any, **options: Any) -> Any:
        raise Problem(503, "store_unavailable", "no jobs here")


class _SqsBody:
    async def read(self) -> bytes:
        return _TAKEN


def _sqs_answer(request: Any, **_: Any) -> AioAWSResponse:
    """Answer in place of the network, so that the process sends nothing."""
    return AioAWSResponse(
        request.url, 200, {"content-type": "application/x-amz-json-1.0"}, _SqsBody()
    )


class _Backend:
    """Builds what both stores are asked for, as bytes, and finds nothing."""

    name = "opensearch"

    async def search(self, query: SearchQuery, held: Any) -> Page:
        json.dumps(request_body(query), default=str).encode()
        bson.encode(selection_of(query.filter, with_attrs=True).conditions)
        return Page([], False, Total(0, "eq"))

    async def stats(self, query: StatsQuery, held: Any) -> Stats:
        async def extent() -> tuple[int, int]:
            return 1_700_000_000_000, 1_700_000_100_000

        timeline = await timeline_of(query, extent)
        json.dumps({"query": tenant_clause(query), "edges": timeline and timeline.edges})
        buckets = [0] * (len(timeline.edges) - 1 if timeline else 0)
        return Stats(0, timeline, buckets, None, [])


def _pool(limit: int) -> FairPool:
    return FairPool(limit, Refusal("OCELOT_X", "units"), Gauge("pool", "", registry=None))


def _space() -> Space:
    months = [
        IndexRange(
            start=datetime(2026, month, 1, tzinfo=UTC),
            end=datetime(2026, month + 1, 1, tzinfo=UTC),
            alias=f"logs_acme_2026-{month:02d}",
            index=f"logs_acme_2026-{month:02d}_000001",
        )
        for month in range(1, 5)
    ]
    return Space(
        name="logs_acme",
        version=1,
        key="k",
        collection="logs_acme",
        search_enabled=True,
        alias="logs_acme",
        indices=months,
    )
