"""Runs jobs: claims them, keeps their leases, and decides what follows from how they end."""

import asyncio
import random
from collections.abc import Mapping
from typing import Final, Protocol

from bson.errors import BSONError
from opensearchpy.exceptions import TransportError
from pymongo.errors import PyMongoError

from ocelot_common.jobs.model import JobState
from ocelot_common.jobs.store import JobStore
from ocelot_common.opensearch import is_transient
from ocelot_common.queue.gate import Gate
from ocelot_common.queue.keys import NoSigningKeyError
from ocelot_common.queue.sending import SQS_ERRORS
from ocelot_common.tasks import cancel_and_wait
from ocelot_common.telemetry.logs import get_logger
from ocelot_common.versioned import NewerVersionError
from ocelot_jobs.leases import (
    LEASE_SEC,
    RENEW_SEC,
    JobFailedError,
    Lease,
    LeaseLostError,
    TryAgainError,
    claim,
)
from ocelot_jobs.metrics import JobsMetrics

_CLAIM_EVERY_SEC: Final = 1.0
#: Attempts of a job that fail one after the other, without a checkpoint between them, by an error
#: that waiting does not heal.
_MAX_ATTEMPTS: Final = 5
#: Pause after a failed attempt: the first, doubled each time, and the longest.
_BACK_OFF_SEC: Final = (1.0, 60.0)
#: Before the lease ends, so that whoever takes over meets no effect of ours.
_MARGIN_SEC: Final = 3.0

_HEALING: Final = (
    PyMongoError,
    *SQS_ERRORS,
    NewerVersionError,
    NoSigningKeyError,
    TryAgainError,
    TimeoutError,
    OSError,
)

log = get_logger(__name__)


class Work(Protocol):
    """What a kind of job does. Every effect is safe to repeat."""

    async def run(self, lease: Lease) -> None:
        """Do it, from the checkpoint on; return when it is done.

        Raises:
            JobFailedError: it can't be done.
        """
        ...

    async def tidy(self, lease: Lease) -> None:
        """Leave things whole: the job was cancelled or failed, and nobody goes on."""
        ...


class _CancelledByRequestError(Exception):
    """Somebody asked for the job to stop."""


class JobRunner:
    """Runs up to `slots` jobs at once until it is told to stop.

    Args:
        jobs: the store.
        work: by kind.
        owner: this process, for people.
        gate: while it is shut, no job is begun.
        slots: how many at once.
        metrics: counts.
    """

    def __init__(
        self,
        jobs: JobStore,
        work: Mapping[str, Work],
        *,
        owner: str,
        gate: Gate,
        slots: int,
        metrics: JobsMetrics,
    ) -> None:
        self._jobs = jobs
        self._work = work
        self._owner = owner
        self._gate = gate
        self._slots = slots
        self._metrics = metrics
        self._stopping = asyncio.Event()
        self._running: dict[asyncio.Task[None], Lease] = {}

    async def run(self) -> None:
        """Claim and run until `stop`; what runs then is given back, to be gone on with."""
        while not self._stopping.is_set():
            while len(self._running) < self._slots and self._gate.is_open and await self._begin():
                pass
            stop = asyncio.ensure_future(self._stopping.wait())
            await asyncio.wait(
                {stop, *self._running},
                timeout=_CLAIM_EVERY_SEC,
                return_when=asyncio.FIRST_COMPLETED,
            )
            stop.cancel()
        await cancel_and_wait(self._running)

    def stop(self) -> None:
        """Begin nothing more, and interrupt what runs: its next owner goes on at its checkpoint."""
        self._stopping.set()

    async def abandon(self) -> None:
        """Leases end by themselves."""

    async def _begin(self) -> bool:
        try:
            lease = await claim(self._jobs, self._owner, list(self._work))
        except (PyMongoError, BSONError) as error:
            log.warning("job_not_claimed", error=repr(error)[:300])
            return False
        if lease is None:
            return False
        task = asyncio.create_task(self._own(lease), name=f"job-{lease.job.id}")
        self._running[task] = lease
        self._metrics.running.labels(lease.job.kind).inc()
        task.add_done_callback(self._ended)
        return True

    def _ended(self, task: asyncio.Task[None]) -> None:
        lease = self._running.pop(task)
        self._metrics.running.labels(lease.job.kind).dec()
        if not task.cancelled() and (error := task.exception()) is not None:
            # Its lease runs out, and the job is tried again.
            log.error("job_crashed", job=lease.job.id, kind=lease.job.kind, exc_info=error)

    async def _own(self, lease: Lease) -> None:
        """Run one job and write how it ended."""
        job = lease.job
        note = log.debug if job.every_sec else log.info
        note("job_begun", job=job.id, kind=job.kind, tenant_uid=job.uid, epoch=job.epoch)
        try:
            outcome = await self._attempt(lease)
        except LeaseLostError:
            log.warning("job_lost", job=job.id, kind=job.kind)
            outcome = "lost"
        except asyncio.CancelledError:
            # Only what waits for the store here may outlast the process's time to end.
            await lease.put_off(0)
            raise
        except PyMongoError as error:
            # The store did not take the end; the lease runs out, and the job goes on.
            log.warning("job_end_not_written", job=job.id, kind=job.kind, error=repr(error)[:300])
            outcome = "unsaved"
        self._metrics.runs.labels(job.kind, outcome).inc()

    async def _attempt(self, lease: Lease) -> str:
        job, work = lease.job, self._work[lease.job.kind]
        try:
            await self._while_owned(lease, work)
        except _CancelledByRequestError:
            await work.tidy(lease)
            await lease.finish(JobState.CANCELLED)
            log.info("job_cancelled", job=job.id, kind=job.kind)
            return JobState.CANCELLED.value
        except (LeaseLostError, asyncio.CancelledError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the job's, and is told
            return await self._fail(lease, work, error)
        await lease.finish(JobState.SUCCEEDED)
        note = log.debug if job.every_sec else log.info
        note("job_succeeded", job=job.id, kind=job.kind, **lease.job.progress)
        return JobState.SUCCEEDED.value

    async def _fail(self, lease: Lease, work: Work, error: Exception) -> str:
        job = lease.job
        told = isinstance(error, JobFailedError | TryAgainError)
        detail = str(error) if told else repr(error)
        log.warning("job_attempt_failed", job=job.id, kind=job.kind, error=detail[:500])
        final = isinstance(error, JobFailedError) or (
            not _heals(error) and job.attempts + 1 >= _MAX_ATTEMPTS
        )
        if final:
            await work.tidy(lease)
            await lease.finish(JobState.FAILED, error=detail)
            log.error("job_failed", job=job.id, kind=job.kind, error=detail[:500])
            return JobState.FAILED.value
        first, longest = _BACK_OFF_SEC
        pause = min(first * 2 ** min(job.attempts, 10), longest)
        await lease.put_off(pause * random.uniform(0.5, 1), error=detail)  # noqa: S311
        return "retried"

    async def _while_owned(self, lease: Lease, work: Work) -> None:
        """Run the work; interrupt it when the lease is lost or nobody wants it any more."""
        if lease.job.cancel_requested:
            raise _CancelledByRequestError
        running = asyncio.create_task(work.run(lease))
        keeping = asyncio.create_task(_keep(lease))
        try:
            await asyncio.wait({running, keeping}, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
            else:
                keeping.result()
        finally:
            await cancel_and_wait((running, keeping))


async def _keep(lease: Lease) -> None:
    """Renew a lease until it is lost; never returns.

    Raises:
        LeaseLostError: another may own the job now.
        _CancelledByRequestError: the job is to stop.
    """
    loop = asyncio.get_running_loop()
    renewed = loop.time()
    while True:
        await asyncio.sleep(RENEW_SEC)
        began = loop.time()
        try:
            async with asyncio.timeout(max(0.0, renewed + LEASE_SEC - _MARGIN_SEC - began)):
                await lease.renew()
        except PyMongoError as error:
            log.warning("lease_not_renewed", job=lease.job.id, error=repr(error)[:300])
            if loop.time() >= renewed + LEASE_SEC - _MARGIN_SEC - RENEW_SEC:
                raise LeaseLostError(lease.job.id) from error
            continue
        except TimeoutError:
            raise LeaseLostError(lease.job.id) from None
        renewed = began
        if lease.job.cancel_requested:
            raise _CancelledByRequestError


def _heals(error: Exception) -> bool:
    """Whether the same attempt may succeed once a backend is back."""
    if isinstance(error, TransportError):
        return is_transient(error)
    return isinstance(error, _HEALING)
