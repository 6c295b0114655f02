"""More apis beside the running one, each with a backend taken away; and both search backends."""

import asyncio
import importlib.util
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import httpx
import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry, Gauge

from ocelot_api.budget import FairPool, Refusal
from ocelot_api.search.mongo_backend import MongoBackend
from ocelot_api.search.opensearch_backend import OpenSearchBackend
from ocelot_api.search.page import ITEM_BYTES, Page
from ocelot_api.search.query import SearchQuery
from ocelot_api.search.stats import Stats, StatsQuery
from ocelot_common import opensearch
from ocelot_common.registry.model import Home, Isolation, Tenant
from ocelot_devstack.ports import free_port
from ocelot_devstack.services import ServiceProcess
from searchdata.events import HAND_MADE, SAME_TIME, random_events
from searchdata.reference import Data, Reference


class ApiClient(httpx.AsyncClient):
    """A client of one api process.

    Attributes:
        process: that it asks.
    """

    process: ServiceProcess

    @property
    def probes_url(self) -> str:
        """Where the process answers `/readyz`, `/metrics` and the other probes."""
        return self.process.probes_url


StartApi = Callable[..., Awaitable[ApiClient]]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def start_api(running: Any) -> AsyncIterator[StartApi]:
    """A function that starts one more api of the running installation, in another environment."""
    async with AsyncExitStack() as cleanup:

        async def start(*, ready: bool = True, **env: str) -> ApiClient:
            process = await running.stack.start_service("api", extra_env=env)
            cleanup.push_async_callback(process.stop)
            if ready:
                await process.wait_ready(180)
            client = ApiClient(base_url=process.url, timeout=120)
            client.process = process
            return await cleanup.enter_async_context(client)

        yield start


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def mongo_only(start_api: StartApi) -> httpx.AsyncClient:
    """An api of the running installation that knows no OpenSearch."""
    return await start_api(OPENSEARCH_URL="")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def black_hole() -> AsyncIterator[str]:
    """`host:port` of a server that takes connections and never answers: a paused process."""
    connections: set[asyncio.StreamWriter] = set()

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(writer)
        while await reader.read(65_536):
            pass
        writer.close()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    yield f"{host}:{port}"
    server.close()
    for writer in connections:
        writer.close()


@pytest.fixture(scope="session")
def closed_port() -> str:
    """`host:port` where nobody listens: a stopped process."""
    return f"127.0.0.1:{free_port()}"


class Asked:
    """A search backend that may hold as much as it likes."""

    def __init__(self, backend: Any) -> None:
        self.backend = backend
        gauge = Gauge("held", "held", registry=CollectorRegistry())
        self.pool = FairPool(2**40, Refusal("X", "bytes"), gauge)

    async def search(self, query: SearchQuery) -> Page:
        with self.pool.reservation("t") as held:
            page: Page = await self.backend.search(query, held)
            assert held.size == sum(len(item.json) + ITEM_BYTES for item in page.items)
        return page

    async def stats(self, query: StatsQuery) -> Stats:
        with self.pool.reservation("t") as held:
            stats: Stats = await self.backend.stats(query, held)
            assert held.size == 0
        return stats

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)


class Both(NamedTuple):
    """Both search backends on the running installation's data."""

    mongodb: Asked
    opensearch: Asked


@pytest.fixture(scope="session")
def asked() -> type[Asked]:
    return Asked


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def both(running: Any) -> AsyncIterator[Both]:
    client = opensearch.connect(
        running.stack.opensearch_url, raw_answers=True, bounded=True, timeout_sec=20
    )
    yield Both(
        Asked(MongoBackend(running.database, timeout_sec=20)),
        Asked(OpenSearchBackend(client, timeout_sec=20)),
    )
    await client.close()


@pytest.fixture(scope="session")
def home_of(running: Any) -> Callable[[Tenant], Awaitable[Home]]:
    async def find(tenant: Tenant) -> Home:
        present = await running.maker.store.tenant(tenant.uid)
        return Home(present, await running.space_of(present))

    return find


@pytest.fixture(scope="session")
def generate() -> ModuleType:
    """tests/data/generate.py."""
    path = Path(__file__).parents[2] / "data/generate.py"
    spec = importlib.util.spec_from_file_location("generate", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def lines(generate: ModuleType) -> list[bytes]:
    base = {"actor": {"id": "user-1"}}
    events = HAND_MADE + SAME_TIME + random_events(200, 7)
    made = [json.dumps(base | each, ensure_ascii=False).encode() for each in events]
    return [*made, *generate.generate(160, 11), *generate.mixed(120, 5)]


@pytest_asyncio.fixture(
    scope="session",
    loop_scope="session",
    params=[Isolation.DEDICATED, Isolation.SHARED],
    ids=lambda isolation: isolation.value,
)
async def data(
    request: pytest.FixtureRequest, running: Any, lines: list[bytes], home_of: Any
) -> Data:
    access = await running.tenant(isolation=request.param)
    other = await running.tenant(isolation=request.param)
    third = len(lines) // 3
    for at in range(0, len(lines), third):  # several times of arrival
        answer = await running.post_lines(access, lines[at : at + third])
        assert answer.json()["rejected"] == 0, answer.text[:300]
        await running.post_lines(other, lines[at : at + third])
    await running.until_indexed(access.tenant, len(lines))
    await running.until_indexed(other.tenant, len(lines))
    events = await running.stored(access.tenant)
    return Data(access, await home_of(access.tenant), events, list(map(Reference, events)))
