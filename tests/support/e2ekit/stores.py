"""What MongoDB and OpenSearch hold, read past the api."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar
from uuid import UUID

from e2ekit.target import Target
from ocelot_common import mongo, opensearch
from ocelot_common.mongo import events_of
from ocelot_common.registry.model import Space, Tenant
from ocelot_common.registry.store import RegistryStore
from searchkit.documents import indexed_ids

T = TypeVar("T")

_BATCH: Final = 5_000


class Stores:
    """Reads the registry and the events of Dedicated tenants.

    Args:
        target: where the stores are.
        database: of the installation.
    """

    def __init__(self, target: Target, database: str) -> None:
        self._target = target
        self._database = database

    def tenant(self, tenant_id: str) -> Tenant | None:
        """Return a live tenant."""
        return self._with_registry(lambda store: store.live_tenant(tenant_id))

    def stored_ids(self, tenant_id: str) -> list[str]:
        """Return the ids of a tenant's events in MongoDB, one per document."""

        async def read(store: RegistryStore) -> list[str]:
            tenant, space = await _home(store, tenant_id)
            events = events_of(store.database, space.collection)
            # One large batch would hold up the event loop until the driver gives up its connection.
            found = events.find({"t": tenant.uid}, {"_id": 1}, batch_size=_BATCH)
            return [str(UUID(bytes=bytes(document["_id"]))) async for document in found]

        return self._with_registry(read)

    def stored_count(self, tenant_id: str) -> int:
        """Return the number of a tenant's events in MongoDB."""

        async def count(store: RegistryStore) -> int:
            tenant, space = await _home(store, tenant_id)
            return await events_of(store.database, space.collection).count_documents(
                {"t": tenant.uid}
            )

        return self._with_registry(count)

    def indexed_ids(self, tenant_id: str) -> list[str]:
        """Return the ids of a tenant's documents in OpenSearch, one per document."""

        async def read(store: RegistryStore) -> list[str]:
            tenant, space = await _home(store, tenant_id)
            search = opensearch.connect(self._target.opensearch_url)
            try:
                return await indexed_ids(search, space, tenant)
            finally:
                await search.close()

        return self._with_registry(read)

    def make_older(self, tenant_id: str, age: timedelta) -> None:
        """Let all events of a tenant have been received so long ago, in MongoDB."""

        async def change(store: RegistryStore) -> None:
            tenant, space = await _home(store, tenant_id)
            await store.database[space.collection].update_many(
                {"t": tenant.uid}, {"$set": {"received_at": datetime.now(UTC) - age}}
            )

        self._with_registry(change)

    def drop(self) -> None:
        """Delete the database."""

        async def drop(store: RegistryStore) -> None:
            await store.database.client.drop_database(store.database.name)

        self._with_registry(drop)

    def _with_registry(self, work: Callable[[RegistryStore], Awaitable[T]]) -> T:
        async def connect() -> T:
            client = mongo.connect(self._target.mongodb_url, app_name="e2e")
            try:
                return await work(RegistryStore(client[self._database]))
            finally:
                await client.close()

        return asyncio.run(connect())


async def _home(store: RegistryStore, tenant_id: str) -> tuple[Tenant, Space]:
    tenant = await store.live_tenant(tenant_id)
    assert tenant is not None, f"the registry has no tenant {tenant_id}"
    space = await store.space(tenant.space)
    assert space is not None
    return tenant, space
