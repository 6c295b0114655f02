"""A tenant that is deleted while it is changed stays deleted.

The purge of a tombstone deletes what the tenant would store if it were made live again.
"""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from pymongo.asynchronous.database import AsyncDatabase

from ocelot_common import mongo
from ocelot_common.provisioning.claiming import TenantSpec
from ocelot_common.provisioning.errors import ProvisioningError, TenantNotFoundError
from ocelot_common.provisioning.tenants import Provisioner
from ocelot_common.registry.model import Isolation, Tenant, TenantState
from ocelot_common.registry.store import RegistryStore

pytestmark = [pytest.mark.mongodb]

Change = Callable[[Provisioner, TenantSpec], Awaitable[object]]
CHANGES: dict[str, Change] = {
    "create": lambda at, spec: at.create(spec),
    "apply": lambda at, spec: at.apply(spec),
    "suspend": lambda at, spec: at.suspend(spec.id, owner=spec.owner),
    "resume": lambda at, spec: at.resume(spec.id, owner=spec.owner),
    "update": lambda at, spec: at.update(spec.id, owner=spec.owner, display_name="new"),
    "delete": lambda at, spec: at.delete(spec.id, owner=spec.owner),
}


@pytest_asyncio.fixture(loop_scope="session")
async def database(mongodb_url: str) -> AsyncIterator[AsyncDatabase[dict[str, Any]]]:
    client = mongo.connect(mongodb_url, app_name="tests")
    database = client[f"deleted_{secrets.token_hex(4)}"]
    yield database
    await client.drop_database(database.name)
    await client.close()


class StoreWithOthers(RegistryStore):
    """A registry that somebody else changes after a live tenant was read."""

    def __init__(
        self, database: AsyncDatabase[dict[str, Any]], meanwhile: Callable[[], Awaitable[object]]
    ) -> None:
        super().__init__(database)
        self._meanwhile = meanwhile

    async def live_tenant(self, tenant_id: str) -> Tenant | None:
        tenant = await super().live_tenant(tenant_id)
        await self._meanwhile()
        return tenant


async def prepare(change: str, at: Provisioner, spec: TenantSpec) -> None:
    """Bring a tenant into a state in which the change writes."""
    await at.create(spec)
    if change in ("create", "apply"):
        await at.delete(spec.id, owner=spec.owner)
    if change == "resume":
        await at.suspend(spec.id, owner=spec.owner)


@pytest.mark.parametrize("isolation", list(Isolation))
@pytest.mark.parametrize("change", CHANGES)
async def test_no_change_makes_a_tombstone_live(
    database: AsyncDatabase[dict[str, Any]], change: str, isolation: Isolation
):
    spec = TenantSpec(id="acme", owner="cli", isolation=isolation, display_name="Acme")
    store = RegistryStore(database)
    others = Provisioner(store, None)
    await prepare(change, others, spec)

    async def purge() -> None:
        await others.delete(spec.id, owner=spec.owner, now=True)

    slow = Provisioner(StoreWithOthers(database, purge), None)
    with pytest.raises(TenantNotFoundError):
        await CHANGES[change](slow, spec)

    [tenant] = await store.tenants(tombstones=True)
    assert (tenant.state, tenant.live) == (TenantState.DELETED, False)
    assert tenant.purged_at is not None
    assert await store.live_tenant(spec.id) is None


@pytest.mark.parametrize("change", ["suspend", "resume", "update"])
async def test_no_change_ends_a_deletion_that_began_meanwhile(
    database: AsyncDatabase[dict[str, Any]], change: str
):
    spec = TenantSpec(id="acme", owner="cli", display_name="Acme")
    store = RegistryStore(database)
    others = Provisioner(store, None)
    await prepare(change, others, spec)

    async def delete() -> None:
        await others.delete(spec.id, owner=spec.owner)

    slow = Provisioner(StoreWithOthers(database, delete), None)
    if change == "resume":
        await CHANGES[change](slow, spec)  # there is no suspension any more
    else:
        with pytest.raises(ProvisioningError, match="being deleted"):
            await CHANGES[change](slow, spec)

    tenant = await store.live_tenant(spec.id)
    assert tenant is not None
    assert tenant.state is TenantState.DELETING
    assert tenant.purge_after is not None
    assert tenant.purge_after > tenant.created_at + timedelta(days=6)
