"""Which backend answers, with handwritten backends that fail on demand."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry, Gauge

from ocelot_api.budget import FairPool, Refusal, Reservation
from ocelot_api.metrics import ApiMetrics
from ocelot_api.problems import Problem
from ocelot_api.search import service as module
from ocelot_api.search.backend import SearchUnavailableError
from ocelot_api.search.page import Item, Page
from ocelot_api.search.query import Position, SearchQuery, Total, read_cursor
from ocelot_api.search.service import SearchService
from ocelot_common.registry.model import Home, Space
from ocelot_common.stored import StoredEvent, answer_json


class Backend:
    def __init__(self, name: str) -> None:
        self.name = name
        self.asked = 0
        self.error: Exception | None = None
        self.page = Page([], False, Total(0, "eq"))
        self.gate: asyncio.Event | None = None

    async def search(self, query: SearchQuery, held: Reservation) -> Page:
        self.asked += 1
        if self.gate:
            await self.gate.wait()
        if self.error:
            raise self.error
        return self.page


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


@pytest.fixture
def index() -> Backend:
    return Backend("opensearch")


@pytest.fixture
def store() -> Backend:
    return Backend("mongodb")


@pytest.fixture
def other(home: Home, make_tenant: Callable[..., Any]) -> Home:
    return Home(make_tenant(uid="fedcba9876543210"), home.space)


@pytest.fixture
def service(
    index: Backend,
    store: Backend,
    metrics: ApiMetrics,
    clock: Clock,
    make_pool: Callable[..., FairPool],
) -> SearchService:
    return SearchService(index=index, store=store, slots=make_pool(), metrics=metrics)


async def answer_of(service: SearchService, query: SearchQuery) -> bytes:
    pool = FairPool(2**40, Refusal("X", "bytes"), Gauge("x", "x", registry=CollectorRegistry()))
    with pool.reservation(query.home.tenant.uid) as held:
        return b"".join(await service.search(query, held))


async def backend_of(service: SearchService, home: Home) -> str:
    return str(json.loads(await answer_of(service, SearchQuery(home=home)))["backend"])


def item(number: int) -> Item:
    event = StoredEvent(
        id=number.to_bytes(16),
        uid="0123456789abcdef",
        received_at=number,
        occurred_at=number,
        seq=2**60 + number,
        writer="w",
        rev=1,
        text='{"action":"a","actor":{"id":"u"},"n":1.0}',
    )
    return Item(Position(number, event.id), answer_json(event, "acme"))


async def test_the_index_answers_where_there_is_one(
    service: SearchService, home: Home, store: Backend
):
    assert await backend_of(service, home) == "opensearch"
    assert store.asked == 0


async def test_the_store_answers_where_search_is_off(
    service: SearchService,
    home: Home,
    index: Backend,
    store: Backend,
    metrics: ApiMetrics,
    make_pool: Callable[..., FairPool],
    make_space: Callable[..., Space],
):
    off = Home(home.tenant, make_space(search_enabled=False))
    assert await backend_of(service, off) == "mongodb"
    without = SearchService(index=None, store=store, slots=make_pool(), metrics=metrics)
    assert await backend_of(without, home) == "mongodb"
    assert index.asked == 0


async def test_what_the_index_cannot_answer_the_store_does_and_the_next_search_tries_again(
    service: SearchService, home: Home, index: Backend
):
    index.error = SearchUnavailableError("an index is missing", away=False)
    for number in range(1, 4):
        assert await backend_of(service, home) == "mongodb"
        assert index.asked == number
    index.error = None
    assert await backend_of(service, home) == "opensearch"


async def test_an_index_that_is_away_is_left_alone_for_five_seconds(
    service: SearchService, home: Home, index: Backend, clock: Clock
):
    index.error = SearchUnavailableError("away", away=True)
    for _ in range(5):
        assert await backend_of(service, home) == "mongodb"
    assert index.asked == 1
    clock.now += 5.1
    index.error = None
    assert await backend_of(service, home) == "opensearch"
    assert await backend_of(service, home) == "opensearch"
    assert index.asked == 3


async def test_one_search_finds_out_whether_the_index_is_back_and_no_other_waits(
    service: SearchService, home: Home, index: Backend, clock: Clock
):
    index.error = SearchUnavailableError("away", away=True)
    await backend_of(service, home)
    clock.now += 5.1
    index.gate = asyncio.Event()
    probe = asyncio.create_task(backend_of(service, home))
    await asyncio.sleep(0)
    assert [await backend_of(service, home) for _ in range(3)] == ["mongodb"] * 3
    assert index.asked == 2
    index.error = None
    index.gate.set()
    assert await probe == "opensearch"
    assert await backend_of(service, home) == "opensearch"


async def test_a_search_that_is_too_much_is_told_so_by_either(
    service: SearchService, home: Home, index: Backend, store: Backend
):
    index.error = Problem(504, "search_timeout", "x")
    with pytest.raises(Problem):
        await answer_of(service, SearchQuery(home=home))
    assert store.asked == 0


async def test_an_answer_has_items_total_backend_and_a_cursor_if_more_follow(
    service: SearchService, home: Home, index: Backend
):
    index.page = Page([item(1), item(2)], True, Total(10_000, "gte"))
    query = SearchQuery(home=home, limit=2)
    raw = await answer_of(service, query)
    body = json.loads(raw)
    assert list(body) == ["items", "next_cursor", "total", "backend"]
    assert [item["id"][-1] for item in body["items"]] == ["1", "2"]
    assert body["total"] == {"value": 10_000, "relation": "gte"}
    assert read_cursor(body["next_cursor"], query).event_id == item(2).id
    assert b'"n":1.0' in raw
    assert body["items"][0]["seq"] == str(2**60 + 1)
    index.page = msgspec.convert([[], False, [0, "eq"]], Page)
    empty: Any = json.loads(await answer_of(service, query))
    assert empty == {
        "items": [],
        "next_cursor": None,
        "total": {"value": 0, "relation": "eq"},
        "backend": "opensearch",
    }


async def test_a_tenant_without_an_index_says_nothing_about_whether_it_is_away(
    service: SearchService, home: Home, index: Backend, clock: Clock
):
    index.error = SearchUnavailableError("away", away=True)
    await backend_of(service, home)
    clock.now += 5.1
    index.error = SearchUnavailableError("no index has been made")
    assert [await backend_of(service, home) for _ in range(3)] == ["mongodb"] * 3
    assert index.asked == 2, "it is still left alone"


async def test_a_tenant_has_at_most_half_of_the_searches_and_gives_them_back(
    index: Backend, store: Backend, metrics: ApiMetrics, make_pool: Any, home: Home, other: Home
):
    slots = make_pool(4)
    service = SearchService(index=index, store=store, slots=slots, metrics=metrics)
    index.gate = asyncio.Event()
    asking = [asyncio.create_task(backend_of(service, home)) for _ in range(3)]
    done, pending = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
    (refused,) = done
    problem = refused.exception()
    assert isinstance(problem, Problem)
    assert (problem.status, problem.code) == (503, "tenant_share")
    assert problem.headers["Retry-After"]
    others = asyncio.create_task(backend_of(service, other))
    await asyncio.sleep(0)
    assert slots.used == 3
    next(iter(pending)).cancel()
    index.gate.set()
    answers = await asyncio.gather(*pending, others, return_exceptions=True)
    assert sorted(map(str, answers)) == ["", "opensearch", "opensearch"]
    assert (slots.used, slots.tenants) == (0, 0)
