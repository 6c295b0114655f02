"""Preparing MongoDB: by many at once, on an empty database and on one with doubled jobs."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry
from pymongo.asynchronous.database import AsyncDatabase

from ocelot_common import mongo
from ocelot_common.ids import format_id, new_id
from ocelot_common.jobs.doubles import end_doubles
from ocelot_common.jobs.model import Job, JobKind, JobState
from ocelot_common.jobs.store import JobStore, to_document
from ocelot_common.provisioning.claiming import TenantSpec
from ocelot_common.provisioning.database import prepare_database
from ocelot_common.provisioning.tenants import Provisioner
from ocelot_common.queue.gate import Gate
from ocelot_common.registry.mark import LAYOUT, NotPreparedError, require_mark, write_mark
from ocelot_common.registry.store import RegistryStore
from ocelot_jobs.leases import claim
from ocelot_jobs.metrics import JobsMetrics
from ocelot_jobs.runner import JobRunner

pytestmark = [pytest.mark.mongodb]


@pytest_asyncio.fixture(loop_scope="session")
async def database(mongodb_url: str) -> AsyncIterator[AsyncDatabase[dict[str, Any]]]:
    """An empty database."""
    client = mongo.connect(mongodb_url, app_name="tests")
    name = f"empty_{secrets.token_hex(4)}"
    yield client[name]
    await client.drop_database(name)
    await client.close()


async def until(probe: Callable[[], Awaitable[bool]]) -> None:
    """Wait until a probe says yes."""
    async with asyncio.timeout(60):
        while not await probe():  # noqa: ASYNC110 - any condition
            await asyncio.sleep(0.05)


async def double(database: AsyncDatabase[dict[str, Any]], kind: JobKind, **more: Any) -> str:
    """A job as two processes queued it that started together."""
    now = datetime.now(UTC)
    job = Job(
        id=format_id(new_id()),
        kind=kind.value,
        key=kind.value,
        due_at=now,
        created_by="ocelot",
        created_at=now,
        **{"every_sec": 60} | more,
    )
    await database["jobs"].insert_one(to_document(job))
    return job.id


async def test_processes_that_prepare_an_empty_database_at_once_all_succeed(
    database: AsyncDatabase[dict[str, Any]],
):
    for _ in range(5):
        await database.client.drop_database(database.name)
        with pytest.raises(NotPreparedError, match="has not been prepared"):
            await require_mark(database)
        await asyncio.gather(*(prepare_database(database) for _ in range(8)))
        await require_mark(database)
        indexes = await database["jobs"].index_information()
        assert indexes["live_key"]["unique"]
        assert (await database["tenants"].index_information())["live_id"]["unique"]


async def test_doubled_jobs_are_ended_by_any_number_of_processes_and_tenants_can_be_created(
    database: AsyncDatabase[dict[str, Any]],
):
    kept = {kind: await double(database, kind) for kind in (JobKind.PERIODS, JobKind.DRAIN)}
    for kind in (JobKind.PERIODS, JobKind.DRAIN, JobKind.PERIODS):
        await double(database, kind)
    await asyncio.gather(*(prepare_database(database) for _ in range(4)))
    live = [job for job in await JobStore(database).find() if job.live]
    assert {job.kind: job.id for job in live} == kept
    assert len(live) == 2
    provisioner = Provisioner(RegistryStore(database), None)
    assert (await provisioner.create(TenantSpec(id="acme", owner="cli"))).live


async def test_the_oldest_of_doubled_jobs_is_kept_whoever_asks_and_however_often(
    database: AsyncDatabase[dict[str, Any]],
):
    kept = await double(database, JobKind.REBUILD, every_sec=None)
    await double(database, JobKind.REBUILD, every_sec=None)
    store = JobStore(database)
    ended = await asyncio.gather(*(end_doubles(store.collection) for _ in range(4)))
    assert max(ended) == 1
    assert await end_doubles(store.collection) == 0
    assert [job.id for job in await store.find() if job.live] == [kept]


class Endless:
    """Work that never ends by itself."""

    def __init__(self) -> None:
        self.tidied: list[str] = []

    async def run(self, lease: Any) -> None:
        del lease
        await asyncio.Event().wait()

    async def tidy(self, lease: Any) -> None:
        self.tidied.append(lease.job.id)


async def test_a_doubled_job_that_somebody_works_on_is_tidied_up_and_does_not_recur(
    database: AsyncDatabase[dict[str, Any]],
):
    store, work = JobStore(database), Endless()
    kept = await double(database, JobKind.PERIODS)
    doubled = await double(database, JobKind.PERIODS)
    runner = JobRunner(
        store,
        {JobKind.PERIODS.value: work},
        owner="one",
        gate=Gate(),
        slots=2,
        metrics=JobsMetrics(CollectorRegistry()),
    )
    running = asyncio.create_task(runner.run())

    async def both_run() -> bool:
        return len(await store.find(states=[JobState.RUNNING.value])) == 2

    async def one_ended() -> bool:
        job = await store.get(doubled)
        return job is not None and job.state is JobState.CANCELLED

    try:
        await until(both_run)
        await prepare_database(database)
        await until(one_ended)
        assert work.tidied == [doubled]
        assert [job.id for job in await store.find() if job.live] == [kept]
    finally:
        runner.stop()
        await running


async def test_a_doubled_job_that_has_a_checkpoint_is_tidied_up_by_its_next_owner(
    database: AsyncDatabase[dict[str, Any]],
):
    store = JobStore(database)
    await double(database, JobKind.PURGE)
    doubled = await double(database, JobKind.PURGE, checkpoint={"doomed": []}, epoch=3)
    await prepare_database(database)
    job = await store.get(doubled)
    assert job is not None
    assert (job.live, job.key, job.every_sec, job.cancel_requested) == (True, None, None, True)
    leases = [await claim(store, "next", [JobKind.PURGE.value]) for _ in range(2)]
    assert doubled in [lease.job.id for lease in leases if lease]


async def test_a_mark_of_a_newer_release_stays_and_is_enough(
    database: AsyncDatabase[dict[str, Any]],
):
    await database["installation"].insert_one({"_id": "layout", "version": LAYOUT + 1})
    await write_mark(database)
    await require_mark(database)
    mark = await database["installation"].find_one({"_id": "layout"})
    assert mark is not None
    assert mark["version"] == LAYOUT + 1


@pytest.mark.parametrize("version", [LAYOUT - 1, None, "1", {}])
async def test_a_mark_of_an_older_release_or_of_another_type_is_not_enough_and_is_replaced(
    database: AsyncDatabase[dict[str, Any]], version: object
):
    await database["installation"].insert_one({"_id": "layout", "version": version})
    with pytest.raises(NotPreparedError):
        await require_mark(database)
    await write_mark(database)
    await require_mark(database)
