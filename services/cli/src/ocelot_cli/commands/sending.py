"""`ocelot send` and `ocelot import`."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import httpx
import typer

from ocelot_cli.access import ApiUrl, TenantOption, Token, http_client
from ocelot_cli.console import (
    FAILED,
    REJECTED,
    WRONG_USAGE,
    complain,
    counted,
    fail,
    out,
    plain,
    say,
    show_line,
)
from ocelot_cli.environment import api_access
from ocelot_cli.mapping import Mapping, MappingError, load_mapping, shipped_mappings
from ocelot_cli.transfer.account import Account
from ocelot_cli.transfer.delivery import Delivery
from ocelot_cli.transfer.lines import STDIN, Source, UnreadableError
from ocelot_cli.transfer.preparing import EventPreparer, MappingPreparer, Preparer
from ocelot_cli.transfer.progress import ProgressReport
from ocelot_cli.transfer.repeating import RefusedError, Repeater, failure_status
from ocelot_cli.transfer.transfer import Transfer

_TIMEOUT = httpx.Timeout(30.0, connect=5.0)

Files = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="FILE…",
        help="NDJSON files, plain, .gz or .zst. '-' or no file: stdin.",
        show_default=False,
    ),
]
Rejects = Annotated[
    Path | None,
    typer.Option(help="File for rejected lines, with line number and reason (NDJSON)."),
]
Patience = Annotated[
    float,
    typer.Option(min=1, help="Seconds for which a batch is retried while the api is unavailable."),
]


def send(
    files: Files = None,
    rejects: Rejects = None,
    patience: Patience = 300.0,
    tenant: TenantOption = None,
    api_url: ApiUrl = None,
    token: Token = None,
) -> None:
    """Send Ocelot events from NDJSON files, one JSON object per line.

    The id of an event is derived from its line. Sending the same file again stores nothing twice,
    so an interrupted run can be repeated. Exit status 3: some lines were rejected.

    Example: ocelot send events.ndjson --tenant acme --rejects rejects.ndjson
    """
    access = api_access(api_url=api_url, token=token, tenant=tenant, role="writer")
    http = http_client(access, tenant, _TIMEOUT)
    _transfer(files, EventPreparer, http=http, rejects=rejects, patience_sec=patience)


def import_(
    files: Files = None,
    mapping: Annotated[
        str | None,
        typer.Option(
            "--mapping", "-m", help="Name of a shipped mapping, or a YAML file (docs/mappings.md)."
        ),
    ] = None,
    zone: Annotated[
        str | None,
        typer.Option(
            help="Time zone of times without an offset: Europe/Vienna, +02:00.", metavar="ZONE"
        ),
    ] = None,
    list_mappings: Annotated[
        bool, typer.Option("--list-mappings", help="List the shipped mappings.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the mapped events and send nothing.")
    ] = False,
    show: Annotated[
        int, typer.Option(min=0, help="With --dry-run: number of events to print; 0 prints all.")
    ] = 0,
    rejects: Rejects = None,
    patience: Patience = 300.0,
    tenant: TenantOption = None,
    api_url: ApiUrl = None,
    token: Token = None,
) -> None:
    """Import audit logs of other systems with a mapping.

    `metadata` contains the whole original event. The id of an event is derived from its line, so
    importing the same file again stores nothing twice. Exit status 3: some lines were rejected.

    Example: ocelot import --mapping cloudtrail trail.json.gz --tenant acme
    """
    if list_mappings:
        for shipped in shipped_mappings():
            out.print(plain(f"{shipped.name:<18} {shipped.description}"))
        return
    if mapping is None:
        fail(
            "A mapping is needed. Give --mapping NAME|FILE. --list-mappings lists the shipped"
            " ones.",
            status=WRONG_USAGE,
        )
    loaded = _load(mapping, zone)
    if dry_run:
        _dry_run(files, lambda: MappingPreparer(loaded), show=show, rejects=rejects)
        return
    access = api_access(api_url=api_url, token=token, tenant=tenant, role="writer")
    _transfer(
        files,
        lambda: MappingPreparer(loaded),
        http=http_client(access, tenant, _TIMEOUT),
        rejects=rejects,
        patience_sec=patience,
    )


def _load(name: str, zone: str | None) -> Mapping:
    try:
        return load_mapping(name, zone=zone)
    except MappingError as error:
        fail(str(error))


def _opened(files: list[str] | None, rejects: Path | None) -> tuple[list[Source], Account]:
    try:
        sources = [Source(name) for name in files or [STDIN]]
        for source in sources:
            if rejects is not None and rejects.exists() and source.is_file(rejects):
                fail(
                    f"--rejects {rejects} is one of the input files and would be overwritten.",
                    status=WRONG_USAGE,
                )
        return sources, Account(rejects)
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}")


def _dry_run(
    files: list[str] | None,
    make_preparer: Callable[[], Preparer],
    *,
    show: int,
    rejects: Path | None,
) -> None:
    sources, account = _opened(files, rejects)
    with account:
        transfer = Transfer(sources, make_preparer=make_preparer, account=account)
        try:
            for number, prepared in enumerate(transfer.events(), start=1):
                show_line(prepared.event)
                if number == show:
                    break
        except UnreadableError as error:
            fail(str(error))
    if account.rejected:
        say(f"{account.rejected:,} of {counted(account.read, 'line')} cannot be mapped.")
        raise typer.Exit(REJECTED)


def _transfer(
    files: list[str] | None,
    make_preparer: Callable[[], Preparer],
    *,
    http: httpx.AsyncClient,
    rejects: Path | None,
    patience_sec: float,
) -> None:
    sources, account = _opened(files, rejects)
    began = time.monotonic()
    with account:
        transfer = Transfer(sources, make_preparer=make_preparer, account=account)

        async def work() -> None:
            total = sum(source.size for source in sources)
            async with http:
                with ProgressReport(total) as progress:
                    repeater = Repeater(http.base_url, patience_sec=patience_sec, report=say)
                    await transfer.send(Delivery(http, repeater), progress)

        status = 0
        try:
            asyncio.run(work())
        except KeyboardInterrupt:
            say("Interrupted. Run the same command again to continue; nothing is stored twice.")
            status = 130
        except (RefusedError, TimeoutError, OSError, httpx.HTTPError) as error:
            complain(str(error) or type(error).__name__)
            status = failure_status(error)
        account.summary(time.monotonic() - began)
    if status == 0 and account.open:
        say(
            f"The result of {counted(account.open, 'line')} is unknown. This is a defect of the"
            " command."
        )
        status = FAILED
    if status == 0 and account.rejected:
        status = REJECTED
    if status:
        raise typer.Exit(status)
