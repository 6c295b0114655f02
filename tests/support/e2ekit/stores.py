"""What MongoDB holds, read past the api."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from e2ekit.target import Target
from ocelot_common import mongo
from ocelot_common.registry.model import Space, Tenant
from ocelot_common.registry.store import RegistryStore

T = TypeVar("T")


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
