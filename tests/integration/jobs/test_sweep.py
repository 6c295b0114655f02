"""What turns up of a tenant after its purge is removed, and nothing of anybody else."""

from typing import Any

import pytest
from bson import Binary

from ocelot_common.ids import format_id, new_id
from ocelot_common.names import index_name, new_uid
from ocelot_common.provisioning.errors import ProvisioningError
from ocelot_common.provisioning.removal import DataRemoval
from ocelot_common.registry.model import Isolation, Space, Tenant
from ocelot_common.search_document import document_id, index_body
from ocelot_common.stored import store_key

pytestmark = [pytest.mark.mongodb, pytest.mark.sqs, pytest.mark.opensearch]

LINE = b'{"action":"document.update","actor":{"id":"u"}}'


async def indexed(running: Any, space: Space, uid: str) -> int:
    number = 0
    for entry in space.indices:
        await running.search.indices.refresh(index=entry.index)
        answer = await running.search.count(index=entry.index, body={"query": {"term": {"t": uid}}})
        number += answer["count"]
    return number


async def write_late(running: Any, tenant: Tenant, space: Space) -> None:
    """Write into both stores as a process does whose registry is from before the purge."""
    event_id = new_id()
    await running.database[space.collection].insert_one(
        {"_id": store_key(tenant, event_id), "t": tenant.uid}
    )
    for entry in space.indices:
        await running.search.index(
            index=entry.index,
            id=document_id(tenant, event_id),
            body={"id": format_id(event_id), "t": tenant.uid},
            params={"routing": tenant.uid},
        )


async def test_late_documents_of_purged_shared_tenants_are_removed_from_both_stores(running: Any):
    gone = [await running.tenant(isolation=Isolation.SHARED) for _ in range(3)]
    other = await running.tenant(isolation=Isolation.SHARED)
    for access in (*gone, other):
        await running.post_lines(access, [LINE])
        await running.until_indexed(access.tenant, 1)
    space = await running.space_of(other.tenant)
    for access in gone:
        await running.maker.provisioner.delete(access.tenant.id, owner="cli", now=True)
    for access in gone[:2]:
        await write_late(running, access.tenant, space)

    async def none_left() -> bool:
        counts = [await indexed(running, space, access.tenant.uid) for access in gone]
        uids = {"$in": [access.tenant.uid for access in gone]}
        stored = await running.database[space.collection].count_documents({"t": uids})
        return not any(counts) and not stored

    await running.eventually(none_left, what="no documents of the purged tenants")
    assert await indexed(running, space, other.tenant.uid) == 1
    assert len(await running.stored(other.tenant)) == 1


async def test_documents_of_a_uid_that_the_registry_does_not_know_are_kept(running: Any):
    """They may be of a tenant whose registry document was lost."""
    access = await running.tenant(isolation=Isolation.SHARED)
    space = await running.space_of(access.tenant)
    unknown = new_uid()
    key = Binary(bytes.fromhex(unknown) + new_id())
    await running.database[space.collection].insert_one({"_id": key, "t": unknown})
    swept = await running.tenant(isolation=Isolation.SHARED)
    await running.maker.provisioner.delete(swept.tenant.id, owner="cli", now=True)
    await write_late(running, swept.tenant, space)

    async def is_swept() -> bool:
        return not await indexed(running, space, swept.tenant.uid)

    await running.eventually(is_swept, what="a sweep")
    assert await running.database[space.collection].count_documents({"_id": key}) == 1
    await running.database[space.collection].delete_one({"_id": key})


async def test_a_late_collection_and_index_of_a_purged_dedicated_tenant_are_removed(running: Any):
    access = await running.tenant()
    space = await running.space_of(access.tenant)
    await running.maker.provisioner.delete(access.tenant.id, owner="cli", now=True)
    again = await running.tenant(access.tenant.id)
    await running.post_lines(again, [LINE])
    late = index_name(space.indices[0].alias, 7)
    foreign = index_name(space.indices[0].alias, 8)
    for index, key in ((late, space.key), (foreign, "another")):
        body = index_body(space_key=key, shards=1, replicas=0, aliases=[])
        await running.search.indices.create(index=index, body=body)
    await running.database[space.collection].insert_one({"t": access.tenant.uid})

    async def none_left() -> bool:
        names = await running.database.list_collection_names()
        there = await running.search.indices.exists(index=late)
        return space.collection not in names and not there

    await running.eventually(none_left, what="neither collection nor index")
    assert await running.search.indices.exists(index=foreign)
    assert len(await running.until_indexed(again.tenant, 1)) == 1
    await running.search.indices.delete(index=foreign)


async def test_a_process_without_opensearch_removes_nothing_of_an_indexed_space(running: Any):
    access = await running.tenant(isolation=Isolation.SHARED)
    await running.post_lines(access, [LINE])
    await running.until_indexed(access.tenant, 1)
    space = await running.space_of(access.tenant)
    with pytest.raises(ProvisioningError, match="OPENSEARCH_URL"):
        await DataRemoval(running.maker.store, None).from_shared_space(space, [access.tenant.uid])
    assert len(await running.stored(access.tenant)) == 1
