"""`ocelot tenants`."""

from datetime import datetime
from typing import Annotated, Final

import msgspec
import typer
from msgspec import UNSET

from ocelot_cli.administration import administration, run_on_backends, tenant_of
from ocelot_cli.console import WRONG_USAGE, fail, note, out, plain, say, show_line
from ocelot_cli.groups import AsJson, command_group
from ocelot_cli.listing import Column, print_list, time_text
from ocelot_common.names import Period
from ocelot_common.provisioning.claiming import TenantSpec
from ocelot_common.provisioning.errors import TenantNotFoundError
from ocelot_common.registry.model import Isolation, ResourceOwner, Space, Tenant
from ocelot_common.terminal import escape
from ocelot_common.timestamps import now_ms

_COLUMNS: Final = (
    Column("id", whole=True),
    Column("state"),
    Column("created", whole=True),
    Column("uid", whole=True, optional=True),
    Column("isolation", optional=True),
    Column("owner", optional=True),
)

app = command_group(
    "Create, list, suspend and delete tenants.",
    example="ocelot tenants create acme",
)

#: In the place of a value that a tenant does not have.
_NOT_SET: Final = "not set"

TenantId = Annotated[str, typer.Argument(metavar="ID", help="Id of the tenant.")]
Owner = Annotated[str, typer.Option(help="Owner of the tenant; only the owner may change it.")]


@app.command()
def create(
    tenant_id: TenantId,
    display_name: Annotated[str, typer.Option(help="Display name.")] = "",
    isolation: Annotated[
        str,
        typer.Option(
            help="dedicated (own collection and indices) or shared (with other small tenants)."
        ),
    ] = "dedicated",
    retention_days: Annotated[
        int | None,
        typer.Option(
            min=1, help="Days after which events are deleted. If not set, events are kept."
        ),
    ] = None,
    max_event_bytes: Annotated[
        int | None,
        typer.Option(min=1_024, help="Largest event in bytes, if lower than the api's limit."),
    ] = None,
    period: Annotated[Period, typer.Option(help="Time range of one index.")] = Period.MONTH,
    shards: Annotated[int, typer.Option(min=1, max=64, help="Primary shards per index.")] = 1,
    replicas: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=5,
            help="Replicas per index. If not set: 1 when OpenSearch has more than one data node,"
            " otherwise 0.",
        ),
    ] = None,
    owner: Owner = "cli",
) -> None:
    """Create a tenant, or restore one that is being deleted, with its events and tokens.

    Example: ocelot tenants create acme --retention-days 365
    """
    tier = {kind.lower(): kind for kind in Isolation}.get(isolation.lower())
    if tier is None:
        fail(f"--isolation must be dedicated or shared, got {isolation!r}.", status=WRONG_USAGE)
    spec = TenantSpec(
        id=tenant_id,
        owner=owner,
        display_name=display_name,
        isolation=tier,
        retention_days=retention_days,
        max_event_bytes=max_event_bytes,
        period=period,
        shards=shards,
        replicas=replicas,
    )

    if tier is Isolation.SHARED and (period, shards, replicas) != (Period.MONTH, 1, None):
        fail(
            "--period, --shards and --replicas need --isolation dedicated. For shared tenants, set"
            " OCELOT_SHARED_SHARDS and OCELOT_SHARED_REPLICAS.",
            status=WRONG_USAGE,
        )

    async def work() -> tuple[Tenant, list[str]]:
        async with administration() as admin:
            tenant = await admin.provisioner.create(spec)
            return tenant, _unmet(spec, tenant, await admin.store.space(tenant.space))

    tenant, unmet = run_on_backends(work())
    say(f"{tenant.id} is {tenant.state}, {tenant.isolation}, uid {tenant.uid}")
    note(f"next: ocelot tokens create --tenant {tenant.id} --role writer")
    if unmet:
        fail(f"The tenant existed already and keeps these values: {', '.join(unmet)}.")


@app.command(name="list")
def list_tenants(
    every: Annotated[bool, typer.Option("--all", help="Include deleted tenants.")] = False,
    as_json: AsJson = False,
) -> None:
    """List tenants.

    Example: ocelot tenants list --all
    """

    async def work() -> list[Tenant]:
        async with administration() as admin:
            return await admin.store.tenants(tombstones=every)

    tenants = run_on_backends(work())
    if as_json:
        for tenant in tenants:
            show_line(_json(msgspec.structs.asdict(tenant)))
        return
    rows = [
        (
            tenant.id,
            tenant.state,
            _day(tenant.created_at),
            tenant.uid,
            tenant.isolation,
            str(tenant.owner),
        )
        for tenant in tenants
    ]
    print_list(_COLUMNS, rows)


@app.command()
def show(tenant_id: TenantId, as_json: AsJson = False) -> None:
    """Show a tenant, its space and its indices.

    Example: ocelot tenants show acme
    """

    async def work() -> dict[str, Tenant | Space | None]:
        async with administration() as admin:
            tenant = await tenant_of(admin.store, tenant_id)
            space = await admin.store.space(tenant.space)
            return {"tenant": tenant, "space": space}

    found = run_on_backends(work())
    if as_json:
        parts = {name: part and msgspec.structs.asdict(part) for name, part in found.items()}
        show_line(_json(parts))
        return
    for part in found.values():
        if part is not None:
            for name in part.__struct_fields__:
                value = getattr(part, name)
                if isinstance(value, ResourceOwner):
                    value = str(value)  # as `tenants list` shows it and `--owner` takes it
                value = msgspec.to_builtins(value)
                out.print(plain(f"{name:>16}  {value}"))


@app.command()
def update(
    tenant_id: TenantId,
    display_name: Annotated[str | None, typer.Option(help="New display name.")] = None,
    retention_days: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Days after which events are deleted. A longer retention takes effect immediately."
            " A shorter one takes effect after OCELOT_RETENTION_DELAY_SEC (1 day).",
        ),
    ] = None,
    no_retention: Annotated[bool, typer.Option("--no-retention", help="Keep events for ever.")] = (
        False
    ),
    owner: Owner = "cli",
) -> None:
    """Change the display name or the retention of a tenant.

    Example: ocelot tenants update acme --retention-days 90
    """
    if no_retention and retention_days is not None:
        fail("Use --retention-days or --no-retention, not both.", status=WRONG_USAGE)
    if display_name is None and retention_days is None and not no_retention:
        fail("Use --display-name, --retention-days or --no-retention.", status=WRONG_USAGE)

    async def work() -> Tenant:
        async with administration() as admin:
            return await admin.provisioner.update(
                tenant_id,
                owner=owner,
                display_name=UNSET if display_name is None else display_name,
                retention_days=None if no_retention else retention_days or UNSET,
            )

    tenant = run_on_backends(work())
    say(f"{tenant.id}: {tenant.display_name!r}, {_retention(tenant)}")


@app.command()
def suspend(tenant_id: TenantId, owner: Owner = "cli") -> None:
    """Reject a tenant's requests. Acknowledged events are still stored.

    Example: ocelot tenants suspend acme
    """

    async def work() -> Tenant:
        async with administration() as admin:
            return await admin.provisioner.suspend(tenant_id, owner=owner)

    say(f"{tenant_id} is {run_on_backends(work()).state}")


@app.command()
def resume(tenant_id: TenantId, owner: Owner = "cli") -> None:
    """Accept the requests of a suspended tenant again.

    Example: ocelot tenants resume acme
    """

    async def work() -> Tenant:
        async with administration() as admin:
            return await admin.provisioner.resume(tenant_id, owner=owner)

    say(f"{tenant_id} is {run_on_backends(work()).state}")


@app.command()
def delete(
    tenant_id: TenantId,
    now: Annotated[
        bool, typer.Option("--now", help="Delete its events immediately and permanently.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    owner: Owner = "cli",
) -> None:
    """Delete a tenant after a 7-day grace period during which it can be restored.

    `--now` deletes it immediately.

    Example: ocelot tenants delete acme
    """
    if now and not yes:
        shown = escape(tenant_id)
        typed = typer.prompt(f"Type {shown} to delete all its events permanently", err=True)
        if typed != tenant_id:
            fail("The typed id is not the id of the tenant. Nothing was deleted.")

    async def work() -> Tenant:
        async with administration() as admin:
            try:
                return await admin.provisioner.delete(tenant_id, owner=owner, now=now)
            except TenantNotFoundError:
                # A purge that did not end is ended by the same command.
                for purged in await admin.provisioner.finish_purges() if now else ():
                    if purged.id == tenant_id:
                        return purged
                raise

    tenant = run_on_backends(work())
    if now:
        say(f"Deleted {tenant_id} and its events.")
    else:
        until = tenant.purge_after.isoformat(timespec="minutes") if tenant.purge_after else "then"
        say(
            f"{tenant_id} will be deleted at {until}. Until then,"
            f" `ocelot tenants create {tenant_id}` restores it."
        )


def _unmet(spec: TenantSpec, tenant: Tenant, space: Space | None) -> list[str]:
    """What was asked for and is otherwise: a tenant that exists is not changed by making it."""
    present = (msgspec.structs.asdict(space) if space else {}) | msgspec.structs.asdict(tenant)
    left_out = msgspec.structs.asdict(TenantSpec(id=spec.id, owner=spec.owner))
    return [
        f"{name} {_NOT_SET if present[name] is None else present[name]}"
        for name, wanted in msgspec.structs.asdict(spec).items()
        if wanted not in (left_out[name], present.get(name, wanted))
    ]


def _json(shown: object) -> bytes:
    # Of the attributes, not of the registry's documents, in which a uid is `_id`.
    return msgspec.json.encode(shown)


def _retention(tenant: Tenant) -> str:
    """How long a tenant's events are kept, now and later."""
    days = tenant.retention_days_at(now_ms())
    now = "keeps events for ever" if days is None else f"keeps events for {days} days"
    pending = tenant.pending_retention
    if pending is None or pending.days == days:
        return now
    return f"{now}, and from {time_text(pending.effective_at)} for {pending.days} days"


def _day(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d")
