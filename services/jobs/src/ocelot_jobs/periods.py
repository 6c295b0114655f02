"""Keeps indices and aliases as the registry says: made ahead, made again, rebuilt, dropped."""

from datetime import datetime
from typing import Final

import msgspec
from opensearchpy.exceptions import TransportError
from pymongo.errors import PyMongoError

from ocelot_common.jobs.rebuild import request_rebuild_of_space
from ocelot_common.jobs.store import JobExistsError, JobStore
from ocelot_common.names import SHARED_SPACE, period_at, write_alias
from ocelot_common.provisioning.indices import ForeignIndexError, IndexMaker, NoIndexError
from ocelot_common.registry.model import Space
from ocelot_common.registry.snapshot import RegistrySnapshot
from ocelot_common.registry.store import RegistryStore, RegistryTransaction
from ocelot_common.telemetry.logs import get_logger
from ocelot_jobs.clock import server_time
from ocelot_jobs.leases import Lease

CREATED_BY: Final = "ocelot"

log = get_logger(__name__)


class Periods:
    """The work of the one job `periods`, which recurs each minute."""

    def __init__(
        self,
        *,
        store: RegistryStore,
        snapshot: RegistrySnapshot,
        indices: IndexMaker,
        jobs: JobStore,
    ) -> None:
        self._store = store
        self._snapshot = snapshot
        self._indices = indices
        self._jobs = jobs

    async def run(self, lease: Lease) -> None:
        """See to every space; what fails for one does not keep the others."""
        await self._snapshot.confirm()
        spaces = self._live_spaces()
        present = await self._indices.present()
        now = await server_time(self._store.database)
        numbers = {"done": 0, "missing": 0, "aliases": 0, "failed": 0}
        faults: list[str] = []
        for space in spaces:
            lost = [
                entry
                for entry in space.indices
                if write_alias(entry.index) not in present.get(entry.index, ())
            ]
            numbers["missing"] += len(lost)
            try:
                for entry in lost:
                    log.warning("index_missing", index=entry.index)
                    await self._indices.ensure_period(space.name, entry.start)
                if not lost:  # else these are seen to, and more is known the next time
                    numbers["aliases"] += await self._indices.restore_aliases(space, present)
                await self._make_ahead(space, now)
                await self._drop_retired(space, now)
            except (TransportError, PyMongoError, NoIndexError, ForeignIndexError) as error:
                faults.append(f"{space.name}: {error}"[:200])
                log.warning("index_not_ensured", space=space.name, error=repr(error)[:300])
        await self._snapshot.confirm()
        for space in self._live_spaces():
            await self._rebuild_if_building(space)
        numbers |= {"done": len(spaces) - len(faults), "failed": len(faults)}
        await lease.save(progress=numbers)
        if faults:
            raise RuntimeError("; ".join(faults[:3]))

    async def tidy(self, lease: Lease) -> None:
        """There is nothing to undo."""

    def _live_spaces(self) -> list[Space]:
        return [
            space for space in self._snapshot.spaces() if space.search_enabled and not space.retired
        ]

    async def _make_ahead(self, space: Space, now: datetime) -> None:
        present = period_at(space.period, now)
        for moment in (now, present.end):
            if space.range_at(moment) is None:
                await self._indices.ensure_period(space.name, moment)

    async def _drop_retired(self, space: Space, now: datetime) -> None:
        for retired in space.retired_indices:
            if retired.drop_after > now:
                continue
            await self._indices.remove(retired.index)

            async def work(transaction: RegistryTransaction, dropped: str = retired.index) -> None:
                present = await transaction.get(Space, space.name)
                if present is not None:
                    left = [each for each in present.retired_indices if each.index != dropped]
                    await transaction.replace(
                        msgspec.structs.replace(present, retired_indices=left)
                    )

            await self._store.write(work)

    async def _rebuild_if_building(self, space: Space) -> None:
        """An index that was made for a range with events in it lacks them until it is rebuilt."""
        building = [entry for entry in space.indices if entry.building]
        if not building:
            return
        try:
            await request_rebuild_of_space(
                self._jobs,
                space,
                uid=self._tenant_of(space),
                start=min(entry.start for entry in building),
                end=max(entry.end for entry in building),
                created_by=CREATED_BY,
            )
        except JobExistsError:
            return  # what it does not cover has its turn after it

    def _tenant_of(self, space: Space) -> str:
        if space.name == SHARED_SPACE:
            return ""
        return next((each.uid for each in self._snapshot.tenants() if each.space == space.name), "")
