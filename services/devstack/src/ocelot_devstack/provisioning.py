"""Tenants and tokens of an installation, made by the same code as the CLI's."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Final

from ocelot_common import mongo, opensearch
from ocelot_common.auth.keys import SigningKey, load_signing_key, publish_key
from ocelot_common.auth.tokens import mint_token
from ocelot_common.provisioning.claiming import TenantSpec
from ocelot_common.provisioning.database import prepare_database
from ocelot_common.provisioning.queue_keys import record_queue_keys
from ocelot_common.provisioning.tenants import Provisioner
from ocelot_common.queue.keys import KeyFile
from ocelot_common.registry.model import Isolation, Tenant
from ocelot_common.registry.store import RegistryStore
from ocelot_common.settings import TokenSettings
from ocelot_devstack.demo import ROLES
from ocelot_devstack.installation import Installation
from ocelot_devstack.stack import Stack

#: Demo tokens outlive the day on which they were printed.
TOKEN_TTL: Final = timedelta(days=30)
OWNER: Final = "cli"


class TenantMaker:
    """Makes tenants of one installation and mints their tokens."""

    def __init__(self, provisioner: Provisioner, store: RegistryStore, key: SigningKey) -> None:
        self.provisioner = provisioner
        self.store = store
        self.key = key

    async def create(self, tenant_id: str, isolation: Isolation = Isolation.DEDICATED) -> Tenant:
        """Make a tenant, or find it made."""
        return await self.provisioner.create(
            TenantSpec(id=tenant_id, owner=OWNER, isolation=isolation)
        )

    def token(self, tenant: Tenant, role: str, *, ttl: timedelta = TOKEN_TTL) -> str:
        """A token of a role for one tenant."""
        defaults = TokenSettings()
        return mint_token(
            self.key,
            subject=f"{role}@{tenant.id}",
            tenants=[tenant],
            role=role,
            ttl=ttl,
            issuer=defaults.token_issuer,
            audience=defaults.token_audience,
        )


@asynccontextmanager
async def open_tenant_maker(installation: Installation) -> AsyncIterator[TenantMaker]:
    """Connect to an installation's backends; publishes its keys."""
    async with AsyncExitStack() as stack:
        client = mongo.connect(installation.mongodb_url, app_name="ocelot-devstack")
        stack.push_async_callback(client.close)
        search = None
        if installation.opensearch_url is not None:
            search = opensearch.connect(installation.opensearch_url)
            stack.push_async_callback(search.close)
        store = RegistryStore(client[installation.mongodb_database])
        await prepare_database(store.database)
        key = load_signing_key(installation.signing_key_file)
        await publish_key(store, key)
        await record_queue_keys(store, KeyFile(installation.queue_keys_file).keys)
        prefix = installation.index_prefix
        yield TenantMaker(Provisioner(store, search, index_prefix=prefix), store, key)


async def provision_tenant(stack: Stack, tenant: str, isolation: Isolation) -> Mapping[str, str]:
    """Make a demo tenant, and one token for each role."""
    async with open_tenant_maker(stack.installation) as maker:
        made = await maker.create(tenant, isolation)
        return {role: maker.token(made, role) for role in ROLES}
