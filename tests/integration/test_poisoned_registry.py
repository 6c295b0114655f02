"""A malformed row of the registry stops nobody but its own tenant."""

import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from bson.datetime_ms import DatetimeMS

from ocelot_common import mongo
from ocelot_common.provisioning.claiming import TenantSpec
from ocelot_common.provisioning.database import prepare_database
from ocelot_common.provisioning.tenants import Provisioner
from ocelot_common.registry.snapshot import RegistrySnapshot
from ocelot_common.registry.store import RegistryStore, RegistryUnreadableError

pytestmark = [pytest.mark.mongodb]


@pytest_asyncio.fixture(loop_scope="session")
async def store(mongodb_url: str) -> AsyncIterator[RegistryStore]:
    client = mongo.connect(mongodb_url, app_name="tests")
    name = f"registry_{secrets.token_hex(4)}"
    await prepare_database(client[name])
    yield RegistryStore(client[name])
    await client.drop_database(name)
    await client.close()


async def tenant(store: RegistryStore, tenant_id: str) -> Any:
    provisioner = Provisioner(store, None)
    return await provisioner.create(TenantSpec(id=tenant_id, owner="cli"))


@pytest.mark.parametrize(
    "changes",
    [{"state": "Odd"}, {"space": 5}, {"created_at": DatetimeMS(2**62)}, {"retention_days": "x"}],
    ids=str,
)
async def test_a_bad_row_is_left_out_and_all_others_are_read(
    store: RegistryStore, changes: dict[str, Any]
):
    bad, good = await tenant(store, "bad"), await tenant(store, "good")
    await store.database["tenants"].update_one({"_id": bad.uid}, {"$set": changes})
    await store.database["spaces"].update_one({"_id": bad.space}, {"$set": {"period": "eon"}})
    snapshot = RegistrySnapshot(store)
    await snapshot.confirm()
    assert snapshot.fresh
    assert snapshot.home(bad.uid) is None
    found = snapshot.home(good.uid)
    assert found is not None
    assert found.tenant.id == good.id


@pytest.mark.parametrize("value", ["x", None, [1], {"$ref": "x", "$id": 1, "$db": 5}], ids=str)
async def test_what_all_rows_hang_on_is_as_if_the_registry_were_away(
    store: RegistryStore, value: Any
):
    await tenant(store, "good")
    await store.database["counters"].update_one({"_id": "registry"}, {"$set": {"value": value}})
    snapshot = RegistrySnapshot(store)
    with pytest.raises(RegistryUnreadableError):
        await snapshot.confirm()
    assert not snapshot.fresh
