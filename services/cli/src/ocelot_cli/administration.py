"""Commands that work on the backends themselves: their connections, and what can go wrong there."""

from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any, Final, NamedTuple, TypeVar

from opensearchpy import AsyncOpenSearch
from opensearchpy.exceptions import ConnectionError as OpenSearchConnectionError
from opensearchpy.exceptions import TransportError
from pydantic import ValidationError
from pymongo.errors import ConnectionFailure, OperationFailure, PyMongoError

from ocelot_cli.console import DENIED, FAILED, NOT_FOUND, UNREACHABLE, WRONG_USAGE, fail
from ocelot_cli.environment import use_dev_backends
from ocelot_cli.running import backend, first_line, run, verbose
from ocelot_common import mongo, opensearch
from ocelot_common.provisioning.claiming import SharedSpaceSpec
from ocelot_common.provisioning.errors import ProvisioningError, TenantNotFoundError
from ocelot_common.provisioning.indices import ForeignIndexError
from ocelot_common.provisioning.queue_keys import QueueKeyError, QueueKeyNotFoundError
from ocelot_common.provisioning.tenants import Provisioner
from ocelot_common.registry.model import Tenant
from ocelot_common.registry.store import RegistryStore
from ocelot_common.settings import ProvisioningSettings, faults_of, read

T = TypeVar("T")

#: Unauthorized, AuthenticationFailed (MongoDB's error codes).
_MONGODB_DENIED: Final = frozenset({13, 18})


def run_on_backends(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end; failures become one line on stderr and an exit status."""
    if verbose():
        return run(work)
    try:
        return run(work)
    except ValidationError as error:
        missing = [str(fault["loc"][0]) for fault in error.errors() if fault["type"] == "missing"]
        if not missing:
            fail("; ".join(faults_of(ProvisioningSettings, error)), status=WRONG_USAGE)
        fail(
            f"Set {', '.join(missing)}, or run `make dev`. .env.example describes the settings.",
            status=WRONG_USAGE,
        )
    except PyMongoError as error:
        reason = first_line(error).partition(" (configured timeouts")[0]
        fail(f"{backend('MongoDB', 'MONGODB_URL')} cannot be used: {reason}", status=_status(error))
    except TransportError as error:
        fail(
            f"{backend('OpenSearch', 'OPENSEARCH_URL')} cannot be used: {first_line(error)}",
            status=_status(error),
        )
    except (TenantNotFoundError, QueueKeyNotFoundError) as error:
        fail(str(error), status=NOT_FOUND)
    except (ProvisioningError, ForeignIndexError, QueueKeyError) as error:
        fail(str(error))


def _status(error: PyMongoError | TransportError) -> int:
    if isinstance(error, ConnectionFailure | OpenSearchConnectionError):
        return UNREACHABLE
    if isinstance(error, OperationFailure):
        return DENIED if error.code in _MONGODB_DENIED else FAILED
    return DENIED if getattr(error, "status_code", None) in (401, 403) else FAILED


class Administration(NamedTuple):
    """The registry and what writes it."""

    store: RegistryStore
    provisioner: Provisioner


async def tenant_of(store: RegistryStore, tenant_id: str) -> Tenant:
    """The live tenant of an id.

    Raises:
        TenantNotFoundError: there is none.
    """
    tenant = await store.live_tenant(tenant_id)
    if tenant is None:
        raise TenantNotFoundError(f"The tenant {tenant_id!r} does not exist.")
    return tenant


async def uid_of(store: RegistryStore, tenant_id: str | None) -> str | None:
    """The uid of the live tenant that an option names; None where it is left out.

    Raises:
        TenantNotFoundError: there is no such tenant.
    """
    return None if tenant_id is None else (await tenant_of(store, tenant_id)).uid


async def tenant_ids(store: RegistryStore) -> dict[str, str]:
    """The ids of all tenants by their uids, Deleted ones too."""
    return {tenant.uid: tenant.id for tenant in await store.tenants(tombstones=True)}


@asynccontextmanager
async def administration() -> AsyncIterator[Administration]:
    """Connect to MongoDB and OpenSearch as the environment says."""
    use_dev_backends()
    settings = read(ProvisioningSettings)
    async with AsyncExitStack() as stack:
        client = mongo.connect(settings.mongodb_url, app_name="ocelot-cli")
        stack.push_async_callback(client.close)
        search: AsyncOpenSearch | None = None
        if settings.opensearch_url:
            search = opensearch.connect(settings.opensearch_url)
            stack.push_async_callback(search.close)
        store = RegistryStore(client[settings.mongodb_database])
        provisioner = Provisioner(
            store,
            search,
            index_prefix=settings.index_prefix,
            shared=SharedSpaceSpec(settings.shared_shards, settings.shared_replicas),
            retention_delay=timedelta(seconds=settings.retention_delay_sec),
        )
        yield Administration(store, provisioner)
