"""Leases on a real MongoDB: one owner at a time, and one that was replaced writes nothing."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from bson.datetime_ms import DatetimeMS
from prometheus_client import CollectorRegistry

from ocelot_common import mongo
from ocelot_common.jobs.model import JobKind, JobState
from ocelot_common.jobs.store import JobExistsError, JobStore
from ocelot_common.provisioning.database import prepare_database
from ocelot_common.queue.gate import Gate
from ocelot_jobs import leases
from ocelot_jobs.leases import Lease, LeaseLostError, claim
from ocelot_jobs.metrics import JobsMetrics
from ocelot_jobs.runner import JobRunner

pytestmark = [pytest.mark.mongodb]
KINDS = [JobKind.REBUILD.value]


@pytest_asyncio.fixture(loop_scope="session")
async def store(mongodb_url: str) -> AsyncIterator[JobStore]:
    """Jobs of a database of their own."""
    client = mongo.connect(mongodb_url, app_name="tests")
    name = f"jobs_{secrets.token_hex(4)}"
    jobs = JobStore(client[name])
    await prepare_database(client[name])
    yield jobs
    await client.drop_database(name)
    await client.close()


async def make(store: JobStore, **more: Any) -> str:
    return (await store.create(JobKind.REBUILD, created_by="jane", **more)).id


async def until_claimed(store: JobStore, owner: str) -> Lease:
    """Wait until a job can be claimed."""
    async with asyncio.timeout(60):
        while (lease := await claim(store, owner, KINDS)) is None:  # noqa: ASYNC110 - time tells
            await asyncio.sleep(0.1)
        return lease


async def test_a_job_has_one_owner_at_a_time(store: JobStore):
    await make(store)
    claims = await asyncio.gather(*(claim(store, f"p{n}", KINDS) for n in range(8)))
    assert [each is not None for each in claims].count(True) == 1


async def test_an_owner_that_does_not_renew_is_replaced_and_can_write_nothing_more(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
):
    job_id = await make(store)
    monkeypatch.setattr(leases, "LEASE_SEC", 3.0)
    first = await claim(store, "first", KINDS)
    assert first is not None
    await first.save(checkpoint={"at": 1}, progress={"done": 1})
    assert await claim(store, "second", KINDS) is None
    second = await until_claimed(store, "second")
    assert second.job.checkpoint == {"at": 1}
    assert second.job.epoch == first.job.epoch + 1
    for write in (
        first.renew(),
        first.save(checkpoint={"at": 0}),
        first.finish(JobState.SUCCEEDED),
        first.put_off(0),
    ):
        with pytest.raises(LeaseLostError):
            await write
    job = await store.get(job_id)
    assert job is not None
    assert (job.checkpoint, job.owner, job.state) == ({"at": 1}, "second", JobState.RUNNING)


async def test_an_owner_that_renews_keeps_the_job(store: JobStore, monkeypatch: pytest.MonkeyPatch):
    await make(store)
    monkeypatch.setattr(leases, "LEASE_SEC", 5.0)
    first = await claim(store, "first", KINDS)
    assert first is not None
    for _ in range(4):
        await asyncio.sleep(1.5)
        await first.renew()
        assert await claim(store, "second", KINDS) is None


async def test_a_job_that_is_put_off_is_begun_again_when_it_is_due(store: JobStore):
    await make(store)
    lease = await claim(store, "first", KINDS)
    assert lease is not None
    await lease.put_off(3, error="away")
    assert await claim(store, "second", KINDS) is None
    again = await until_claimed(store, "second")
    assert again.job.attempts == 1
    assert [error.detail for error in again.job.errors] == ["away"]
    await again.save(progress={"done": 1})
    assert again.job.attempts == 0


async def test_a_recurring_job_is_queued_again_and_a_single_one_is_not(store: JobStore):
    await make(store, key="once")
    once = await claim(store, "p", KINDS)
    assert once is not None
    await once.finish(JobState.SUCCEEDED)
    ended = await store.get(once.job.id)
    assert ended is not None
    assert (ended.state, ended.live) == (JobState.SUCCEEDED, False)
    assert ended.finished_at is not None
    await make(store, key="once")  # its key is free again
    assert (await claim(store, "p", KINDS)) is not None
    recurring_id = await make(store, every_sec=3)
    recurring = await claim(store, "p", KINDS)
    assert recurring is not None
    assert recurring.job.id == recurring_id
    await recurring.finish(JobState.FAILED, error="because")
    assert await claim(store, "p", KINDS) is None
    again = await until_claimed(store, "p")
    again.last = True
    await again.finish(JobState.SUCCEEDED)
    assert (await store.get(recurring_id)).live is False  # type: ignore[union-attr]


async def test_of_live_jobs_one_has_a_key(store: JobStore):
    job_id = await make(store, key="rebuild:logs_acme")
    with pytest.raises(JobExistsError) as raised:
        await make(store, key="rebuild:logs_acme")
    assert raised.value.job.id == job_id
    await make(store)
    await make(store)  # without a key, as many as are asked for


async def test_errors_are_kept_up_to_ten_the_last_ones(store: JobStore):
    await make(store)
    for number in range(13):
        lease = await claim(store, "p", KINDS)
        assert lease is not None
        await lease.put_off(0, error=f"$error {number}")
    job = (await store.find())[0]
    assert [error.detail for error in job.errors] == [f"$error {n}" for n in range(3, 13)]


async def test_cancelling_ends_what_has_not_begun_and_asks_what_has(store: JobStore):
    fresh = await store.request_cancel(await make(store))
    assert fresh is not None
    assert (fresh.state, fresh.live) == (JobState.CANCELLED, False)
    running_id = await make(store)
    lease = await claim(store, "p", KINDS)
    assert lease is not None
    asked = await store.request_cancel(running_id)
    assert asked is not None
    assert (asked.state, asked.cancel_requested) == (JobState.RUNNING, True)
    await lease.renew()
    assert lease.job.cancel_requested
    standing = await store.request_cancel(await make(store, every_sec=60))
    assert standing is not None
    assert (standing.state, standing.cancel_requested) == (JobState.QUEUED, False)
    assert await store.request_cancel("nonsense") is None


async def test_jobs_of_a_newer_release_are_left_alone(store: JobStore):
    await make(store)
    await store.collection.update_one({}, {"$set": {"kind": "erase", "wings": 2}})
    assert await claim(store, "p", KINDS) is None
    (job,) = await store.find()
    assert job.kind == "erase"


#: What another program may make of a job's row.
PLANTED: dict[str, dict[str, Any]] = {
    "epoch is text": {"epoch": "x"},
    "epoch is an array": {"epoch": [1]},
    "no epoch": {"epoch": None},
    "epoch is no whole number": {"epoch": 1.5},
    "specification is text": {"spec": "x"},
    "progress is in words": {"progress": {"done": "much"}},
    "errors are text": {"errors": "x"},
    "due before everything": {"due_at": -1, "spec": 5},
    "key in an array": {"key": ["k", {"a": 1}], "spec": 5},
    "past all dates": {"created_at": DatetimeMS(2**62)},
    "invalid reference": {"spec": {"a": {"$ref": "x", "$id": 1, "$db": 5}}},
}


@pytest.mark.parametrize("changes", PLANTED.values(), ids=PLANTED)
async def test_a_row_that_is_no_job_keeps_nobody_from_the_others(
    store: JobStore, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
):
    planted = await make(store)
    await store.collection.update_one({"_id": planted}, {"$set": changes})
    good = await make(store)
    if "$ref" not in str(changes):
        assert [job.id for job in await store.find()] == [good]
        assert await store.get(planted) is None
    assert all(isinstance(key, str) for key in await store.live_keys())

    registry = CollectorRegistry()
    done = asyncio.Event()

    class Work:
        async def run(self, lease: Lease) -> None:
            assert lease.job.id == good
            done.set()

        async def tidy(self, lease: Lease) -> None:
            del lease

    runner = JobRunner(
        store,
        {JobKind.REBUILD.value: Work()},
        owner="p",
        gate=Gate(),
        slots=1,
        metrics=JobsMetrics(registry),
    )
    running = asyncio.create_task(runner.run())
    async with asyncio.timeout(60):
        await done.wait()
    runner.stop()
    await running
