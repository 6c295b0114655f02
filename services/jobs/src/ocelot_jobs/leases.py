"""Leases: who works on a job now, so that one that dies is replaced (design §10).

Times are MongoDB's own: the clocks of two processes need not agree.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from pymongo import ReturnDocument
from pymongo.asynchronous.client_session import AsyncClientSession

from ocelot_common.jobs.model import KEPT_ERRORS, Job, JobState
from ocelot_common.jobs.store import JobStore, to_job
from ocelot_common.telemetry.logs import get_logger

Document = dict[str, Any]

#: A lease that is not renewed ends after so long; its owner renews it ten times as often.
LEASE_SEC: Final = 20.0
RENEW_SEC: Final = 2.0

log = get_logger(__name__)

_GIVEN_BACK: Final[Document] = {"lease_until": "$$NOW", "owner": "", "phase": ""}


class LeaseLostError(Exception):
    """Another process owns the job now, or it has ended: whoever held it must stop."""


class TryAgainError(Exception):
    """This attempt at a job can't succeed, and a later one may; the message says why."""


class JobFailedError(Exception):
    """The job can't be done, however often it is tried; the message says why."""


class Lease:
    """A job that this process owns; every write of it is conditional on the epoch.

    Attributes:
        job: as it was last read or written.
        last: set by the work of a recurring job that is never to be done again.
    """

    def __init__(self, store: JobStore, job: Job) -> None:
        self._store = store
        self.job = job
        self.last = False

    async def renew(self) -> None:
        """Own the job for `LEASE_SEC` more, and read what others asked of it.

        Raises:
            LeaseLostError: it is another's.
            pymongo.errors.PyMongoError: the store is away; the lease runs on.
        """
        await self._write([{"$set": {"lease_until": _from_now(LEASE_SEC)}}])

    async def save(
        self,
        *,
        checkpoint: Mapping[str, Any] | None = None,
        progress: Mapping[str, int] | None = None,
        session: AsyncClientSession | None = None,
    ) -> None:
        """Write how far the job is; whoever goes on begins there.

        Args:
            checkpoint: in place of the one before; None leaves that.
            progress: the same.
            session: of a transaction, which then holds only if the lease does.

        Raises:
            LeaseLostError: it is another's.
        """
        changes: Document = {"attempts": 0}
        if checkpoint is not None:
            changes["checkpoint"] = dict(checkpoint)
        if progress is not None:
            changes["progress"] = dict(progress)
        await self._write({"$set": changes}, session)

    async def enter(self, phase: str, progress: Mapping[str, int] | None = None) -> None:
        """Tell people what is done from now on; the attempt has got no further by that.

        Args:
            phase: the name.
            progress: in place of the one before; None leaves that.

        Raises:
            LeaseLostError: it is another's.
        """
        changes: Document = {"phase": str(phase)}
        if progress is not None:
            changes["progress"] = dict(progress)
        await self._write({"$set": changes})

    async def finish(self, state: JobState, *, error: str | None = None) -> None:
        """End the job; a recurring one waits for its next time, whatever became of this one.

        Raises:
            LeaseLostError: it is another's.
        """
        again = None if self.last else self.job.every_sec
        changes: Document = {**_GIVEN_BACK, "finished_at": "$$NOW"}
        if again is not None:
            changes |= {"state": JobState.QUEUED.value, "due_at": _from_now(again), "attempts": 0}
        else:
            changes |= {"state": state.value, "live": False}
        if error is not None:
            changes["errors"] = _with_error(error)
        await self._write([{"$set": changes}])

    async def put_off(self, seconds: float, *, error: str | None = None) -> None:
        """Give the job back, to be begun again after `seconds`.

        Args:
            seconds: from now.
            error: of an attempt that failed; without it, the process ends.
        """
        changes: Document = {
            **_GIVEN_BACK,
            "state": JobState.QUEUED.value,
            "due_at": _from_now(seconds),
        }
        if error is not None:
            changes |= {"errors": _with_error(error), "attempts": {"$add": ["$attempts", 1]}}
        await self._write([{"$set": changes}])

    async def _write(
        self, change: Document | list[Document], session: AsyncClientSession | None = None
    ) -> None:
        document = await self._store.collection.find_one_and_update(
            {
                "_id": self.job.id,
                "epoch": self.job.epoch,
                "owner": self.job.owner,
                "state": JobState.RUNNING.value,
            },
            change,
            return_document=ReturnDocument.AFTER,
            session=session,
        )
        if document is None:
            raise LeaseLostError(self.job.id)
        self.job = to_job(document)


async def claim(store: JobStore, owner: str, kinds: list[str]) -> Lease | None:
    """Take over the job that has been due longest, if there is one that nobody works on.

    A row that is not a job, because another program wrote it, is failed and passed over.

    Args:
        store: of the jobs.
        owner: this process.
        kinds: that it knows; those of a newer release are left alone.

    Raises:
        pymongo.errors.PyMongoError: the store is away.
        bson.errors.BSONError: the row cannot even be decoded; it is not taken for a while.
    """
    free = {
        "live": True,
        "kind": {"$in": kinds},
        "$expr": {
            "$and": [
                {"$lte": ["$due_at", "$$NOW"]},
                {"$lte": ["$lease_until", "$$NOW"]},
                # MongoDB refuses to add to anything else, and nobody would have a job any more.
                {"$isNumber": "$epoch"},
            ]
        },
    }
    begins = {
        "$and": [
            {"$eq": ["$state", JobState.QUEUED.value]},
            {"$or": [{"$eq": ["$started_at", None]}, {"$ne": ["$every_sec", None]}]},
        ]
    }
    taken: Document = {
        "state": JobState.RUNNING.value,
        "owner": owner,
        "phase": "",
        "epoch": {"$add": ["$epoch", 1]},
        "lease_until": _from_now(LEASE_SEC),
        "started_at": {"$cond": [begins, "$$NOW", "$started_at"]},
        "finished_at": None,
    }
    while True:
        document = await store.collection.find_one_and_update(
            free,
            [{"$set": taken}],
            sort=[("due_at", 1)],
            return_document=ReturnDocument.AFTER,
        )
        if document is None:
            return None
        try:
            return Lease(store, to_job(document))
        except msgspec.ValidationError as error:
            log.warning("job_unreadable", job=str(document["_id"])[:100], error=str(error)[:300])
            ended = {"live": False, "state": JobState.FAILED.value}
            await store.collection.update_one({"_id": document["_id"]}, {"$set": ended})


def _from_now(seconds: float) -> Document:
    return {
        "$dateAdd": {
            "startDate": "$$NOW",
            "unit": "millisecond",
            "amount": {"$literal": int(seconds * 1000)},
        }
    }


def _with_error(detail: str) -> Document:
    error = {"at": "$$NOW", "detail": {"$literal": detail[:1_000]}}
    return {"$slice": [{"$concatArrays": ["$errors", [error]]}, -KEPT_ERRORS]}
