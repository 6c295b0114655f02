"""Removes what was written for tenants after they had been deleted and purged."""

from ocelot_common.names import SHARED_SPACE
from ocelot_common.provisioning.removal import DataRemoval
from ocelot_common.registry.model import Tenant
from ocelot_common.registry.store import RegistryStore
from ocelot_common.telemetry.logs import get_logger
from ocelot_jobs.leases import Lease

log = get_logger(__name__)


class Sweep:
    """The work of the one job `sweep`, which recurs as often as purges do.

    A consumer or an indexer acts on a registry that it read up to 30 s ago. It may write an event
    of a tenant that was purged meanwhile, and nobody would ever find or remove that event.
    """

    def __init__(self, *, store: RegistryStore, removal: DataRemoval) -> None:
        self._store = store
        self._removal = removal

    async def run(self, lease: Lease) -> None:
        """Remove all data of tenants whose purge has ended."""
        tenants = await self._store.tenants(tombstones=True)
        purged = [tenant for tenant in tenants if tenant.purged_at is not None]
        numbers = {"done": 0, "documents": 0, "collections_and_indices": 0}
        shared = await self._store.space(SHARED_SPACE)
        uids = [tenant.uid for tenant in purged if tenant.shared]
        if shared is not None and uids:
            numbers["documents"] = await self._removal.from_shared_space(shared, uids)
        in_use = {tenant.space for tenant in tenants if tenant.live}
        for tenant in purged:
            if not tenant.shared and tenant.space not in in_use:
                numbers["collections_and_indices"] += await self._sweep_space(tenant)
        numbers["done"] = numbers["documents"] + numbers["collections_and_indices"]
        if numbers["done"]:
            log.warning("leftovers_removed", **numbers)
        await lease.save(progress=numbers)

    async def tidy(self, lease: Lease) -> None:
        """There is nothing to undo."""

    async def _sweep_space(self, tenant: Tenant) -> int:
        space = await self._store.space(tenant.space)
        if space is None or not space.retired:
            return 0
        return await self._removal.of_space(space, tenant.uid)
