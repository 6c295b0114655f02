"""A new tenant is never given a collection or an index that holds somebody's data."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest
import pytest_asyncio
from opensearchpy import AsyncOpenSearch
from pymongo.asynchronous.database import AsyncDatabase

from ocelot_common import mongo, opensearch
from ocelot_common.provisioning.claiming import TenantSpec
from ocelot_common.provisioning.errors import LeftoverDataError
from ocelot_common.provisioning.tenants import Provisioner
from ocelot_common.registry.model import Isolation, Space, Tenant
from ocelot_common.registry.store import RegistryStore

pytestmark = [pytest.mark.mongodb, pytest.mark.opensearch]


class Place(NamedTuple):
    """An installation of its own, without services."""

    database: AsyncDatabase[dict[str, Any]]
    search: AsyncOpenSearch
    provisioner: Provisioner

    async def create(
        self, tenant_id: str = "acme", isolation: Isolation = Isolation.DEDICATED
    ) -> Tenant:
        """Create a tenant."""
        return await self.provisioner.create(
            TenantSpec(id=tenant_id, owner="cli", isolation=isolation)
        )

    async def space_of(self, tenant: Tenant) -> Space:
        """The space as the registry has it."""
        space = await RegistryStore(self.database).space(tenant.space)
        assert space is not None
        return space

    async def fill(self, tenant: Tenant) -> Space:
        """Store an event of a tenant."""
        space = await self.space_of(tenant)
        await self.database[space.collection].insert_one({"t": tenant.uid, "old": True})
        return space

    async def drop_indices(self, space: Space) -> None:
        """Delete the indices of a space."""
        for entry in space.indices:
            await self.search.indices.delete(index=entry.index)

    async def forget(self, *kinds: str, tenant: Tenant) -> dict[str, dict[str, Any]]:
        """Delete registry documents behind the service's back; returns them."""
        keys = {"tenants": tenant.uid, "spaces": tenant.space}
        return {
            kind: document
            for kind in kinds
            if (document := await self.database[kind].find_one_and_delete({"_id": keys[kind]}))
        }


@pytest_asyncio.fixture(loop_scope="session")
async def place(mongodb_url: str, opensearch_url: str) -> AsyncIterator[Place]:
    """An empty installation."""
    name = secrets.token_hex(4)
    client = mongo.connect(mongodb_url, app_name="tests")
    search = opensearch.connect(opensearch_url)
    database = client[f"leftover_{name}"]
    yield Place(
        database, search, Provisioner(RegistryStore(database), search, index_prefix=f"{name}_")
    )
    for index in await search.indices.get_alias(index=f"{name}_*"):
        await search.indices.delete(index=index)
    await search.close()
    await client.drop_database(database.name)
    await client.close()


@pytest.mark.parametrize("kinds", [("tenants",), ("tenants", "spaces")])
async def test_a_tenant_whose_registry_documents_are_lost_is_not_replaced_and_can_be_restored(
    place: Place, kinds: tuple[str, ...]
):
    tenant = await place.create()
    space = await place.fill(tenant)
    lost = await place.forget(*kinds, tenant=tenant)
    registry = await place.database["tenants"].count_documents({})

    with pytest.raises(LeftoverDataError) as refused:
        await place.create()

    assert "restore the documents of its tenant" in str(refused.value)
    assert space.collection in str(refused.value)
    assert await place.database["tenants"].count_documents({}) == registry
    for kind, document in lost.items():
        await place.database[kind].insert_one(document)
    assert (await place.create()).uid == tenant.uid
    assert await place.space_of(tenant) == space


async def test_what_the_stores_hold_under_a_lost_tenants_names_is_named_until_it_is_removed(
    place: Place,
):
    tenant = await place.create()
    space = await place.fill(tenant)
    await place.forget("tenants", tenant=tenant)
    with pytest.raises(LeftoverDataError, match="but the space exists"):
        await place.create()
    await place.forget("spaces", tenant=tenant)
    with pytest.raises(LeftoverDataError, match=f"events of the uid {tenant.uid}"):
        await place.create()
    await place.database.drop_collection(space.collection)
    with pytest.raises(LeftoverDataError, match=r"the index '.*' exists"):
        await place.create()
    await place.drop_indices(space)

    again = await place.create()

    assert again.uid != tenant.uid
    assert await place.database[space.collection].count_documents({}) == 0
    assert (await place.space_of(again)).key != space.key


async def test_a_shared_space_that_the_registry_lost_is_not_begun_anew(place: Place):
    tenant = await place.create("one", Isolation.SHARED)
    await place.fill(tenant)
    lost = await place.forget("spaces", tenant=tenant)
    with pytest.raises(LeftoverDataError, match=f"events of the uid {tenant.uid}"):
        await place.create("two", Isolation.SHARED)
    await place.database["spaces"].insert_one(lost["spaces"])
    assert (await place.create("two", Isolation.SHARED)).space == tenant.space


async def test_another_tenants_data_under_a_longer_name_is_no_leftover(place: Place):
    await place.fill(await place.create("acme-corp"))
    assert (await place.create("acme")).live


@pytest.mark.parametrize("isolation", list(Isolation))
async def test_creations_at_once_of_one_new_tenant_make_it_once(place: Place, isolation: Isolation):
    for number in range(3):
        name = f"t{number}"
        made = await asyncio.gather(*(place.create(name, isolation) for _ in range(4)))
        assert len({tenant.uid for tenant in made}) == 1


async def test_creations_at_once_of_the_first_shared_tenants_share_one_space(place: Place):
    made = await asyncio.gather(*(place.create(f"t{n}", Isolation.SHARED) for n in range(4)))
    assert {tenant.space for tenant in made} == {"logs_shared"}
    assert await place.database["spaces"].count_documents({}) == 1
