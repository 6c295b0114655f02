"""A tenant that is deleted while it is changed stays deleted.

The purge of a tombstone deletes what the tenant would store if it were made live again.
"""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
import structlog
from msgspec.structs import replace
from pymongo.asynchronous.database import AsyncDatabase
from structlog.testing import capture_logs

from ocelot_common import mongo
from ocelot_common.provisioning.claiming import TenantSpec
from ocelot_common.provisioning.errors import ProvisioningError, TenantNotFoundError
from ocelot_common.provisioning.tenants import Provisioner
from ocelot_common.registry.model import Isolation, Tenant, TenantState
from ocelot_common.registry.store import RegistryStore, RegistryTransaction

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


@pytest.fixture
def logs() -> Iterator[list[Any]]:
    """The log lines of the test, whatever an earlier one has configured."""
    before = structlog.get_config()
    structlog.reset_defaults()
    with capture_logs() as lines:
        yield lines
    structlog.configure(**before)


class StoreWithOthers(RegistryStore):
    """A registry that somebody else changes after a tenant was read."""

    def __init__(
        self, database: AsyncDatabase[dict[str, Any]], meanwhile: Callable[[], Awaitable[object]]
    ) -> None:
        super().__init__(database)
        self._meanwhile = meanwhile

    async def live_tenant(self, tenant_id: str) -> Tenant | None:
        tenant = await super().live_tenant(tenant_id)
        await self._meanwhile()
        return tenant

    async def tenant(self, uid: str) -> Tenant | None:
        tenant = await super().tenant(uid)
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


@pytest.mark.parametrize("meanwhile", ["restored", "nothing"])
async def test_a_restoration_is_logged_by_the_one_who_restored(
    database: AsyncDatabase[dict[str, Any]], logs: list[Any], meanwhile: str
):
    spec = TenantSpec(id="acme", owner="cli", display_name="Acme")
    others = Provisioner(RegistryStore(database), None)
    await prepare("create", others, spec)

    async def change() -> None:
        if meanwhile == "restored":
            await others.create(spec)

    slow = Provisioner(StoreWithOthers(database, change), None)
    tenant = await slow.create(spec)

    assert tenant.state is TenantState.ACTIVE
    assert [line["event"] for line in logs].count("tenant_restored") == 1


async def test_a_change_is_logged_by_the_one_who_made_it(
    database: AsyncDatabase[dict[str, Any]], logs: list[Any]
):
    spec = TenantSpec(id="acme", owner="cli", display_name="Acme")
    others = Provisioner(RegistryStore(database), None)
    await others.create(spec)

    async def change() -> None:
        await others.update(spec.id, owner="cli", display_name="new")

    slow = Provisioner(StoreWithOthers(database, change), None)
    tenant = await slow.update(spec.id, owner="cli", display_name="new")

    assert tenant.display_name == "new"
    assert [line["event"] for line in logs].count("tenant_changed") == 1


async def test_a_purge_of_a_tenant_that_became_live_says_so(
    database: AsyncDatabase[dict[str, Any]],
):
    spec = TenantSpec(id="acme", owner="cli", display_name="Acme")
    store = RegistryStore(database)
    await Provisioner(store, None).create(spec)
    tenant = await store.live_tenant(spec.id)
    assert tenant is not None

    async def set_state(state: TenantState) -> None:
        async def work(transaction: RegistryTransaction) -> None:
            await transaction.replace(replace(tenant, state=state))

        await store.write(work)

    async def restore() -> None:  # as from a backup
        await set_state(TenantState.ACTIVE)

    await set_state(TenantState.DELETED)
    slow = Provisioner(StoreWithOthers(database, restore), None)
    with pytest.raises(ProvisioningError, match="is not deleted any more"):
        await slow.purge(tenant.uid)
