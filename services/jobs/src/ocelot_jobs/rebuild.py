"""The rebuild of search indices from the store (design §10, ADR 0017).

A range of time gets a new index: it is written *beside* the one that is searched from the moment
that the registry says so; once every writer knows, what is stored is copied and compared; then the
registry leads searches to it. The old one is written for as long as a process may still search it.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec
from bson.datetime_ms import DatetimeMS
from opensearchpy import AsyncOpenSearch
from opensearchpy.exceptions import NotFoundError

from ocelot_common.batching import batched
from ocelot_common.ids import parse_id
from ocelot_common.jobs.rebuild import RebuildPhase, RebuildSpec
from ocelot_common.mongo import events_of
from ocelot_common.names import SHARED_SPACE
from ocelot_common.provisioning.indices import IndexMaker
from ocelot_common.reading import has_place
from ocelot_common.registry.model import Home, IndexRange, Space, Tenant
from ocelot_common.registry.store import RegistryStore, RegistryTransaction
from ocelot_common.telemetry.logs import get_logger
from ocelot_common.timestamps import to_datetime, to_ms
from ocelot_jobs.clock import server_time
from ocelot_jobs.leases import JobFailedError, Lease, TryAgainError
from ocelot_jobs.sections import Done, IndexGoneError, Position, Section, Sections

Document = dict[str, Any]

_IDS_AT_ONCE: Final = 500
_SAVE_EVENTS: Final = 20_000

log = get_logger(__name__)


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One range and the index that it is to have.

    Attributes:
        start: of the range.
        index: that is filled.
        replaces: that was searched before.
        copied: everything stored is in it.
        switched: it is the one that is searched.
    """

    start: datetime
    index: str
    replaces: str
    copied: bool = False
    switched: bool = False


class Place(msgspec.Struct, frozen=True):
    """A position with the tenant whose section is walked; times in milliseconds."""

    uid: str
    received_at: int
    event_id: bytes


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """How far a rebuild is.

    Attributes:
        targets: in the order in which they are filled.
        marked_at: MongoDB's time after the registry named the new indices.
        switched_at: the same, after the last switch.
        place: how far the copying, or then the comparing, of the present target is.
        ids: of a job for ids: so many are done.
    """

    targets: list[Target] = []
    marked_at: datetime | None = None
    switched_at: datetime | None = None
    place: Place | None = None
    ids: int = 0


class RebuildTimes(NamedTuple):
    """How long a rebuild waits.

    Attributes:
        propagation_sec: until every process has read the registry or stopped: none acts on one
            that it has not confirmed for 30 s.
        keep_sec: before an index that was replaced is dropped.
    """

    propagation_sec: float
    keep_sec: float


class _StartOverError(Exception):
    """What was being filled is of no use any more."""


class Rebuild:
    """The work of a rebuild job; one at a time a space."""

    def __init__(
        self,
        *,
        store: RegistryStore,
        opensearch: AsyncOpenSearch,
        indices: IndexMaker,
        sections: Sections,
        times: RebuildTimes,
    ) -> None:
        self._store = store
        self._opensearch = opensearch
        self._indices = indices
        self._sections = sections
        self._times = times

    async def run(self, lease: Lease) -> None:
        """Rebuild what the job's spec names, from its checkpoint on."""
        spec = msgspec.convert(lease.job.spec, RebuildSpec)
        if spec.ids is not None:
            await self._bring_ids(lease, spec.ids)
        elif spec.space == SHARED_SPACE and lease.job.uid:
            await self._mend_tenant(lease, spec)
        else:
            try:
                await self._renew(lease, spec)
            except (_StartOverError, IndexGoneError) as error:
                await self.tidy(lease)
                await lease.save(checkpoint={})
                raise TryAgainError(
                    f"The rebuild starts again from the beginning. {error}"
                ) from error

    async def tidy(self, lease: Lease) -> None:
        """Undo what was marked and not switched; finish what was."""
        checkpoint = _checkpoint(lease)
        spec = msgspec.convert(lease.job.spec, RebuildSpec)
        if not checkpoint.targets:
            return
        await self._change_space(lease, spec.space, checkpoint, self._withdrawn(checkpoint.targets))
        for target in checkpoint.targets:
            if not target.switched:
                await self._let_refresh(spec.space, target.replaces)

    # A few events, or those of one tenant among many, are mended in the index that is there.

    async def _bring_ids(self, lease: Lease, ids: list[str]) -> None:
        home = await self._home(lease)
        done = _checkpoint(lease).ids
        await lease.enter(RebuildPhase.MENDING)
        progress = _Progress(lease, total=len(ids))
        for part in batched(ids[done:], _IDS_AT_ONCE):
            step = await self._sections.bring(home, [parse_id(text) for text in part])
            done += len(part)
            await progress.add(step)
            await progress.save(Checkpoint(ids=done))

    async def _mend_tenant(self, lease: Lease, spec: RebuildSpec) -> None:
        home = await self._home(lease)
        await self._ensure_ranges(home.space, [home.tenant], spec)
        home = await self._home(lease)
        sections = [
            (entry, _section(home, entry, spec)) for entry in _ranges_within(home.space, spec)
        ]
        await lease.enter(RebuildPhase.MENDING)
        total = sum([await self._sections.count(section) for _, section in sections])
        progress = _Progress(lease, total=total)
        place = _checkpoint(lease).place
        for entry, section in sections:
            if place and place.received_at >= section.end:
                continue
            after = Position(place.received_at, place.event_id) if place else None
            place = None

            async def report(done: Done) -> None:
                await progress.add(done)
                await progress.save(_at(Checkpoint(), home.tenant, done.position))

            await self._opensearch.indices.refresh(index=entry.index)
            await self._sections.compare(section, entry, after, report)

    async def _home(self, lease: Lease) -> Home:
        tenant = await self._store.tenant(lease.job.uid)
        space = await self._store.space(tenant.space) if tenant else None
        if tenant is None or space is None or not tenant.live or space.retired:
            raise JobFailedError("The tenant was deleted.")
        return Home(tenant, space)

    # A whole range gets a new index.

    async def _renew(self, lease: Lease, spec: RebuildSpec) -> None:
        checkpoint = _checkpoint(lease)
        if not checkpoint.targets:
            space = await self._space(spec.space)
            await self._ensure_ranges(space, await self._tenants(spec.space), spec)
            await self._mark(lease, spec)
            checkpoint = _checkpoint(lease)
        space = await self._space(spec.space)
        for target in checkpoint.targets:
            if not target.switched:
                await self._make(space, target)
        if not all(target.switched for target in checkpoint.targets):
            await lease.enter(RebuildPhase.SETTLING)
            await self._settle(checkpoint.marked_at)
            await self._fill_all(lease, spec)
        await lease.enter(RebuildPhase.RETIRING)
        await self._settle(_checkpoint(lease).switched_at)
        await self._retire(lease, spec)

    async def _space(self, name: str) -> Space:
        space = _in_use(await self._store.space(name))
        if not space.search_enabled:
            raise JobFailedError("The tenant has no search index.")
        return space

    async def _tenants(self, space: str) -> list[Tenant]:
        return [tenant for tenant in await self._store.tenants() if tenant.space == space]

    async def _ensure_ranges(self, space: Space, tenants: list[Tenant], spec: RebuildSpec) -> None:
        """Make the indices of all periods that hold events, so that none is passed over."""
        collection = events_of(self._store.database, space.collection)
        for tenant in tenants:
            after = max(tenant.cutoff_ms(), _ms_or(spec.received_from, 0))
            while True:
                # An event has a place; another document has no index made for it.
                query = {
                    "t": tenant.uid,
                    "received_at": {"$gte": DatetimeMS(after)},
                    **has_place(tenant, "received_at"),
                }
                first = await collection.find_one(
                    query, {"received_at": 1}, sort=[("received_at", 1)]
                )
                if first is None or int(first["received_at"]) >= _ms_or(spec.received_to, 2**53):
                    break
                moment = to_datetime(int(first["received_at"]))
                made = await self._indices.ensure_period(space.name, moment)
                entry = made.range_at(moment)
                if entry is None:
                    raise JobFailedError(f"No index covers {moment.isoformat()}.")
                after = to_ms(entry.end)

    async def _mark(self, lease: Lease, spec: RebuildSpec) -> None:
        """Have the indexer write new indices beside those that are searched."""

        async def work(transaction: RegistryTransaction) -> None:
            space = _in_use(await transaction.get(Space, spec.space))
            targets = []
            for entry in _ranges_within(space, spec):
                index = self._indices.next_index(space, entry)
                changed = space.with_range(msgspec.structs.replace(entry, beside=index))
                if entry.beside is not None:
                    changed = changed.with_retired(entry.beside, _utc_now())
                space = changed
                targets.append(Target(start=entry.start, index=index, replaces=entry.index))
            await transaction.replace(space)
            checkpoint = Checkpoint(targets=targets, marked_at=_utc_now())
            await lease.save(checkpoint=_document(checkpoint), session=transaction.session)

        await self._store.write(work)
        # Counted from after the transaction: it may have taken its time.
        checkpoint = msgspec.structs.replace(_checkpoint(lease), marked_at=await self._now())
        await lease.save(checkpoint=_document(checkpoint))
        log.info("rebuild_marked", space=spec.space, ranges=len(checkpoint.targets))

    async def _make(self, space: Space, target: Target) -> None:
        if await self._indices.exists(target.index):
            return
        if target.copied or _entry(space, target).beside != target.index:
            raise _StartOverError(f"The index {target.index} was deleted.")
        await self._indices.make_next(space, target.index)
        # Its tenant may have been purged while it was made, and nothing would remove it.
        present = await self._store.space(space.name)
        if present is None or present.retired:
            await self._indices.remove(target.index)
            raise JobFailedError("The tenant was deleted.")

    async def _settle(self, since: datetime | None) -> None:
        """Wait until every process acts on the registry as it was at that moment, or not at all."""
        if since is None:
            return
        left = self._times.propagation_sec - (await self._now() - since).total_seconds()
        if left > 0:
            await asyncio.sleep(left)

    async def _fill_all(self, lease: Lease, spec: RebuildSpec) -> None:
        tenants = await self._tenants(spec.space)
        space = await self._space(spec.space)
        targets = _checkpoint(lease).targets
        sections = {
            target.start: [
                _section(Home(tenant, space), _entry(space, target), None) for tenant in tenants
            ]
            for target in targets
        }
        total = 0
        for each in sections.values():
            total += sum([await self._sections.count(section) for section in each])
        progress = _Progress(lease, total=total)
        for number, target in enumerate(targets, 1):
            if target.switched:
                continue
            into = msgspec.structs.replace(_entry(space, target), index=target.index, beside=None)
            if not target.copied:
                await progress.enter(RebuildPhase.COPYING, number, len(targets))
                await self._walk(lease, sections[target.start], into, self._sections.copy, progress)
                checkpoint = _noted(_checkpoint(lease), target.start, copied=True)
                await lease.save(checkpoint=_document(checkpoint))
            await self._opensearch.indices.refresh(index=target.index)
            await progress.enter(RebuildPhase.COMPARING, number, len(targets))
            await self._walk(lease, sections[target.start], into, self._sections.confirm, progress)
            await self._switch(lease, spec, target, sections[target.start], into, progress)

    async def _walk(
        self,
        lease: Lease,
        sections: list[Section],
        into: IndexRange,
        step: Callable[..., Any],
        progress: "_Progress",
    ) -> None:
        """Walk the sections of a range, from the checkpoint's place on."""
        place = _checkpoint(lease).place
        uids = [section.home.tenant.uid for section in sections]
        first = uids.index(place.uid) if place and place.uid in uids else 0
        for section in sections[first:]:
            tenant = section.home.tenant
            after = None
            if place is not None and place.uid == tenant.uid:
                after = Position(place.received_at, place.event_id)

            async def report(done: Done, tenant: Tenant = tenant) -> None:
                await progress.add(done)
                await progress.save_sometimes(_at(_checkpoint(lease), tenant, done.position))

            await step(section, into, after, report)
        await progress.save(msgspec.structs.replace(_checkpoint(lease), place=None))

    async def _switch(
        self,
        lease: Lease,
        spec: RebuildSpec,
        target: Target,
        sections: list[Section],
        into: IndexRange,
        progress: "_Progress",
    ) -> None:
        """Lead searches from the old index to the new one, which shows at least as much."""
        space = await self._space(spec.space)
        # What the old one shows stands still; so nobody has seen an event that the new one will
        # only show at its next refresh.
        await self._stop_refreshing(target.replaces)
        await self._opensearch.indices.refresh(index=target.index)
        for section in sections:
            await self._sections.confirm(section, into, None, progress.add_mended)
        await self._indices.put_in_use(space, target.index)
        await self._switch_registry(lease, spec.space, target)
        space = await self._space(spec.space)
        await self._indices.restore_aliases(space, await self._indices.present(space))
        log.info("rebuild_switched", space=spec.space, index=target.index)

    async def _switch_registry(self, lease: Lease, space: str, target: Target) -> None:
        """Have the registry name the new index as the one that is searched."""

        def switched(present: Space) -> Space:
            entry = _entry(present, target)
            if (entry.index, entry.beside) != (target.replaces, target.index):
                raise _StartOverError(f"Another process replaced the index of {entry.alias}.")
            return present.with_range(
                msgspec.structs.replace(
                    entry, index=target.index, beside=target.replaces, building=False
                )
            )

        checkpoint = _noted(_checkpoint(lease), target.start, switched=True)
        await self._change_space(lease, space, checkpoint, switched)
        checkpoint = msgspec.structs.replace(checkpoint, switched_at=await self._now())
        await lease.save(checkpoint=_document(checkpoint))

    async def _retire(self, lease: Lease, spec: RebuildSpec) -> None:
        """Stop to write the old indices; they are dropped when they have been kept long enough."""
        checkpoint = _checkpoint(lease)
        space = await self._space(spec.space)
        await self._indices.restore_aliases(space, await self._indices.present(space))
        await self._change_space(lease, spec.space, checkpoint, self._withdrawn(checkpoint.targets))

    def _withdrawn(self, targets: list[Target]) -> Callable[[Space], Space]:
        """A space without second indices: of what was switched, the old; of the rest, the new."""
        keep_until = _utc_now() + timedelta(seconds=self._times.keep_sec)

        def change(space: Space) -> Space:
            for target in targets:
                entry = next((each for each in space.indices if each.start == target.start), None)
                leaving = target.replaces if target.switched else target.index
                if entry is None or entry.beside != leaving:
                    continue
                space = space.with_range(msgspec.structs.replace(entry, beside=None))
                drop_after = keep_until if target.switched else _utc_now()
                space = space.with_retired(leaving, drop_after)
            return space

        return change

    async def _change_space(
        self, lease: Lease, name: str, checkpoint: Checkpoint, change: Callable[[Space], Space]
    ) -> None:
        """Change a space and the checkpoint together, and only while the lease holds."""

        async def work(transaction: RegistryTransaction) -> None:
            space = await transaction.get(Space, name)
            if space is not None:
                await transaction.replace(change(space))
            await lease.save(checkpoint=_document(checkpoint), session=transaction.session)

        await self._store.write(work)

    async def _let_refresh(self, space_name: str, index: str) -> None:
        space = await self._store.space(space_name)
        if space is not None and await self._indices.exists(index):
            await self._indices.put_in_use(space, index)

    async def _stop_refreshing(self, index: str) -> None:
        try:
            await self._opensearch.indices.put_settings(
                index=index, body={"index": {"refresh_interval": "-1"}}
            )
        except NotFoundError:
            log.warning("rebuild_old_index_missing", index=index)

    async def _now(self) -> datetime:
        return await server_time(self._store.database)


class _Progress:
    """Counts what is done, and writes it with the checkpoint."""

    def __init__(self, lease: Lease, *, total: int) -> None:
        self._lease = lease
        self._numbers = {"done": 0, "compared": 0, "added": 0, "removed": 0, "refused": 0}
        self._numbers |= lease.job.progress
        self._numbers["total"] = total
        self._unsaved = 0

    async def enter(self, phase: RebuildPhase, index: int, indices: int) -> None:
        """Tell what is done from now on, and with which index, from 1: each has the same phases."""
        self._numbers |= {"index": index, "indices": indices}
        await self._lease.enter(phase, self._numbers)

    async def add(self, done: Done) -> None:
        """Count one step; what is compared was copied before, and counts apart."""
        comparing = self._lease.job.phase == RebuildPhase.COMPARING
        self._numbers["compared" if comparing else "done"] += done.events
        self._unsaved += done.events
        if not comparing:  # what was refused when it was copied will be again
            self._numbers["refused"] += done.refused
        await self.add_mended(done)

    async def add_mended(self, done: Done) -> None:
        """Count only the differences that one more look found."""
        self._numbers["added"] += done.added
        self._numbers["removed"] += done.removed

    async def save_sometimes(self, checkpoint: Checkpoint) -> None:
        """Write the checkpoint if much was done since it was last written."""
        if self._unsaved >= _SAVE_EVENTS:
            await self.save(checkpoint)

    async def save(self, checkpoint: Checkpoint) -> None:
        """Write the checkpoint with the numbers."""
        await self._lease.save(checkpoint=_document(checkpoint), progress=self._numbers)
        self._unsaved = 0


def _in_use(space: Space | None) -> Space:
    if space is None or space.retired:
        raise JobFailedError("The tenant was deleted.")
    return space


def _ranges_within(space: Space, spec: RebuildSpec) -> list[IndexRange]:
    start, end = _ms_or(spec.received_from, 0), _ms_or(spec.received_to, 2**53)
    return [
        entry for entry in space.indices if to_ms(entry.end) > start and to_ms(entry.start) < end
    ]


def _section(home: Home, entry: IndexRange, spec: RebuildSpec | None) -> Section:
    """A tenant's events of a range, or of what the spec asks of it."""
    start, end = to_ms(entry.start), to_ms(entry.end)
    if spec is not None:
        start = max(start, _ms_or(spec.received_from, start))
        end = min(end, _ms_or(spec.received_to, end))
    return Section(home, start, end)


def _entry(space: Space, target: Target) -> IndexRange:
    for entry in space.indices:
        if entry.start == target.start:
            return entry
    raise _StartOverError(f"The registry no longer has the period of {target.index}.")


def _noted(checkpoint: Checkpoint, start: datetime, **changes: bool) -> Checkpoint:
    """A checkpoint with what is now true of a target; what is walked next begins anew."""
    targets = [
        msgspec.structs.replace(each, **changes) if each.start == start else each
        for each in checkpoint.targets
    ]
    return msgspec.structs.replace(checkpoint, targets=targets, place=None)


def _at(checkpoint: Checkpoint, tenant: Tenant, position: Position) -> Checkpoint:
    place = Place(tenant.uid, position.received_at, position.event_id)
    return msgspec.structs.replace(checkpoint, place=place)


def _checkpoint(lease: Lease) -> Checkpoint:
    return msgspec.convert(lease.job.checkpoint, Checkpoint)


def _document(checkpoint: Checkpoint) -> Document:
    document: Document = msgspec.to_builtins(checkpoint, builtin_types=(datetime, bytes))
    return document


def _ms_or(moment: datetime | None, other: int) -> int:
    return other if moment is None else to_ms(moment)


def _utc_now() -> datetime:
    return datetime.now(UTC)
