"""Mint tokens with the private key that the environment names."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal

from ocelot_cli.administration import administration, tenant_of
from ocelot_cli.console import WRONG_USAGE, fail, say
from ocelot_common.auth.keys import load_signing_key, publish_key
from ocelot_common.auth.tokens import EVERY_TENANT, mint_token
from ocelot_common.provisioning.database import prepare_database
from ocelot_common.registry.model import Tenant
from ocelot_common.registry.store import RegistryStore
from ocelot_common.settings import SigningSettings, TokenSettings


async def mint(
    ids: Sequence[str], *, role: str, scopes: Sequence[str] = (), ttl: timedelta, subject: str = ""
) -> str:
    """Return a signed token; a new key is published first, which takes 30 s.

    Args:
        ids: of the tenants, or `*` alone for all.
        role: of the token, or empty.
        scopes: besides the role's.
        ttl: how long it is valid.
        subject: its `sub`; empty for one made of role and tenants.

    Raises:
        ValueError: these cannot be the rights of a token.
        TenantNotFoundError: there is no such tenant.
    """
    path = SigningSettings().signing_key_file
    if path is None:
        fail(
            "OCELOT_SIGNING_KEY_FILE is not set. Set it to the file of the private key, which"
            " `ocelot tokens key` creates.",
            status=WRONG_USAGE,
        )
    key = load_signing_key(path)
    names = TokenSettings()
    async with administration() as admin:
        await prepare_database(admin.store.database)
        tenants = await _tenants(admin.store, ids)
        ready_at = await publish_key(admin.store, key)
        wait_sec = (ready_at - datetime.now(UTC)).total_seconds()
        if wait_sec > 0:
            say(f"The key is new. Waiting {wait_sec:.0f} s until every api process has read it.")
            await asyncio.sleep(wait_sec)
        return mint_token(
            key,
            subject=subject or f"{role or 'token'}@{','.join(ids)}",
            tenants=tenants,
            role=role,
            scopes=scopes,
            ttl=ttl,
            issuer=names.token_issuer,
            audience=names.token_audience,
        )


async def _tenants(store: RegistryStore, ids: Sequence[str]) -> list[Tenant] | Literal["*"]:
    if list(ids) == [EVERY_TENANT]:
        return EVERY_TENANT
    return [await tenant_of(store, tenant_id) for tenant_id in ids]
