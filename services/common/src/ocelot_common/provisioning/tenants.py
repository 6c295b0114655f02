"""A tenant's life: create, suspend, delete, purge (design §8). Every step is safe to repeat."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from msgspec import UNSET, UnsetType
from msgspec.structs import replace
from opensearchpy import AsyncOpenSearch

from ocelot_common import names
from ocelot_common.holds import HoldStore
from ocelot_common.provisioning.claiming import SharedSpaceSpec, TenantClaims, TenantSpec
from ocelot_common.provisioning.collections import ensure_collection
from ocelot_common.provisioning.database import prepare_database
from ocelot_common.provisioning.errors import (
    HeldError,
    OwnerError,
    ProvisioningError,
    TenantNotFoundError,
)
from ocelot_common.provisioning.indices import IndexMaker
from ocelot_common.provisioning.removal import DataRemoval
from ocelot_common.registry.model import Owner, ResourceOwner, Space, Tenant, TenantState, is_owner
from ocelot_common.registry.store import RegistryStore, RegistryTransaction
from ocelot_common.telemetry.logs import get_logger

#: How long a deleted tenant can be had back.
GRACE: Final = timedelta(days=7)
#: When a shorter retention takes effect.
RETENTION_DELAY: Final = timedelta(days=1)
_RESTORABLE: Final = (TenantState.DELETING, TenantState.ORPHANED)

log = get_logger(__name__)


class _Rewritten(NamedTuple):
    """A tenant in the transaction that changed it.

    Attributes:
        before: as it was found, which may not be as the caller had read it.
        after: as it was written.
    """

    before: Tenant
    after: Tenant


class Provisioner:
    """Turns specs into registry entries, collections and indices.

    Args:
        store: the registry.
        opensearch: None where the installation has none: search then runs on MongoDB.
        index_prefix: what the names of new indices begin with, for installations that share an
            OpenSearch.
        shared: what the Shared tier's indices are to be; None: one shard, and replicas as the
            number of data nodes allows.
        retention_delay: until a shorter retention takes effect, and events are lost to it.
        clock: the time, aware.
    """

    def __init__(
        self,
        store: RegistryStore,
        opensearch: AsyncOpenSearch | None,
        *,
        index_prefix: str = "",
        shared: SharedSpaceSpec | None = None,
        retention_delay: timedelta = RETENTION_DELAY,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._indices = IndexMaker(store, opensearch) if opensearch else None
        self._claims = TenantClaims(
            store,
            self._indices,
            index_prefix=index_prefix,
            shared=shared or SharedSpaceSpec(),
            clock=clock,
        )
        self._removal = DataRemoval(store, opensearch)
        self._holds = HoldStore(store.database)
        self._retention_delay = retention_delay
        self._clock = clock

    async def apply(self, spec: TenantSpec) -> Tenant:
        """Make a tenant as `create` does, and bring what can change to what the spec says.

        Safe to repeat: a spec that is met writes nothing.

        Raises:
            as `create` and `update` do.
        """
        tenant = await self.create(spec)
        return await self._change(
            tenant,
            display_name=spec.display_name or spec.id,
            retention_days=spec.retention_days,
        )

    async def update(
        self,
        tenant_id: str,
        *,
        owner: Owner,
        display_name: str | UnsetType = UNSET,
        retention_days: int | UnsetType | None = UNSET,
    ) -> Tenant:
        """Change a live tenant.

        Args:
            tenant_id: of the tenant.
            owner: of the tenant.
            display_name: the new one.
            retention_days: the new one, at least 1; None keeps events for ever. A shorter
                retention takes effect after the delay, a longer one at once.

        Raises:
            TenantNotFoundError: there is no such tenant.
            OwnerError: it belongs to somebody else.
            ProvisioningError: it is being deleted, or the retention is below 1.
        """
        tenant = await self._live(tenant_id, owner)
        return await self._change(tenant, display_name=display_name, retention_days=retention_days)

    async def create(self, spec: TenantSpec) -> Tenant:
        """Make a tenant, or bring the owner's own back: the same uid, data and tokens.

        Raises:
            ValueError: the id can't be one.
            OwnerError: the id belongs to somebody else.
            LeftoverDataError: the stores hold data where the tenant's events would be kept.
            ProvisioningError: the isolation differs from the existing one's.
        """
        names.check_tenant_id(spec.id)
        await prepare_database(self._store.database)
        existing = await self._store.live_tenant(spec.id)
        if existing is None:
            existing = await self._claims.claim(spec)
        self._check_owner(existing, spec.owner)
        if existing.isolation is not spec.isolation:
            raise ProvisioningError(
                f"The tenant {spec.id!r} is {existing.isolation}. The isolation cannot be changed."
            )
        space = await self._space_of(existing)
        await self._ensure_resources(space)
        if existing.state in _RESTORABLE:
            before, existing = await self._rewrite(existing.uid, _restored)
            if before.state in _RESTORABLE:
                log.info("tenant_restored", tenant=existing.id, uid=existing.uid)
        if isinstance(spec.owner, ResourceOwner) and existing.owner != spec.owner:
            # Made again: a new uid.
            _, existing = await self._rewrite(
                existing.uid, lambda at: replace(at, owner=spec.owner)
            )
        return existing

    async def suspend(self, tenant_id: str, *, owner: Owner) -> Tenant:
        """Refuse a tenant's requests; what was acknowledged is still stored."""
        tenant = await self._live(tenant_id, owner)
        return (
            await self._rewrite(
                tenant.uid, lambda at: replace(_kept(at), state=TenantState.SUSPENDED)
            )
        ).after

    async def resume(self, tenant_id: str, *, owner: Owner) -> Tenant:
        """End a suspension."""
        tenant = await self._live(tenant_id, owner)
        if tenant.state is not TenantState.SUSPENDED:
            return tenant
        return (await self._rewrite(tenant.uid, _resumed)).after

    async def delete(self, tenant_id: str, *, owner: Owner, now: bool = False) -> Tenant:
        """Delete a tenant: in seven days, or at once and for good with `now`.

        Raises:
            HeldError: with `now`, of a tenant that has a legal hold.
        """
        tenant = await self._live(tenant_id, owner)
        if not now:
            if tenant.state is TenantState.DELETING:
                return tenant
            purge_after = self._clock() + GRACE
            return (
                await self._rewrite(
                    tenant.uid,
                    lambda at: replace(at, state=TenantState.DELETING, purge_after=purge_after),
                )
            ).after
        await self._end(tenant.uid)
        return await self.purge(tenant.uid)

    async def expire(self, uid: str) -> Tenant | None:
        """Delete a tenant for good whose time to be had back is over; None if it is not.

        Raises:
            HeldError: it has a legal hold.
        """
        tenant = await self._store.tenant(uid)
        if tenant is None or not self._is_due(tenant):
            return None
        await self._end(uid, due=True)
        return await self.purge(uid)

    async def finish_purges(self) -> list[Tenant]:
        """Purge what was deleted and whose purge did not end."""
        unfinished = [
            tenant
            for tenant in await self._store.tenants(tombstones=True)
            if tenant.state is TenantState.DELETED and tenant.purged_at is None
        ]
        return [await self.purge(tenant.uid) for tenant in unfinished]

    async def purge(self, uid: str) -> Tenant:
        """Remove a Deleted tenant's events from both stores; its tombstone stays."""
        tenant = await self._store.tenant(uid)
        if tenant is None or tenant.live:
            raise ProvisioningError(f"{uid} is not the uid of a deleted tenant.")
        space = await self._space_of(tenant)
        if tenant.shared:
            await self._removal.from_shared_space(space, [uid])
        else:
            # As it is retired: no rebuild gives it an index after this.
            await self._removal.of_space(await self._retire(space), uid)
        log.info("tenant_purged", tenant=tenant.id, uid=uid)
        purged_at = self._clock()
        return (
            await self._rewrite(uid, lambda at: replace(at, purged_at=purged_at), live=False)
        ).after

    async def _ensure_resources(self, space: Space) -> None:
        await ensure_collection(self._store.database, space)
        if space.search_enabled and self._indices is not None:
            await self._indices.ensure_ahead(space, now=self._clock())

    async def _space_of(self, tenant: Tenant) -> Space:
        space = await self._store.space(tenant.space)
        if space is None:
            raise ProvisioningError(f"The space {tenant.space!r} of {tenant.id!r} is missing.")
        return space

    async def _live(self, tenant_id: str, owner: Owner) -> Tenant:
        tenant = await self._store.live_tenant(tenant_id)
        if tenant is None:
            raise TenantNotFoundError(f"The tenant {tenant_id!r} does not exist.")
        self._check_owner(tenant, owner)
        return tenant

    @staticmethod
    def _check_owner(tenant: Tenant, owner: Owner) -> None:
        if not is_owner(tenant.owner, owner):
            raise OwnerError(
                f"The tenant {tenant.id!r} belongs to {str(tenant.owner)!r}. Only the owner may"
                " change it."
            )

    def _is_due(self, tenant: Tenant) -> bool:
        """Whether the time in which a deleted tenant can be restored is over."""
        after = tenant.purge_after
        return tenant.state is TenantState.DELETING and after is not None and after <= self._clock()

    async def _end(self, uid: str, *, due: bool = False) -> None:
        """Make a tenant a tombstone, unless a hold was placed before."""

        async def work(transaction: RegistryTransaction) -> None:
            tenant = await transaction.get(Tenant, uid)
            if tenant is None or (due and not self._is_due(tenant)):
                raise TenantNotFoundError(f"The tenant with the uid {uid} has been restored.")
            if await self._holds.held(uid, transaction.session):
                raise HeldError(f"The tenant {tenant.id!r} has a legal hold. Nothing was deleted.")
            await transaction.replace(replace(tenant, state=TenantState.DELETED, purge_after=None))

        await self._store.write(work)

    async def _change(
        self,
        tenant: Tenant,
        *,
        display_name: str | UnsetType,
        retention_days: int | UnsetType | None,
    ) -> Tenant:
        if retention_days not in (None, UNSET) and retention_days < 1:
            raise ProvisioningError(f"A retention must be at least 1 day, not {retention_days}.")
        now = self._clock()

        def changed(present: Tenant) -> Tenant:
            present = _kept(present)
            if display_name is not UNSET:
                present = replace(present, display_name=display_name)
            if retention_days is not UNSET:
                present = present.with_retention(
                    retention_days, now=now, delay=self._retention_delay
                )
            return present

        if changed(tenant) == tenant:
            return tenant
        before, after = await self._rewrite(tenant.uid, changed)
        if before != after:
            log.info("tenant_changed", tenant=tenant.id, uid=tenant.uid)
        return after

    async def _rewrite(
        self, uid: str, change: Callable[[Tenant], Tenant], *, live: bool = True
    ) -> _Rewritten:
        """Change a tenant as it is now, which may not be as the caller has read it.

        A tombstone stays one: a purge deletes what a tenant that is made live again would store.

        Args:
            uid: the tenant's.
            change: returns the tenant with the change, or raises what forbids it.
            live: whether the tenant must be live, or a tombstone.

        Raises:
            TenantNotFoundError: the registry has no such tenant, or a tombstone and not a live one.
            ProvisioningError: the registry has a live tenant and not a tombstone.
        """

        async def work(transaction: RegistryTransaction) -> _Rewritten:
            tenant = await transaction.get(Tenant, uid)
            if tenant is None:
                raise TenantNotFoundError(f"The registry has no tenant with the uid {uid}.")
            if live and not tenant.live:
                raise TenantNotFoundError(f"The tenant with the uid {uid} has been deleted.")
            if tenant.live and not live:
                raise ProvisioningError(f"The tenant with the uid {uid} is not deleted any more.")
            changed = change(tenant)
            await transaction.replace(changed)
            return _Rewritten(tenant, changed)

        return await self._store.write(work)

    async def _retire(self, space: Space) -> Space:
        async def work(transaction: RegistryTransaction) -> Space:
            present = await transaction.get(Space, space.name) or space
            retired = replace(present, retired=True)
            await transaction.replace(retired)
            return retired

        return await self._store.write(work)


def _kept(tenant: Tenant) -> Tenant:
    """Return a tenant that is not being deleted.

    Raises:
        ProvisioningError: it is being deleted.
    """
    if tenant.state is TenantState.DELETING:
        raise ProvisioningError(f"The tenant {tenant.id!r} is being deleted.")
    return tenant


def _restored(tenant: Tenant) -> Tenant:
    if tenant.state not in _RESTORABLE:
        return tenant
    return replace(tenant, state=TenantState.ACTIVE, purge_after=None)


def _resumed(tenant: Tenant) -> Tenant:
    if tenant.state is not TenantState.SUSPENDED:
        return tenant
    return replace(tenant, state=TenantState.ACTIVE)
