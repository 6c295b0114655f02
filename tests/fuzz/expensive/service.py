"""The api in this process: its real middleware, routes, parsers and packing, without backends."""

import json
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import bson
from fastapi import FastAPI
from prometheus_client import CollectorRegistry, Gauge
from starlette.types import Message

from ocelot_api.app import _answer_problem
from ocelot_api.authentication import Principal
from ocelot_api.budget import FairPool, Refusal
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
from ocelot_common.registry.model import Home, IndexRange, Isolation, Space, Tenant, TenantState

_CHUNK: Final = 64 * 1024


class Sample(NamedTuple):
    """One request.

    Attributes:
        method: GET or POST.
        path: without the query.
        query: as it goes over the wire.
        headers: names in lowercase.
        body: as it goes over the wire.
        plain_bytes: of the body before it was compressed.
    """

    method: str
    path: str
    query: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    plain_bytes: int


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
            {"mongodb_url": "mongodb://x", "sqs_queue_url": "http://x/q"} | settings
        )
        self.messages = 0

    async def start(self) -> None:
        """Begin to take requests."""
        around: Any = self
        settings = self._settings
        metrics = ApiMetrics(CollectorRegistry())
        budget = _pool(settings.body_budget_bytes)
        answers = _pool(settings.answer_budget_bytes)
        service = SearchService(
            index=_Backend(), store=_Backend(), slots=_pool(settings.max_searches), metrics=metrics
        )
        self._coalescer = Coalescer(around, "http://x/q", metrics=metrics, linger_sec=0)
        await self._coalescer.start()
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
        self._app = RequestMiddleware(routes, metrics=metrics, tracing=False)

    async def stop(self) -> None:
        """Send what waits."""
        await self._coalescer.close()

    async def answer(self, sample: Sample) -> Answer:
        """Have one request answered."""
        pieces = [sample.body[at : at + _CHUNK] for at in range(0, len(sample.body), _CHUNK)]
        pieces.reverse()
        status = 0
        answer: list[bytes] = []

        async def receive() -> Message:
            piece = pieces.pop() if pieces else b""
            return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

        async def send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                answer.append(message.get("body", b""))

        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": sample.method,
            "scheme": "http",
            "path": sample.path,
            "raw_path": sample.path.encode(),
            "root_path": "",
            "query_string": sample.query,
            "headers": [*sample.headers, (b"content-length", b"%d" % len(sample.body))],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            "state": {},
        }
        await self._app(scope, receive, send)
        return Answer(status, b"".join(answer))

    # What stands for the authenticator, the registry, SQS and the jobs' collection.

    unconfirmed_sec = 0.0
    fresh = True

    async def authenticate(self, headers: dict[bytes, bytes], scope: str) -> Principal:
        return Principal(self._tenant, "fuzz", frozenset({scope}))

    def home(self, uid: str) -> Home:
        return self._home

    async def send_message_batch(self, **call: Any) -> dict[str, Any]:
        self.messages += len(call["Entries"])
        return {}

    async def request(self, *arguments: Any, **options: Any) -> Any:
        raise Problem(503, "store_unavailable", "no jobs here")


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
