"""`ocelot tokens`."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

from ocelot_cli.administration import administration, run_on_backends, tenant_of
from ocelot_cli.console import fail, out, say
from ocelot_cli.durations import parse_duration
from ocelot_cli.environment import use_dev_backends
from ocelot_common.auth.keys import (
    load_signing_key,
    new_signing_key,
    publish_key,
    save_signing_key,
)
from ocelot_common.auth.scopes import ROLES, SCOPES, current_role
from ocelot_common.auth.tokens import EVERY_TENANT, mint_token
from ocelot_common.provisioning.database import prepare_database
from ocelot_common.registry.model import Tenant
from ocelot_common.registry.store import RegistryStore
from ocelot_common.settings import SigningSettings, TokenSettings

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Make keys and tokens.")


@app.command()
def create(
    tenant: Annotated[
        list[str], typer.Option("--tenant", help="For which tenant; several, or '*' for all.")
    ],
    role: Annotated[str, typer.Option(help=f"One of {', '.join(ROLES)}.")] = "",
    scope: Annotated[
        list[str] | None, typer.Option(help=f"Besides the role's: {', '.join(sorted(SCOPES))}.")
    ] = None,
    ttl: Annotated[str, typer.Option(help="How long it lives: 90s, 15m, 12h, 30d.")] = "30d",
    subject: Annotated[
        str, typer.Option(help="Its `sub`, stored as writer of what is sent with it.")
    ] = "",
) -> None:
    """Print a token for tenants. Needs the private key of OCELOT_SIGNING_KEY_FILE."""

    async def work() -> str:
        life = parse_duration(ttl)
        named = current_role(role)
        if named != role:
            say(f"the role {role} is named {named} now; the token has the new name")
        use_dev_backends()
        path = SigningSettings().signing_key_file
        if path is None:
            fail("set OCELOT_SIGNING_KEY_FILE to the private key; `ocelot tokens key` makes one")
        key = load_signing_key(path)
        names = TokenSettings()
        async with administration() as admin:
            await prepare_database(admin.store.database)
            tenants = await _tenants(admin.store, tenant)
            ready_at = await publish_key(admin.store, key)
            wait_sec = (ready_at - datetime.now(UTC)).total_seconds()
            if wait_sec > 0:
                say(f"the key is new: in {wait_sec:.0f} s every api knows it, waiting")
                await asyncio.sleep(wait_sec)
            return mint_token(
                key,
                subject=subject or f"{named or 'token'}@{','.join(tenant)}",
                tenants=tenants,
                role=named,
                scopes=scope or (),
                ttl=life,
                issuer=names.token_issuer,
                audience=names.token_audience,
            )

    out.print(run_on_backends(work()))


async def _tenants(store: RegistryStore, ids: list[str]) -> list[Tenant] | Literal["*"]:
    if ids == [EVERY_TENANT]:
        return EVERY_TENANT
    return [await tenant_of(store, tenant_id) for tenant_id in ids]


@app.command(name="key")
def make_key(
    path: Annotated[Path, typer.Argument(help="Where to write it; must not exist.")],
) -> None:
    """Make a private key (EC P-256) for signing tokens."""
    if path.exists():
        fail(f"{path} exists; a key is never overwritten")
    key = new_signing_key()
    try:
        save_signing_key(key, path)
    except OSError as error:
        fail(str(error))
    say(f"wrote {path}, key id {key.kid}; set OCELOT_SIGNING_KEY_FILE={path}")
