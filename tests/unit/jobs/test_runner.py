"""What follows from how a job ends, on a store that remembers what was written."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from opensearchpy.exceptions import ConnectionError as OpenSearchConnectionError
from opensearchpy.exceptions import RequestError
from prometheus_client import CollectorRegistry, Gauge
from pymongo.errors import AutoReconnect

from ocelot_common.jobs.model import Job, JobState
from ocelot_common.queue.gate import Gate
from ocelot_jobs import runner as module
from ocelot_jobs.leases import JobFailedError, LeaseLostError, TryAgainError
from ocelot_jobs.metrics import JobsMetrics
from ocelot_jobs.runner import JobRunner


def job(**changes: Any) -> Job:
    now = datetime.now(UTC)
    given: dict[str, Any] = {"id": "1", "kind": "rebuild", "due_at": now, "created_at": now}
    return Job(created_by="jane", epoch=1, **given | changes)


class FakeLease:
    """Remembers what it was told."""

    def __init__(self, given: Job) -> None:
        self.job = given
        self.told: list[Any] = []
        self.renewals: list[Exception | None] = []
        self.last = False

    async def renew(self) -> None:
        await asyncio.sleep(0)
        if self.renewals and (error := self.renewals.pop(0)):
            raise error

    async def finish(self, state: JobState, *, error: str | None = None) -> None:
        self.told.append((state.value, error))

    async def put_off(self, seconds: float, *, error: str | None = None) -> None:
        self.told.append(("put off", seconds, error))


class FakeWork:
    """Does what it is told, and remembers whether it tidied up."""

    def __init__(self, outcome: Exception | None = None, *, endless: bool = False) -> None:
        self.outcome = outcome
        self.endless = endless
        self.tidied = False
        self.interrupted = False

    async def run(self, lease: Any) -> None:
        try:
            if self.endless:
                await asyncio.sleep(3600)
        except asyncio.CancelledError:
            self.interrupted = True
            raise
        if self.outcome:
            raise self.outcome

    async def tidy(self, lease: Any) -> None:
        self.tidied = True


async def end(lease: FakeLease, work: FakeWork) -> FakeLease:
    gate = Gate(Gauge("held", "…", ["cause"], registry=CollectorRegistry()))
    runner = JobRunner(
        Any,  # type: ignore[arg-type]
        {"rebuild": work},
        owner="me",
        gate=gate,
        slots=1,
        metrics=JobsMetrics(CollectorRegistry()),
    )
    await runner._own(lease)  # type: ignore[arg-type]
    return lease


async def test_a_job_that_is_done_has_succeeded():
    lease = await end(FakeLease(job()), FakeWork())
    assert lease.told == [("succeeded", None)]


async def test_a_job_that_cannot_be_done_has_failed_and_is_tidied_up():
    work = FakeWork(JobFailedError("the tenant is gone"))
    lease = await end(FakeLease(job()), work)
    assert lease.told == [("failed", "the tenant is gone")]
    assert work.tidied


@pytest.mark.parametrize(
    "error",
    [
        AutoReconnect("away"),
        OpenSearchConnectionError("N/A", "away", Exception("away")),
        TryAgainError("later"),
        TimeoutError(),
    ],
)
async def test_a_backend_that_is_away_fails_no_job_however_often(error: Exception):
    work = FakeWork(error)
    lease = await end(FakeLease(job(attempts=50)), work)
    ((what, seconds, detail),) = lease.told
    assert what == "put off"
    assert 30 <= seconds <= 60
    assert detail
    assert not work.tidied


async def test_the_reason_of_a_later_attempt_is_the_sentence_itself():
    lease = await end(FakeLease(job()), FakeWork(TryAgainError("OpenSearch is busy.")))
    ((_, _, detail),) = lease.told
    assert detail == "OpenSearch is busy."


async def test_an_unforeseen_error_is_tried_again_and_fails_the_job_the_fifth_time():
    error = RequestError(400, "parsing_exception", {})
    lease = await end(FakeLease(job(attempts=3)), FakeWork(error))
    assert lease.told[0][0] == "put off"
    work = FakeWork(error)
    lease = await end(FakeLease(job(attempts=4)), work)
    assert lease.told[0][0] == "failed"
    assert work.tidied


async def test_a_job_whose_cancellation_was_asked_for_before_it_began_is_only_tidied_up():
    work = FakeWork(endless=True)
    lease = await end(FakeLease(job(cancel_requested=True)), work)
    assert lease.told == [("cancelled", None)]
    assert work.tidied
    assert not work.interrupted


async def test_a_job_that_is_to_stop_is_interrupted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "RENEW_SEC", 0.01)
    work = FakeWork(endless=True)
    lease = FakeLease(job())

    async def ask() -> None:
        await asyncio.sleep(0.05)
        lease.job = msgspec.structs.replace(lease.job, cancel_requested=True)

    await asyncio.gather(end(lease, work), ask())
    assert lease.told == [("cancelled", None)]
    assert work.interrupted
    assert work.tidied


async def test_a_lost_lease_ends_the_work_and_writes_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "RENEW_SEC", 0.01)
    work = FakeWork(endless=True)
    lease = FakeLease(job())
    lease.renewals = [None, LeaseLostError("1")]
    await end(lease, work)
    assert work.interrupted
    assert not work.tidied
    assert lease.told == []


async def test_work_stops_before_a_lease_that_cannot_be_renewed_has_run_out(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(module, "RENEW_SEC", 0.02)
    monkeypatch.setattr(module, "LEASE_SEC", 0.3)
    monkeypatch.setattr(module, "_MARGIN_SEC", 0.1)
    work = FakeWork(endless=True)
    lease = FakeLease(job())
    lease.renewals = [AutoReconnect("away")] * 1_000
    await end(lease, work)
    assert work.interrupted
    assert lease.told == []
