"""Why a tenant can't be made, changed or removed; the messages are for people."""

from ocelot_common import names
from ocelot_common.registry.model import Space


class ProvisioningError(Exception):
    """A request that can't be met as things are; the message says why."""


class TenantNotFoundError(ProvisioningError):
    """No live tenant has this id."""


class HeldError(ProvisioningError):
    """The tenant has a legal hold."""


class OwnerError(ProvisioningError):
    """The tenant belongs to somebody else."""


class LeftoverDataError(ProvisioningError):
    """A new tenant would be given a collection or an index that holds somebody's data."""

    def __init__(self, tenant_id: str, space: Space, found: str) -> None:
        super().__init__(
            f"The tenant {tenant_id!r} cannot be created: the registry has no tenant for the space"
            f" {space.name!r}, but {found}. Nothing was created. If this data is needed, restore"
            f" the documents of its tenant and space in the collections {names.TENANTS!r} and"
            f" {names.SPACES!r} from a backup. If it is not, drop the collection"
            f" {space.collection!r}, delete the indices {space.alias}_* and remove the document"
            f" {space.name!r} from {names.SPACES!r}. If the indices belong to another installation,"
            " set OCELOT_INDEX_PREFIX."
        )
