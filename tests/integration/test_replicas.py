"""Shards and replicas of the indices, as the tenant or the installation says."""

import secrets
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest
import pytest_asyncio
from opensearchpy import AsyncOpenSearch

from ocelot_common import mongo, opensearch
from ocelot_common.provisioning.claiming import SharedSpaceSpec, TenantSpec
from ocelot_common.provisioning.indices import IndexMaker
from ocelot_common.provisioning.tenants import Provisioner
from ocelot_common.registry.model import Isolation, Space
from ocelot_common.registry.store import RegistryStore

pytestmark = [pytest.mark.mongodb, pytest.mark.opensearch]

SHARED = SharedSpaceSpec(shards=2, replicas=1)


class Place(NamedTuple):
    """An installation of its own, on one OpenSearch node, without services."""

    store: RegistryStore
    search: AsyncOpenSearch
    provisioner: Provisioner

    async def create(self, tenant_id: str, **more: Any) -> Space:
        """Create a tenant; returns its space."""
        spec = TenantSpec(id=tenant_id, owner="cli", **more)
        space = await self.store.space((await self.provisioner.create(spec)).space)
        assert space is not None
        return space

    async def settings(self, index: str) -> dict[str, Any]:
        """The settings of an index."""
        answer = await self.search.indices.get_settings(index=index)
        settings: dict[str, Any] = answer[index]["settings"]["index"]
        return settings


@pytest_asyncio.fixture(loop_scope="session")
async def place(mongodb_url: str, opensearch_url: str) -> AsyncIterator[Place]:
    """An empty installation."""
    name = secrets.token_hex(4)
    client = mongo.connect(mongodb_url, app_name="tests")
    search = opensearch.connect(opensearch_url)
    store = RegistryStore(client[f"replicas_{name}"])
    provisioner = Provisioner(store, search, index_prefix=f"{name}_", shared=SHARED)
    yield Place(store, search, provisioner)
    for index in await search.indices.get_alias(index=f"{name}_*"):
        await search.indices.delete(index=index)
    await search.close()
    await client.drop_database(store.database.name)
    await client.close()


async def test_replicas_that_nobody_chose_follow_the_number_of_nodes(place: Place):
    space = await place.create("acme")
    for entry in space.indices:
        settings = await place.settings(entry.index)
        assert (settings["auto_expand_replicas"], settings["number_of_replicas"]) == ("0-1", "0")


async def test_replicas_that_were_chosen_stay_whatever_the_number_of_nodes(place: Place):
    for replicas in (0, 1):
        space = await place.create(f"acme-{replicas}", replicas=replicas, shards=3)
        for entry in space.indices:
            settings = await place.settings(entry.index)
            assert settings["number_of_replicas"] == str(replicas)
            assert settings["number_of_shards"] == "3"
            assert settings.get("auto_expand_replicas", "false") == "false"


async def test_the_shared_space_has_the_installations_shards_and_replicas(place: Place):
    space = await place.create("one", isolation=Isolation.SHARED)
    for entry in space.indices:
        settings = await place.settings(entry.index)
        assert (settings["number_of_shards"], settings["number_of_replicas"]) == ("2", "1")


@pytest.mark.parametrize("replicas", [None, 1])
async def test_an_index_that_a_rebuild_filled_gets_the_replicas_of_its_space(
    place: Place, replicas: int | None
):
    space = await place.create("acme", replicas=replicas)
    maker = IndexMaker(place.store, place.search)
    index = maker.next_index(space, space.indices[0])
    await maker.make_next(space, index)
    filling = await place.settings(index)
    assert (filling["number_of_replicas"], filling["refresh_interval"]) == ("0", "-1")
    assert "auto_expand_replicas" not in filling

    await maker.put_in_use(space, index)

    used = await place.settings(index)
    assert used["refresh_interval"] == "1s"
    if replicas is None:
        assert used["auto_expand_replicas"] == "0-1"
    else:
        assert used["number_of_replicas"] == str(replicas)
