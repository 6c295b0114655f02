"""The jobs that nobody asks for: there is always one of each, queued for its next time."""

import asyncio
from collections.abc import Mapping
from typing import Final

from pymongo.errors import PyMongoError

from ocelot_common.jobs.model import JobKind
from ocelot_common.jobs.store import JobExistsError, JobStore
from ocelot_common.registry.model import Tenant, TenantState
from ocelot_common.registry.snapshot import RegistrySnapshot
from ocelot_common.registry.store import RegistryStore
from ocelot_common.telemetry.logs import get_logger
from ocelot_jobs.periods import CREATED_BY

_LOOK_EVERY_SEC: Final = 2.0
#: Also without a change of the registry, should somebody have removed jobs.
_LOOK_ANYWAY_SEC: Final = 60.0

log = get_logger(__name__)


async def keep_standing_jobs(
    jobs: JobStore,
    snapshot: RegistrySnapshot,
    store: RegistryStore,
    *,
    every_sec: Mapping[JobKind, int],
) -> None:
    """Queue what is missing; runs until cancelled.

    Args:
        jobs: the store.
        snapshot: tells which tenants there are.
        store: of the registry, which knows a tenant's end before the snapshot does.
        every_sec: of each kind that is worked on here, how often it recurs.
    """
    await snapshot.wait_fresh()
    loop = asyncio.get_running_loop()
    seen, looked_at = -1, 0.0
    while True:
        version = snapshot.version
        if version != seen or loop.time() - looked_at >= _LOOK_ANYWAY_SEC:
            try:
                await queue_missing(jobs, snapshot, store, every_sec)
                seen, looked_at = version, loop.time()
            except PyMongoError as error:
                log.warning("recurring_jobs_unknown", error=repr(error)[:300])
        await asyncio.sleep(_LOOK_EVERY_SEC)


async def queue_missing(
    jobs: JobStore,
    snapshot: RegistrySnapshot,
    store: RegistryStore,
    every_sec: Mapping[JobKind, int],
) -> None:
    """Queue each recurring job that is not there.

    Raises:
        pymongo.errors.PyMongoError: MongoDB is away.
    """
    live = await jobs.live_keys()
    wanted = [(JobKind.PERIODS, ""), (JobKind.DRAIN, ""), (JobKind.SWEEP, "")]
    wanted += [
        (JobKind.PURGE, tenant.uid) for tenant in snapshot.tenants() if _may_lose_events(tenant)
    ]
    for kind, uid in wanted:
        key = f"{kind}:{uid}" if uid else kind.value
        if kind not in every_sec or key in live:
            continue
        if uid:
            # A purge that ended its tenant has no live job, and the snapshot may not know yet.
            tenant = await store.tenant(uid)
            if tenant is None or not _may_lose_events(tenant):
                continue
        try:
            await jobs.create(
                kind, created_by=CREATED_BY, uid=uid, key=key, every_sec=every_sec[kind]
            )
        except JobExistsError:
            continue  # another process was faster


def _may_lose_events(tenant: Tenant) -> bool:
    if tenant.state is TenantState.DELETED:
        return tenant.purged_at is None
    return (
        tenant.state is TenantState.DELETING
        or tenant.retention_days is not None
        or tenant.pending_retention is not None
        or tenant.purged_before is not None
    )
