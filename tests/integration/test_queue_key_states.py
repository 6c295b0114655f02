"""States of queue keys, on a registry of its own."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from ocelot_common import mongo
from ocelot_common.names import QUEUE_KEY_USE
from ocelot_common.provisioning.database import prepare_database
from ocelot_common.provisioning.queue_keys import (
    QueueKeyError,
    lose_queue_key,
    retire_queue_key,
)
from ocelot_common.queue.keys import add_key, new_queue_key
from ocelot_common.registry.model import QueueKeyRow, QueueKeyState
from ocelot_common.registry.store import RegistryStore, RegistryTransaction
from ocelot_devstack.provisioning import open_tenant_maker
from queuekit.signing import key_of, row

pytestmark = [pytest.mark.mongodb]


class Other(NamedTuple):
    """Another key than the one that is to be retired, which last signed 20 days ago.

    Attributes:
        state: in the registry; None where the registry does not have it.
        first: days since it first signed; None for never.
        last: days since it last signed.
    """

    state: QueueKeyState | None = QueueKeyState.ACTIVE
    first: float | None = 16
    last: float | None = 0


KEEPS = {
    "which is lost": Other(state=QueueKeyState.LOST),
    "which is retired": Other(state=QueueKeyState.RETIRED),
    "which the registry does not have": Other(state=None),
    "which has never signed": Other(first=None, last=None),
    "which first signed 14 days ago": Other(first=14),
    "which last signed before the key did": Other(first=60, last=21),
}


@pytest_asyncio.fixture(loop_scope="session")
async def store(installation: Any) -> AsyncIterator[RegistryStore]:
    client = mongo.connect(installation.mongodb_url, app_name="tests")
    database = client[installation.installation.mongodb_database]
    await prepare_database(database)
    yield RegistryStore(database)
    await client.close()


async def make(store: RegistryStore, state: QueueKeyState | None, **days_ago: float | None) -> str:
    """A key of 60 days ago, and when it signed; its id."""
    key, now = new_queue_key(), datetime.now(UTC)

    async def insert(transaction: RegistryTransaction) -> None:
        made = now - timedelta(days=60)
        await transaction.insert(
            row(key, state or QueueKeyState.ACTIVE, version=transaction.version, created_at=made)
        )

    if state is not None:
        await store.write(insert)
    use = {
        f"{which}_sent_at": now - timedelta(days=days)
        for which, days in days_ago.items()
        if days is not None
    }
    if use:
        await store.database[QUEUE_KEY_USE].insert_one({"_id": key.kid, **use})
    return key.kid


@pytest.mark.parametrize("other", KEEPS.values(), ids=KEEPS)
async def test_a_key_stays_beside_another_one(store: RegistryStore, other: Other):
    kid = await make(store, QueueKeyState.ACTIVE, first=50, last=20)
    await make(store, other.state, first=other.first, last=other.last)
    with pytest.raises(QueueKeyError, match="o other key has signed for 15 days"):
        await retire_queue_key(store, kid)
    found = await store.queue_key(kid)
    assert found is not None
    assert found.state is QueueKeyState.ACTIVE


async def test_a_key_is_retired_beside_one_that_has_signed_for_15_days_since(
    store: RegistryStore,
):
    kid = await make(store, QueueKeyState.ACTIVE, first=50, last=20)
    await make(store, QueueKeyState.ACTIVE, first=16, last=0)
    assert (await retire_queue_key(store, kid)).state is QueueKeyState.RETIRED


async def test_make_dev_starts_with_a_key_file_that_holds_a_lost_key(
    installation: Any, store: RegistryStore
):
    async with open_tenant_maker(installation.installation):
        lost = key_of(installation)
    await lose_queue_key(store, lost.kid)
    fresh = new_queue_key()
    add_key(installation.installation.queue_keys_file, fresh)
    async with open_tenant_maker(installation.installation):
        pass
    states = {each.kid: each.state for each in await store.since(QueueKeyRow, 0)}
    assert states == {lost.kid: QueueKeyState.LOST, fresh.kid: QueueKeyState.ACTIVE}
