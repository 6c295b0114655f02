"""The collection `jobs`: how jobs are asked for, listed and stopped."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from bson import Int64
from pymongo import DESCENDING, ReturnDocument
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import DuplicateKeyError
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference

from ocelot_common.ids import format_id, new_id
from ocelot_common.jobs.model import LIVE, Job, JobKind, JobState
from ocelot_common.mongo import MAJORITY, ROW_CODEC
from ocelot_common.names import JOBS
from ocelot_common.telemetry.logs import get_logger

Document = dict[str, Any]

log = get_logger(__name__)


class JobExistsError(Exception):
    """A live job has this key already.

    Attributes:
        job: that one.
    """

    def __init__(self, job: Job) -> None:
        super().__init__(f"The job {job.id} does this already.")
        self.job = job


class JobStore:
    """The collection `jobs`, with majority reads and writes."""

    def __init__(self, database: AsyncDatabase[Document]) -> None:
        self._jobs = database[JOBS].with_options(
            codec_options=ROW_CODEC,
            read_concern=ReadConcern("majority"),
            write_concern=MAJORITY,
            read_preference=ReadPreference.PRIMARY,
        )

    @property
    def collection(self) -> AsyncCollection[Document]:
        """For leases, whose writes are conditional."""
        return self._jobs

    async def create(
        self,
        kind: JobKind,
        *,
        created_by: str,
        uid: str = "",
        key: str | None = None,
        spec: Mapping[str, Any] | None = None,
        every_sec: int | None = None,
    ) -> Job:
        """Queue a job.

        Raises:
            JobExistsError: a live job has the key.
        """
        now = datetime.now(UTC)
        job = Job(
            id=format_id(new_id()),
            kind=kind.value,
            uid=uid,
            key=key,
            spec=dict(spec or {}),
            due_at=now,
            every_sec=every_sec,
            created_by=created_by,
            created_at=now,
        )
        try:
            await self._jobs.insert_one(to_document(job))
        except DuplicateKeyError:
            document = await self._jobs.find_one({"key": key, "live": True})
            if document is None:  # it ended just now
                return await self.create(
                    kind,
                    created_by=created_by,
                    uid=uid,
                    key=key,
                    spec=spec,
                    every_sec=every_sec,
                )
            raise JobExistsError(to_job(document)) from None
        return job

    async def get(self, job_id: str, *, uid: str | None = None) -> Job | None:
        """A job by its id; with `uid`, only this tenant's. None for a row that is not a job."""
        query: Document = {"_id": job_id}
        if uid is not None:
            query["t"] = uid
        document = await self._jobs.find_one(query)
        return _readable(document) if document else None

    async def find(
        self,
        *,
        uid: str | None = None,
        kinds: Sequence[str] = (),
        states: Sequence[str] = (),
        before: str | None = None,
        prefix: str | None = None,
        limit: int = 0,
        count_ids: bool = False,
    ) -> list[Job]:
        """Jobs, the newest first; rows that are not jobs are left out.

        Args:
            uid: only this tenant's; None for all.
            kinds: only these.
            states: only these.
            before: only jobs older than the one of this id.
            prefix: only jobs whose id begins with this.
            limit: at most so many; 0 for all.
            count_ids: have their number in the place of a specification's ids, of which one job
                may have 10,000.
        """
        query: Document = {}
        if uid is not None:
            query["t"] = uid
        if kinds:
            query["kind"] = {"$in": list(kinds)}
        if states:
            query["state"] = {"$in": list(states)}
        ids: Document = {}
        if before is not None:
            ids["$lt"] = before
        if prefix is not None:
            ids |= {"$gte": prefix, "$lte": prefix + "g"}
        if ids:
            query["_id"] = ids
        stages: list[Document] = [{"$match": query}, {"$sort": {"_id": DESCENDING}}]
        if limit:
            stages.append({"$limit": limit})
        if count_ids:
            number = {"$cond": [{"$isArray": "$spec.ids"}, {"$size": "$spec.ids"}, "$spec.ids"]}
            stages.append({"$set": {"spec.ids": number}})
        cursor = await self._jobs.aggregate(stages)
        return [job async for document in cursor if (job := _readable(document))]

    async def live_keys(self) -> set[str]:
        """The keys of all live jobs that have one."""
        keys = await self._jobs.distinct("key", {"live": True, "key": {"$type": "string"}})
        # An array that holds a text is among those that MongoDB finds, with all that it holds.
        return {key for key in keys if isinstance(key, str)}

    async def request_cancel(self, job_id: str) -> Job | None:
        """Ask a live job to stop: one that has not begun ends at once, one that runs soon.

        A recurring job is left as it is.

        Returns:
            The job as it is now; None if there is none of this id.
        """
        # Begun and waiting for its next attempt, it may have left things that its owner tidies up.
        once: Document = {"_id": job_id, "live": True, "every_sec": None}
        fresh = {**once, "state": JobState.QUEUED.value, "epoch": 0}
        ended: Document = {
            "state": JobState.CANCELLED.value,
            "live": False,
            "finished_at": datetime.now(UTC),
        }
        for query, change in (
            (fresh, ended),
            (once, {"cancel_requested": True, "due_at": datetime.now(UTC)}),
        ):
            document = await self._jobs.find_one_and_update(
                query, {"$set": change}, return_document=ReturnDocument.AFTER
            )
            if document is not None:
                return to_job(document)
        return await self.get(job_id)


def to_job(document: Mapping[str, Any]) -> Job:
    """A document as a job; keys of a newer release are passed over.

    Raises:
        msgspec.ValidationError: it is not a job: another program wrote it.
    """
    return msgspec.convert(_plain(document), Job)


def _readable(document: Mapping[str, Any]) -> Job | None:
    try:
        return to_job(document)
    except msgspec.ValidationError as error:
        log.warning("job_unreadable", job=str(document["_id"])[:100], error=str(error)[:300])
        return None


def _plain(value: Any) -> Any:
    """What BSON gives, with whole numbers of 64 bits as those that msgspec knows."""
    if isinstance(value, Int64):
        return int(value)
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


def to_document(job: Job) -> Document:
    """A job as its document."""
    document: Document = msgspec.to_builtins(job, builtin_types=(datetime,))
    document["live"] = job.state in LIVE
    return document
