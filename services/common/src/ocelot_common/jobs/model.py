"""Jobs as MongoDB holds them; field names are those of the documents."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

import msgspec
from msgspec import field

VERSION: Final = 1
#: Of the errors of a job, so many of the last are kept.
KEPT_ERRORS: Final = 10
_NEVER: Final = datetime(1970, 1, 1, tzinfo=UTC)


class JobKind(StrEnum):
    """What a job does."""

    REBUILD = "rebuild"
    PURGE = "purge"
    PERIODS = "periods"
    DRAIN = "drain"
    SWEEP = "sweep"
    RETRY = "retry"
    ACCEPT = "accept"


class JobState(StrEnum):
    """A job's life. A recurring job is queued again when it has run."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


#: States of a job that has work to do, now or later.
LIVE: Final = (JobState.QUEUED, JobState.RUNNING)


class JobError(msgspec.Struct, frozen=True):
    """One failed attempt."""

    at: datetime
    detail: str


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One job.

    Attributes:
        kind: one of JobKind; a text here, since a newer release may know more.
        uid: the tenant's; empty for the installation's own.
        key: of live jobs, one has it: a request that is repeated makes no second job.
        spec: what is to be done; its form is the kind's.
        checkpoint: how far it is, for whoever goes on; its form is the kind's.
        progress: how far it is, for people: numbers by name, `done` and `total` among them.
        phase: what its owner is at, for people; empty if nobody works on it, or in one stretch.
        errors: of the last failed attempts.
        attempts: that failed since it last got on.
        epoch: grows with each owner; what an owner writes is conditional on it.
        owner: the process that works on it, for people.
        lease_until: when others may take it over.
        due_at: it is not begun before.
        every_sec: a recurring job: how long after its end it is due again.
        cancel_requested: its owner is to stop it, and to leave things whole.
        started_at: of the present run, or the last one.
    """

    id: str = field(name="_id")
    v: int = VERSION
    kind: str
    uid: str = field(default="", name="t")
    key: str | None = None
    state: JobState = JobState.QUEUED
    spec: dict[str, Any] = {}
    checkpoint: dict[str, Any] = {}
    progress: dict[str, int] = {}
    phase: str = ""
    errors: list[JobError] = []
    attempts: int = 0
    epoch: int = 0
    owner: str = ""
    lease_until: datetime = _NEVER
    due_at: datetime
    every_sec: int | None = None
    cancel_requested: bool = False
    created_by: str
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def live(self) -> bool:
        """Whether it has work to do, now or later."""
        return self.state in LIVE
