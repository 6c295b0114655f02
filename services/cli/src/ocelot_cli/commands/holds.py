"""`ocelot holds`."""

from typing import Annotated, Final

import msgspec
import typer

from ocelot_cli.administration import (
    administration,
    run_on_backends,
    tenant_ids,
    tenant_of,
    uid_of,
)
from ocelot_cli.console import counted, say, show_line
from ocelot_cli.groups import AsJson, command_group
from ocelot_cli.listing import Column, print_list, time_text
from ocelot_cli.running import NotFoundError
from ocelot_common.holds import Hold, HoldStore
from ocelot_common.provisioning.errors import ProvisioningError

_COLUMNS: Final = (
    Column("id", whole=True),
    Column("placed", whole=True),
    Column("tenant"),
    Column("reason"),
    Column("owner", optional=True),
)

app = command_group(
    "Place, list and lift legal holds, which prevent the deletion of a tenant's events.",
    example="ocelot holds list",
)

TenantId = Annotated[str, typer.Argument(metavar="TENANT", help="Id of the tenant.")]
Owner = Annotated[str, typer.Option(help="Owner of the hold; only the owner may lift it.")]


@app.command()
def place(
    tenant: TenantId,
    reason: Annotated[str, typer.Option(help="Reason that others will read: 'case 4711'.")],
    owner: Owner = "cli",
) -> None:
    """Place a hold. After the command returns, Ocelot deletes no event of the tenant.

    Example: ocelot holds place acme --reason "case 4711"
    """

    async def work() -> Hold:
        async with administration() as admin:
            uid = (await tenant_of(admin.store, tenant)).uid
            return await HoldStore(admin.store.database).place(uid, reason=reason, owner=owner)

    say(f"Placed the hold {run_on_backends(work()).id} on {tenant}.")


@app.command(name="list")
def list_holds(
    tenant: Annotated[str | None, typer.Option(help="List only holds of this tenant.")] = None,
    as_json: AsJson = False,
) -> None:
    """List legal holds, oldest first.

    Example: ocelot holds list --tenant acme
    """

    async def work() -> tuple[list[Hold], dict[str, str]]:
        async with administration() as admin:
            uid = await uid_of(admin.store, tenant)
            names = await tenant_ids(admin.store)
            return await HoldStore(admin.store.database).find(uid=uid), names

    holds, names = run_on_backends(work())
    if as_json:
        for hold in holds:
            shown = msgspec.structs.asdict(hold) | {"tenant": names.get(hold.uid, "")}
            show_line(msgspec.json.encode(shown))
        return
    rows = [
        (
            hold.id,
            time_text(hold.placed_at),
            names.get(hold.uid, hold.uid),
            hold.reason,
            hold.owner,
        )
        for hold in holds
    ]
    print_list(_COLUMNS, rows)
    say(counted(len(holds), "hold"))


@app.command()
def lift(
    hold_id: Annotated[str, typer.Argument(metavar="ID", help="Full id of the hold.")],
    owner: Owner = "cli",
) -> None:
    """Lift a hold. The next purge deletes events past their retention.

    Example: ocelot holds lift 01a21322-0632-710b-8580-2fae79ed33ff
    """

    async def work() -> None:
        async with administration() as admin:
            holds = HoldStore(admin.store.database)
            hold = next((each for each in await holds.find() if each.id == hold_id), None)
            if hold is None:
                raise NotFoundError(f"The hold {hold_id!r} does not exist.")
            if hold.owner != owner:
                raise ProvisioningError(
                    f"The hold belongs to {hold.owner!r}. Only the owner may lift it."
                )
            if not await holds.lift(hold.id):
                raise NotFoundError(f"The hold {hold_id!r} has been lifted meanwhile.")

    run_on_backends(work())
    say(f"Lifted the hold {hold_id}.")
