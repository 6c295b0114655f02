"""Recurring jobs on a real MongoDB: one of each, as long as it has work."""

import asyncio
import secrets
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from ocelot_common import mongo
from ocelot_common.jobs.model import JobKind, JobState
from ocelot_common.jobs.store import JobStore
from ocelot_common.provisioning.claiming import TenantSpec
from ocelot_common.provisioning.database import prepare_database
from ocelot_common.provisioning.tenants import Provisioner
from ocelot_common.registry.snapshot import RegistrySnapshot
from ocelot_common.registry.store import RegistryStore
from ocelot_jobs.leases import claim
from ocelot_jobs.standing import queue_missing

pytestmark = [pytest.mark.mongodb]
EVERY_SEC = {JobKind.PURGE: 60}


@pytest_asyncio.fixture(loop_scope="session")
async def registry(mongodb_url: str) -> AsyncIterator[RegistryStore]:
    """A registry, and jobs, in a database of their own."""
    client = mongo.connect(mongodb_url, app_name="tests")
    name = f"standing_{secrets.token_hex(4)}"
    store = RegistryStore(client[name])
    await prepare_database(client[name])
    yield store
    await client.drop_database(name)
    await client.close()


@pytest_asyncio.fixture(loop_scope="session")
async def jobs(registry: RegistryStore) -> JobStore:
    return JobStore(registry.database)


async def snapshot_of(registry: RegistryStore) -> RegistrySnapshot:
    """The registry as it is now; it does not follow it."""
    snapshot = RegistrySnapshot(registry)
    await snapshot.start()
    await snapshot.wait_fresh()
    await snapshot.close()
    return snapshot


async def test_a_tenant_that_ended_gets_no_second_purge_from_a_late_snapshot(
    registry: RegistryStore, jobs: JobStore
):
    provisioner = Provisioner(registry, None)
    tenant = await provisioner.create(TenantSpec(id="acme", owner="cli", retention_days=1))
    late = await snapshot_of(registry)
    await asyncio.gather(*(queue_missing(jobs, late, registry, EVERY_SEC) for _ in range(3)))
    lease = await claim(jobs, "first", [JobKind.PURGE.value])
    assert lease is not None
    await provisioner.delete("acme", owner="cli", now=True)
    lease.last = True
    await lease.finish(JobState.SUCCEEDED)
    seen = late.tenant(tenant.uid)
    assert seen is not None
    assert seen.live
    await queue_missing(jobs, late, registry, EVERY_SEC)
    assert [(job.kind, job.live) for job in await jobs.find()] == [("purge", False)]
