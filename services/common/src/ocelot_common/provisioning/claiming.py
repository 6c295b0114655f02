"""A new tenant's uid and space: of the Shared tier, or one that holds nobody's data."""

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

import msgspec
from pymongo.errors import DuplicateKeyError

from ocelot_common import names
from ocelot_common.names import Period
from ocelot_common.provisioning.collections import ensure_collection
from ocelot_common.provisioning.errors import LeftoverDataError, ProvisioningError
from ocelot_common.provisioning.indices import IndexMaker
from ocelot_common.registry.model import Isolation, Owner, Space, Tenant, TenantState
from ocelot_common.registry.store import RegistryStore, RegistryTransaction
from ocelot_common.telemetry.logs import get_logger

log = get_logger(__name__)


class TenantSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a tenant is asked to be.

    Attributes:
        owner: who may change the tenant.
        isolation: can't be changed later.
        period, shards: of a Dedicated tenant's indices.
        replicas: the same; None: one where there is more than one data node, else none.
    """

    id: str
    owner: Owner
    display_name: str = ""
    isolation: Isolation = Isolation.DEDICATED
    retention_days: int | None = None
    max_event_bytes: int | None = None
    period: Period = Period.MONTH
    shards: int = 1
    replicas: int | None = None


class SharedSpaceSpec(NamedTuple):
    """What the indices of the Shared tier are to be when its first tenant is created.

    Attributes:
        shards: primary shards of an index.
        replicas: of an index; None: one where there is more than one data node, else none.
    """

    shards: int = 1
    replicas: int | None = None


class TenantClaims:
    """Claims ids for new tenants.

    Args:
        store: the registry.
        indices: None where the installation has no OpenSearch.
        index_prefix: what the names of new indices begin with.
        shared: of the Shared tier's indices.
        clock: the time, aware.
    """

    def __init__(
        self,
        store: RegistryStore,
        indices: IndexMaker | None,
        *,
        index_prefix: str,
        shared: SharedSpaceSpec,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._indices = indices
        self._index_prefix = index_prefix
        self._shared = shared
        self._clock = clock

    async def claim(self, spec: TenantSpec) -> Tenant:
        """Insert the tenant with its space; the unique index on live ids decides a race.

        Raises:
            LeftoverDataError: the stores hold data where the tenant's events would be kept.
            ProvisioningError: another process is making the tenant.
        """
        uid = names.new_uid()
        first = not await self._store.was_used(spec.id)
        try:
            space = await self._space_for(spec, uid, first=first)
        except LeftoverDataError:
            if first and await self._store.was_used(spec.id):  # another process is faster
                return await self._winner(spec.id)
            raise
        tenant = Tenant(
            uid=uid,
            id=spec.id,
            version=0,
            display_name=spec.display_name or spec.id,
            owner=spec.owner,
            isolation=spec.isolation,
            state=TenantState.ACTIVE,
            space=space.name,
            retention_days=spec.retention_days,
            max_event_bytes=spec.max_event_bytes,
            created_at=self._clock(),
        )
        # The collection comes first: a consumer that knows a tenant never makes it by an insert.
        await ensure_collection(self._store.database, space)

        async def work(transaction: RegistryTransaction) -> None:
            if not tenant.shared or await transaction.get(Space, space.name) is None:
                await transaction.insert(space)
            await transaction.insert(tenant)

        try:
            await self._store.write(work)
        except DuplicateKeyError:
            return await self._winner(spec.id)
        log.info("tenant_created", tenant=tenant.id, uid=uid, isolation=spec.isolation)
        return tenant

    async def _winner(self, tenant_id: str) -> Tenant:
        """The tenant that another process has just made."""
        winner = await self._store.live_tenant(tenant_id)
        if winner is None:
            raise ProvisioningError(
                f"The tenant {tenant_id!r} is being created by another process. Repeat the command."
            ) from None
        return winner

    async def _space_for(self, spec: TenantSpec, uid: str, *, first: bool) -> Space:
        """The space of a new tenant: the one of the Shared tier, or one that nobody has used.

        Raises:
            LeftoverDataError: the space is new to the registry, and holds data already.
        """
        shared = spec.isolation is Isolation.SHARED
        name = names.SHARED_SPACE if shared else names.space_name(spec.id, uid, first=first)
        present = await self._store.space(name)
        if shared and present is not None:
            return present
        space = Space(
            name=name,
            version=0,
            key=names.new_uid(),
            collection=name,
            search_enabled=self._indices is not None,
            alias=self._index_prefix + name,
            period=Period.MONTH if shared else spec.period,
            shards=self._shared.shards if shared else spec.shards,
            replicas=self._shared.replicas if shared else spec.replicas,
        )
        found = "the space exists" if present else await self._leftovers(space)
        if found is None:
            return space
        if shared and (made := await self._store.space(name)):  # by another process meanwhile
            return made
        raise LeftoverDataError(spec.id, space, found)

    async def _leftovers(self, space: Space) -> str | None:
        """What the stores hold under the names of a space that is to be made."""
        document = await self._store.database[space.collection].find_one({}, {"t": 1})
        if document is not None:
            uid = str(document.get("t"))[:40]
            return f"the collection {space.collection!r} contains events of the uid {uid}"
        if self._indices is not None and (found := await self._indices.present(space)):
            return f"the index {min(found)!r} exists"
        return None
