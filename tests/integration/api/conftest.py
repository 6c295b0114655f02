"""More apis beside the running one, each with a backend taken away; and both search backends."""

import asyncio
import importlib.util
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import httpx
import pytest
import pytest_asyncio

from ocelot_api.search.mongo_backend import MongoBackend
from ocelot_api.search.opensearch_backend import OpenSearchBackend
from ocelot_common import opensearch
from ocelot_common.registry.model import Home, Tenant
from ocelot_devstack.ports import free_port

StartApi = Callable[..., Awaitable[httpx.AsyncClient]]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def start_api(running: Any) -> AsyncIterator[StartApi]:
    """A function that starts one more api of the running installation, in another environment."""
    async with AsyncExitStack() as cleanup:

        async def start(*, ready: bool = True, **env: str) -> httpx.AsyncClient:
            process = await running.stack.start_service("api", extra_env=env)
            cleanup.push_async_callback(process.stop)
            if ready:
                await process.wait_ready(30)
            return await cleanup.enter_async_context(
                httpx.AsyncClient(base_url=process.url, timeout=30)
            )

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


class Both(NamedTuple):
    """Both search backends on the running installation's data."""

    mongodb: MongoBackend
    opensearch: OpenSearchBackend


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def both(running: Any) -> AsyncIterator[Both]:
    client = opensearch.connect(running.stack.opensearch_url, raw_answers=True, timeout_sec=20)
    yield Both(
        MongoBackend(running.database, timeout_sec=20), OpenSearchBackend(client, timeout_sec=20)
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
