"""`ocelot tokens`."""

from pathlib import Path
from typing import Annotated

import typer

from ocelot_cli.administration import run_on_backends
from ocelot_cli.console import fail, out, say
from ocelot_cli.durations import parse_duration, parse_option
from ocelot_cli.environment import use_dev_backends
from ocelot_cli.groups import command_group
from ocelot_cli.minting import mint
from ocelot_common.auth.keys import new_signing_key, save_signing_key
from ocelot_common.auth.scopes import ROLES, SCOPES, current_role

app = command_group(
    "Create signing keys and tokens.",
    example="ocelot tokens create --tenant acme --role reader",
)


@app.command()
def create(
    tenant: Annotated[
        list[str],
        typer.Option("--tenant", help="Tenant of the token. Repeat for several; '*' for all."),
    ],
    role: Annotated[str, typer.Option(help=f"Role: {', '.join(ROLES)}.")] = "",
    scope: Annotated[
        list[str] | None,
        typer.Option(help=f"Scope in addition to the role: {', '.join(sorted(SCOPES))}."),
    ] = None,
    ttl: Annotated[str, typer.Option(help="Lifetime: 90s, 15m, 12h, 30d.")] = "30d",
    subject: Annotated[
        str,
        typer.Option(help="The `sub` of the token, stored as the writer of events sent with it."),
    ] = "",
) -> None:
    """Print a new token, signed with the private key in OCELOT_SIGNING_KEY_FILE.

    Example: ocelot tokens create --tenant acme --role writer --ttl 30d
    """
    life = parse_option("--ttl", ttl, parse_duration)
    named = current_role(role)
    if named != role:
        say(f"The role {role} is now named {named}. The token has the new name.")
    use_dev_backends()
    work = mint(tenant, role=named, scopes=scope or (), ttl=life, subject=subject)
    out.print(run_on_backends(work))


@app.command(name="key")
def make_key(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="New file for the private key.")],
) -> None:
    """Create a private key (EC P-256) that signs tokens.

    Example: ocelot tokens key signing-key.pem
    """
    if path.exists():
        fail(f"{path} exists. Name a new file, because a key must not be overwritten.")
    key = new_signing_key()
    try:
        save_signing_key(key, path)
    except OSError as error:
        fail(str(error))
    say(f"Wrote the key {key.kid} to {path}. Set OCELOT_SIGNING_KEY_FILE={path}")
