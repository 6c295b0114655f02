"""The purge: what a tenant's cutoff has passed is deleted, unless it is held (design §9)."""

from datetime import timedelta
from typing import Any, Final

import msgspec
from bson.datetime_ms import DatetimeMS
from opensearchpy import AsyncOpenSearch
from pymongo import DeleteOne
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.read_concern import ReadConcern

from ocelot_common.batching import MAX_BATCH_BYTES, batched_by_bytes
from ocelot_common.dead_letters import DeadLetterStore
from ocelot_common.holds import HoldStore
from ocelot_common.mongo import MAJORITY, events_of
from ocelot_common.provisioning.errors import HeldError
from ocelot_common.provisioning.tenants import Provisioner
from ocelot_common.reading import has_place
from ocelot_common.registry.model import Home, Tenant, TenantState
from ocelot_common.registry.store import RegistryStore, RegistryTransaction
from ocelot_common.stored import event_id_of, store_key
from ocelot_common.telemetry.logs import get_logger
from ocelot_common.timestamps import to_datetime, to_ms
from ocelot_jobs.clock import server_time
from ocelot_jobs.leases import Lease
from ocelot_jobs.metrics import JobsMetrics
from ocelot_jobs.sections import remove_from_index

Document = dict[str, Any]

_BATCH: Final = 1_000
#: What passed the cutoff is hidden at once and deleted so much later: whoever judged an event just
#: before it did has stored or indexed it by then, or never will.
_MARGIN: Final = timedelta(minutes=10)

log = get_logger(__name__)


class Doomed(msgspec.Struct, frozen=True):
    """An event that was deleted from the store; milliseconds since the epoch, and 16 bytes."""

    received_at: int
    event_id: bytes


class Checkpoint(msgspec.Struct, frozen=True):
    """What the index may still hold of what the store does not any more."""

    doomed: list[Doomed] = []


class Purge:
    """The work of a purge job, one a tenant: its old events, or all of a tenant that is deleted."""

    def __init__(
        self,
        *,
        store: RegistryStore,
        provisioner: Provisioner,
        holds: HoldStore,
        dead_letters: DeadLetterStore,
        opensearch: AsyncOpenSearch | None,
        metrics: JobsMetrics,
    ) -> None:
        self._store = store
        self._provisioner = provisioner
        self._holds = holds
        self._dead_letters = dead_letters
        self._opensearch = opensearch
        self._metrics = metrics

    async def run(self, lease: Lease) -> None:
        """Delete until nothing is left that may be deleted."""
        numbers = {"done": 0, "dead_letters": 0, "held": 0}
        tenant = await self._store.tenant(lease.job.uid)
        if tenant is None or tenant.purged_at is not None:
            lease.last = True
            return
        try:
            if await self._end_tenant(tenant):
                lease.last = True
                return
        except HeldError:
            numbers["held"] = 1
        while True:
            home = await self._home(tenant)  # a rebuild may have changed its indices
            await self._forget_in_index(lease, home)
            if not await self._delete_batch(lease, home, numbers):
                break
        await self._leave_empty_indices(home)
        await lease.save(checkpoint={}, progress=numbers)

    async def tidy(self, lease: Lease) -> None:
        """Finish what the index may still hold."""
        tenant = await self._store.tenant(lease.job.uid)
        if tenant is not None:
            await self._forget_in_index(lease, await self._home(tenant))

    async def _end_tenant(self, tenant: Tenant) -> bool:
        if tenant.state is TenantState.DELETED:
            await self._provisioner.purge(tenant.uid)
            return True
        return await self._provisioner.expire(tenant.uid) is not None

    async def _delete_batch(self, lease: Lease, home: Home, numbers: dict[str, int]) -> int:
        """Delete a batch from the store, with the checkpoint that names it; how many.

        A batch has up to 1,000 events and up to 16 MiB of them.

        Holds are read in the transaction that deletes, and placing one collides with it: a hold
        that was placed stops the very next batch.
        """
        tenant = home.tenant
        collection = events_of(self._store.database, home.space.collection)
        before = await self._before(tenant)
        old: Document = {"t": tenant.uid, "received_at": {"$lt": DatetimeMS(before)}}
        placed = has_place(tenant, "received_at")
        doomed = [
            Doomed(int(document["received_at"]), event_id_of(document["_id"]))
            for document in await _first_batch(collection, old | placed, {"received_at": 1})
        ]
        keys = [store_key(tenant, event.event_id) for event in doomed]
        # Documents without a place are no events: no index holds them. Their keys may be of a type
        # that the driver cannot read, so none is named: the first that is found is deleted.
        odd: list[DeleteOne] = []
        if not doomed:
            others = old | {"$nor": [placed]}
            odd = [DeleteOne(others) for _ in await _first_batch(collection, others, {"_id": 0})]

        async def work(session: AsyncClientSession) -> tuple[int, int]:
            if await self._holds.held(tenant.uid, session):
                return -1, 0
            if odd:
                deleted = (await collection.bulk_write(odd, session=session)).deleted_count
            else:
                gone = await collection.delete_many({"_id": {"$in": keys}}, session=session)
                deleted = gone.deleted_count
            letters = await self._dead_letters.purge(
                tenant.uid, before=to_datetime(before), limit=_BATCH, session=session
            )
            counted = numbers | {
                "done": numbers["done"] + deleted,
                "dead_letters": numbers["dead_letters"] + letters,
            }
            checkpoint = msgspec.to_builtins(Checkpoint(doomed), builtin_types=(bytes,))
            await lease.save(checkpoint=checkpoint, progress=counted, session=session)
            return deleted, letters

        async with self._store.database.client.start_session() as session:
            events, letters = await session.with_transaction(
                work, read_concern=ReadConcern("snapshot"), write_concern=MAJORITY
            )
        if events < 0:
            numbers["held"] = 1
            log.info("purge_held", tenant=tenant.id)
            return 0
        numbers["done"] += events
        numbers["dead_letters"] += letters
        self._metrics.events.labels("purged").inc(events)
        return max(len(doomed), events) + letters

    async def _forget_in_index(self, lease: Lease, home: Home) -> None:
        """Remove from the index what the last batch deleted from the store."""
        checkpoint = msgspec.convert(lease.job.checkpoint, Checkpoint)
        if not checkpoint.doomed or not home.space.search_enabled:
            return
        if self._opensearch is None:
            raise RuntimeError(
                "The tenant's events are in OpenSearch too. Set OPENSEARCH_URL of the jobs worker."
            )
        for entry in home.space.indices:
            ids = [
                event.event_id
                for event in checkpoint.doomed
                if entry.covers(to_datetime(event.received_at))
            ]
            kept = [
                retired.index
                for retired in home.space.retired_indices
                if retired.index.startswith(f"{entry.alias}_")
            ]
            await remove_from_index(self._opensearch, home, [*entry.written, *kept], ids)

    async def _leave_empty_indices(self, home: Home) -> None:
        """Take ranges out of use that are past the cutoff and hold nothing any more."""
        if home.tenant.shared:
            return  # others' events live there, with cutoffs of their own
        before = await self._before(home.tenant)
        collection = events_of(self._store.database, home.space.collection)
        for entry in home.space.indices:
            if to_ms(entry.end) > before or entry.beside is not None:
                continue
            query = {"received_at": {"$gte": entry.start, "$lt": entry.end}}
            if await collection.find_one(query, {"_id": 1}) is None:
                await self._take_out(home, entry.index)

    async def _take_out(self, home: Home, index: str) -> None:
        now = await server_time(self._store.database)

        async def work(transaction: RegistryTransaction) -> None:
            space = await transaction.get(type(home.space), home.space.name)
            if space is None:
                return
            left = [entry for entry in space.indices if entry.index != index]
            if len(left) < len(space.indices):
                changed = msgspec.structs.replace(space, indices=left)
                await transaction.replace(changed.with_retired(index, now))

        await self._store.write(work)
        log.info("index_out_of_use", index=index)

    async def _before(self, tenant: Tenant) -> int:
        """What was received before this time may be deleted, by MongoDB's clock."""
        now = to_ms(await server_time(self._store.database))
        return tenant.cutoff_ms(now) - int(_MARGIN.total_seconds() * 1000)

    async def _home(self, tenant: Tenant) -> Home:
        space = await self._store.space(tenant.space)
        if space is None:
            raise RuntimeError(f"The space {tenant.space!r} is missing.")
        return Home(tenant, space)


async def _first_batch(
    collection: AsyncCollection[Document], query: Document, fields: Document
) -> list[Document]:
    """Read fields of the first documents of a query, as many as one batch has."""
    cursor = collection.find(query, fields | {"size": {"$bsonSize": "$$ROOT"}})
    cursor = cursor.sort([("received_at", 1), ("_id", 1)]).limit(_BATCH)
    batches = batched_by_bytes(
        await cursor.to_list(),
        max_items=_BATCH,
        max_bytes=MAX_BATCH_BYTES,
        size=lambda document: int(document["size"]),
    )
    return next(batches, [])
