"""An installation without OpenSearch: the same searches, on indexes of MongoDB."""

import asyncio
import copy
import json
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

import httpx
import pytest
import pytest_asyncio
from starlette.datastructures import QueryParams

from ocelot_api.search.mongo_backend import MongoBackend, selection_for
from ocelot_api.search.mongo_reading import projection_for
from ocelot_api.search.parameters import query_of_parameters
from ocelot_api.search.query import SearchQuery, read_cursor, write_cursor
from ocelot_common import mongo
from ocelot_common.mongo import events_of
from ocelot_common.reading import has_place
from ocelot_common.registry.model import Home, Isolation
from ocelot_devstack.backends import Backends
from ocelot_devstack.provisioning import open_tenant_maker
from ocelot_devstack.pytest_plugin import dev_settings
from ocelot_devstack.stack import Stack

pytestmark = [pytest.mark.mongodb, pytest.mark.sqs]

LOGS = "/api/v1/logs"


def query_of(parameters: dict[str, Any], home: Home) -> SearchQuery:
    pairs = [
        (name, str(value))
        for name, values in parameters.items()
        for value in (values if isinstance(values, list) else [values])
    ]
    return query_of_parameters(QueryParams(pairs), home)


NUMBER = 2_000


class Small(NamedTuple):
    """The installation, with a tenant of either isolation that has 2,000 events."""

    stack: Stack
    http: httpx.AsyncClient
    database: Any
    homes: dict[Isolation, Home]
    readers: dict[Isolation, dict[str, str]]


def lines() -> Iterator[bytes]:
    for number in range(NUMBER):
        minute, second = divmod(number, 60)
        event = {
            "occurred_at": f"2026-01-01T10:{minute:02d}:{second:02d}Z",
            "action": f"document.{('read', 'update', 'delete')[number % 3]}",
            "actor": {"id": f"user-{number % 50}"},
            "targets": [{"id": f"doc-{number % 40}"}, {"id": "all"}],
            "request_id": f"req-{number}",
            "outcome": ("success", "denied")[number % 2],
            "message": f"word{number % 20} 東京",
            "metadata": {"plan": "pro", "n": number % 10, "f": 1.0},
            "changes": {"before": {"a.b": None}, "after": [True, "x=y"]},
        }
        yield json.dumps(event, ensure_ascii=False).encode()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def small(
    backends: Backends, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Small]:
    without = copy.copy(backends)
    without.opensearch = None
    settings = dev_settings(tmp_path_factory.mktemp("mongo-only"))
    async with AsyncExitStack() as cleanup:
        stack = Stack(settings, backends=without, name=secrets.token_hex(4), report=lambda _: None)
        await cleanup.enter_async_context(stack)
        cleanup.push_async_callback(stack.remove)
        cleanup.push_async_callback(stack.stop_services)
        maker = await cleanup.enter_async_context(open_tenant_maker(stack.installation))
        await stack.start_services()
        api = next(service for service in stack.services if service.spec.name == "api")
        http = await cleanup.enter_async_context(httpx.AsyncClient(base_url=api.url, timeout=120))
        client = mongo.connect(stack.mongodb_url, app_name="tests")
        cleanup.push_async_callback(client.close)
        database = client[stack.installation.mongodb_database]
        made = Small(stack, http, database, {}, {})
        for isolation in Isolation:
            tenant = await maker.create(f"t-{isolation.value.lower()}", isolation)
            space = await maker.store.space(tenant.space)
            assert space is not None
            made.homes[isolation] = Home(tenant, space)
            made.readers[isolation] = {"Authorization": f"Bearer {maker.token(tenant, 'reader')}"}
            writer = {"Authorization": f"Bearer {maker.token(tenant, 'writer')}"}
            answer = await http.post(
                f"{LOGS}/bulk",
                content=b"\n".join(lines()),
                headers=writer | {"Content-Type": "application/x-ndjson"},
            )
            assert answer.json()["accepted"] == NUMBER
        for home in made.homes.values():
            await until_stored(database, home)
        yield made


async def until_stored(database: Any, home: Home) -> None:
    collection = events_of(database, home.space.collection)
    for _ in range(1_800):
        if await collection.count_documents({"t": home.tenant.uid}) == NUMBER:
            return
        await asyncio.sleep(0.1)
    pytest.fail("not stored within 30 s")


@pytest.fixture(params=list(Isolation))
def isolation(request: pytest.FixtureRequest) -> Any:
    return request.param


async def test_no_indexer_runs_and_no_index_is_made(small: Small):
    assert {service.spec.name for service in small.stack.services} == {"api", "consumer", "jobs"}
    assert all(not home.space.search_enabled for home in small.homes.values())
    assert all(home.space.indices == [] for home in small.homes.values())


async def test_documents_carry_attrs(small: Small, isolation: Isolation):
    home = small.homes[isolation]
    collection = small.database[home.space.collection]
    document = await collection.find_one({"t": home.tenant.uid, "request_id": "req-7"})
    assert sorted(document["attrs"]) == [
        "changes.after=true",
        "changes.after=x=y",
        "changes.before.a.b=null",
        "metadata.f=1.0",
        "metadata.n=7",
        "metadata.plan=pro",
    ]
    assert "attrs_cut" not in document


@pytest.mark.parametrize(
    ("params", "number"),
    [
        ({}, NUMBER),
        ({"action": "document.read"}, 667),
        ({"action": ["document.read", "document.update"]}, 1_334),
        ({"action": "document.*"}, NUMBER),
        ({"action": "document.d*", "outcome": "denied"}, 333),
        ({"actor.id": "user-7"}, 40),
        ({"target.id": "doc-39"}, 50),
        ({"target.id": "a*"}, NUMBER),
        ({"request_id": "req-77"}, 1),
        ({"severity": "info"}, NUMBER),
        ({"severity": "error"}, 0),
        ({"from": "2026-01-01T10:10:00Z", "to": "2026-01-01T10:11:00Z"}, 60),
        ({"from": "2026-01-01T11:10:00+01:00", "to": "2026-01-01T10:11:00Z"}, 60),
        ({"q": "WORD3 京"}, 100),
        ({"q": "word3", "actor.id": "user-3"}, 20),
    ],
    ids=str,
)
async def test_every_filter_is_answered(
    small: Small, isolation: Isolation, params: dict[str, Any], number: int
):
    answer = await small.http.get(
        LOGS, params={"limit": "1000", **params}, headers=small.readers[isolation]
    )
    body = answer.json()
    assert body["backend"] == "mongodb"
    assert len(body["items"]) == min(number, 1_000)
    more = body["next_cursor"] is not None
    assert more is (number > 1_000)
    if "q" not in params:
        assert body["total"] == {"value": number, "relation": "eq"}
    times = [item["occurred_at"] for item in body["items"]]
    assert times == sorted(times, reverse=True)


def stages(plan: Any) -> Iterator[str]:
    """All stages of a plan, at any depth."""
    if isinstance(plan, dict):
        if "stage" in plan:
            yield plan["stage"]
        for value in plan.values():
            yield from stages(value)
    elif isinstance(plan, list):
        for value in plan:
            yield from stages(value)


def cursor_of(backend: Any, collection: Any, query: SearchQuery) -> Any:
    """As a page is read."""
    tenant, limit = query.home.tenant, query.limit + 1
    conditions = selection_for(query).conditions | has_place(tenant, query.sort.field)
    cursor = backend._cursor(collection, query, conditions, projection_for(tenant, limit))
    return cursor.limit(limit)


SORTS = ("occurred_at", "-occurred_at")
PLANNED: list[dict[str, Any]] = [
    *({"sort": sort} for sort in (*SORTS, "received_at", "-received_at")),
    *({"sort": sort, "action": ["document.read"]} for sort in SORTS),
    *({"sort": sort, "actor.id": ["user-7"]} for sort in SORTS),
    *({"sort": sort, "action": ["document.read", "document.update"]} for sort in SORTS),
    *({"sort": sort, "from": "2026-01-01T10:10:00Z"} for sort in SORTS),
    *({"sort": sort, "to": "2026-01-01T10:10:00Z"} for sort in SORTS),
    *(
        {
            "sort": sort,
            "action": ["document.read"],
            "actor.id": ["user-7"],
            "from": "2026-01-01T10:05:00Z",
            "to": "2026-01-01T10:30:00Z",
        }
        for sort in SORTS
    ),
]


@pytest.mark.parametrize("parameters", PLANNED, ids=str)
async def test_a_search_reads_an_index_in_order_and_no_more_than_it_needs(
    small: Small, asked: Any, isolation: Isolation, parameters: dict[str, Any]
):
    home = small.homes[isolation]
    query = query_of({"limit": 20, **parameters}, home)
    backend = asked(MongoBackend(small.database, timeout_sec=5))
    collection = events_of(small.database, home.space.collection)
    page = await backend.search(query)
    cursor = write_cursor(query, page.items[-1].position)
    given = {"limit": 20, **parameters, "cursor": cursor}
    following = query_of(given, home)
    assert following.after == read_cursor(cursor, query)
    for each in (query, following):
        explained = await cursor_of(backend, collection, each).explain()
        plan = explained["queryPlanner"]["winningPlan"]
        used = set(stages(plan))
        assert not used & {"COLLSCAN", "SORT"}, plan
        assert "IXSCAN" in used
        ran = explained["executionStats"]
        if each is query:
            assert ran["nReturned"] == len(page.items) + page.more
        if "from" not in parameters:
            assert ran["totalDocsExamined"] <= 3 * 21, plan


async def test_a_page_deep_in_a_search_examines_no_more_than_the_first(
    small: Small, asked: Any, isolation: Isolation
):
    home = small.homes[isolation]
    backend = asked(MongoBackend(small.database, timeout_sec=5))
    collection = events_of(small.database, home.space.collection)
    first = query_of({"limit": 1000}, home)
    page = await backend.search(first)
    query = query_of({"limit": 20}, home)
    given = {"limit": 20, "cursor": write_cursor(query, page.items[-1].position)}
    deep = query_of(given, home)
    explained = await cursor_of(backend, collection, deep).explain()
    ran = explained["executionStats"]
    assert ran["nReturned"] == 21
    assert ran["totalDocsExamined"] <= 23
