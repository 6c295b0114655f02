"""A running Ocelot on real backends, one for the session; each test makes its own tenants."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

import httpx
import msgspec
import pytest
import pytest_asyncio
from opensearchpy import AsyncOpenSearch
from pymongo.asynchronous.database import AsyncDatabase

from ocelot_common import mongo, opensearch
from ocelot_common.mongo import events_of
from ocelot_common.reading import read_document, read_projection
from ocelot_common.registry.model import Isolation, Tenant
from ocelot_common.registry.store import RegistryTransaction
from ocelot_common.stored import StoredEvent
from ocelot_devstack.backends import Backends
from ocelot_devstack.provisioning import TenantMaker, open_tenant_maker
from ocelot_devstack.pytest_plugin import SERVICE_ENV, dev_settings
from ocelot_devstack.services import ServiceProcess
from ocelot_devstack.stack import Stack
from searchkit.documents import indexed_ids


class TenantAccess(NamedTuple):
    """A tenant with ready-made authorisation headers."""

    tenant: Tenant
    writer: dict[str, str]
    reader: dict[str, str]
    admin: dict[str, str]


class Running:
    """A started installation and clients for looking at it from every side."""

    def __init__(
        self,
        stack: Stack,
        maker: TenantMaker,
        http: httpx.AsyncClient,
        database: AsyncDatabase[dict[str, Any]],
        search: AsyncOpenSearch | None,
    ) -> None:
        self.stack = stack
        self.maker = maker
        self.http = http
        self.database = database
        self.search = search

    async def tenant(
        self, tenant_id: str = "", isolation: Isolation = Isolation.DEDICATED
    ) -> TenantAccess:
        """Make a tenant, of a random id unless one is given."""
        made = await self.maker.create(tenant_id or f"t-{secrets.token_hex(5)}", isolation)
        return self.access(made)

    async def set_tenant(self, tenant: Tenant, **changes: Any) -> None:
        """Change what the registry says of a tenant, past the rules of its owner's tools."""

        async def work(transaction: RegistryTransaction) -> None:
            present = await transaction.get(Tenant, tenant.uid)
            assert present is not None
            await transaction.replace(msgspec.structs.replace(present, **changes))

        await self.maker.store.write(work)

    def access(self, tenant: Tenant) -> TenantAccess:
        """Headers for a tenant."""
        return TenantAccess(
            tenant, *(self.bearer(tenant, role) for role in ("writer", "reader", "admin"))
        )

    def bearer(self, tenant: Tenant, role: str) -> dict[str, str]:
        """The header of a fresh token."""
        return {"Authorization": f"Bearer {self.maker.token(tenant, role)}"}

    @property
    def api(self) -> ServiceProcess:
        """The api that `http` asks."""
        return next(each for each in self.stack.services if each.spec.name == "api")

    async def space_of(self, tenant: Tenant) -> Any:
        """The tenant's space, read now."""
        space = await self.maker.store.space(tenant.space)
        assert space is not None
        return space

    async def stored(self, tenant: Tenant) -> list[StoredEvent]:
        """All events that MongoDB holds of a tenant."""
        space = await self.space_of(tenant)
        collection = events_of(self.database, space.collection)
        cursor = collection.find({"t": tenant.uid}, read_projection(tenant))
        found = [read_document(document) async for document in cursor]
        return [event for event in found if isinstance(event, StoredEvent)]

    async def indexed_ids(self, tenant: Tenant) -> list[str]:
        """The event ids that OpenSearch holds of a tenant, refreshed, in order."""
        assert self.search is not None
        return await indexed_ids(self.search, await self.space_of(tenant), tenant)

    async def until_stored(
        self, tenant: Tenant, number: int, *, timeout_sec: float = 300
    ) -> list[StoredEvent]:
        """Wait until MongoDB holds so many events of a tenant."""

        async def enough() -> list[StoredEvent] | None:
            events = await self.stored(tenant)
            return events if len(events) >= number else None

        return await eventually(enough, timeout_sec=timeout_sec, what=f"{number} stored events")

    async def until_indexed(
        self, tenant: Tenant, number: int, *, timeout_sec: float = 300
    ) -> list[str]:
        """Wait until OpenSearch holds so many events of a tenant."""

        async def enough() -> list[str] | None:
            ids = await self.indexed_ids(tenant)
            return ids if len(ids) >= number else None

        return await eventually(enough, timeout_sec=timeout_sec, what=f"{number} indexed events")

    async def eventually(
        self,
        probe: Callable[[], Awaitable[Any]],
        *,
        timeout_sec: float = 180,
        what: str = "it",
    ) -> Any:
        """Ask until the answer is neither None nor False, and return it."""
        return await eventually(probe, timeout_sec=timeout_sec, what=what)

    async def post_lines(
        self, access: TenantAccess, lines: Iterable[bytes], **headers: str
    ) -> httpx.Response:
        """Send NDJSON that is taken."""
        answer = await self.http.post(
            "/api/v1/logs/bulk",
            content=b"\n".join(lines),
            headers={**access.writer, "Content-Type": "application/x-ndjson", **headers},
        )
        assert answer.status_code == 202, answer.text
        return answer


async def eventually(
    probe: Callable[[], Awaitable[Any]], *, timeout_sec: float = 180, what: str = "it"
) -> Any:
    """Ask until the answer is neither None nor False, and return it."""
    deadline = time.monotonic() + timeout_sec
    while True:
        answer = await probe()
        if answer is not None and answer is not False:
            return answer
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: not within {timeout_sec:g} s")
        await asyncio.sleep(0.1)


@pytest.fixture(scope="session")
def until() -> Callable[..., Awaitable[Any]]:
    """`eventually`, for tests on an installation of their own."""
    return eventually


@asynccontextmanager
async def running_on(stack: Stack) -> AsyncIterator[Running]:
    """Clients for an installation whose services run."""
    async with AsyncExitStack() as cleanup:
        maker = await cleanup.enter_async_context(open_tenant_maker(stack.installation))
        api = next(each for each in stack.services if each.spec.name == "api")
        http = await cleanup.enter_async_context(httpx.AsyncClient(base_url=api.url, timeout=120))
        client = mongo.connect(stack.mongodb_url, app_name="tests")
        cleanup.push_async_callback(client.close)
        search = None
        if stack.opensearch_url is not None:
            search = opensearch.connect(stack.opensearch_url)
            cleanup.push_async_callback(search.close)
        database = client[stack.installation.mongodb_database]
        yield Running(stack, maker, http, database, search)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def running(
    backends: Backends, opensearch_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Running]:
    """Every service on the session's backends."""
    del opensearch_url  # asked for so that a missing OpenSearch skips or fails by name
    name = secrets.token_hex(4)
    stack = Stack(
        dev_settings(tmp_path_factory.mktemp("running")),
        backends=backends,
        name=name,
        env=SERVICE_ENV,
        report=lambda _: None,
    )
    async with stack:
        async with open_tenant_maker(stack.installation):
            pass  # publishes the key and makes the collections
        await stack.start_services()
        try:
            async with running_on(stack) as clients:
                yield clients
        finally:
            await stack.stop_services()
            await stack.remove()


@pytest_asyncio.fixture(scope="class", loop_scope="session")
async def jobs_stopped(running: Running) -> AsyncIterator[None]:
    """No jobs, which would rebuild what a test breaks, and sooner than it has looked."""
    await running.stack.stop_services("jobs")
    yield
    await (await running.stack.start_service("jobs")).wait_ready(180)
