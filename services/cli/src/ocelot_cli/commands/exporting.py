"""`ocelot export`."""

import asyncio
import time
from typing import Annotated, Any

import httpx
import typer

from ocelot_cli.access import ApiUrl, TenantOption, Token, http_client
from ocelot_cli.console import REJECTED, WRONG_USAGE, complain, counted, fail, say
from ocelot_cli.durations import parse_moment, parse_option
from ocelot_cli.environment import api_access
from ocelot_cli.export.download import Download
from ocelot_cli.export.forms import Form, Format, form_of
from ocelot_cli.export.output import STDOUT, Output, State, UnusableFileError
from ocelot_cli.filters import (
    Action,
    Actor,
    Filters,
    Outcome,
    RequestId,
    Severity,
    Since,
    Target,
    Until,
    Where,
    Words,
)
from ocelot_cli.transfer.progress import ProgressReport
from ocelot_cli.transfer.repeating import RefusedError, Repeater, failure_status
from ocelot_common.csv_rows import DEFAULT_COLUMNS

#: The api sends something every few seconds.
_TIMEOUT = httpx.Timeout(60.0, connect=5.0)


def export(
    words: Words = None,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="New file; '-' writes to stdout.")
    ] = STDOUT,
    form: Annotated[Format, typer.Option("--format", help="Format of the file.")] = Format.NDJSON,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="PATH,…", help="Columns of CSV: id,occurred_at,actor.id,metadata.plan"
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the file of an interrupted run.")
    ] = False,
    action: Action = None,
    actor: Actor = None,
    target: Target = None,
    outcome: Outcome = None,
    severity: Severity = None,
    request_id: RequestId = None,
    where: Where = None,
    since: Since = None,
    until: Until = None,
    stored_until: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Only events stored before: RFC 3339, -1h or a seq. A repeated export with"
            " the same value has the same events.",
        ),
    ] = None,
    sort: Annotated[
        str,
        typer.Option(help="Order: occurred_at or received_at; with '-' before it, latest first."),
    ] = "occurred_at",
    patience: Annotated[
        float,
        typer.Option(
            min=1, help="Seconds for which a request is retried while the api is unavailable."
        ),
    ] = 300.0,
    tenant: TenantOption = None,
    api_url: ApiUrl = None,
    token: Token = None,
) -> None:
    """Write all matching events to a file, and verify that none is missing.

    Exit status 3: the file also has lines for stored documents that are not events.

    `--resume` continues an interrupted export at the point where it stopped, with the same events.
    FILE.unfinished next to the file records the progress and is removed at the end. The command
    accepts the same filters as `ocelot search`.

    Example: ocelot export --tenant acme --output acme.ndjson --from 2026-11-01T00:00:00Z
    """
    if columns is not None and form is not Format.CSV:
        fail("--columns needs --format csv.", status=WRONG_USAGE)
    if resume and output == STDOUT:
        fail("--resume needs the --output FILE of the interrupted run.", status=WRONG_USAGE)
    filters = Filters(
        words, action, actor, target, outcome, severity, request_id, where, since, until
    )
    chosen = columns.split(",") if columns else list(DEFAULT_COLUMNS)
    options: dict[str, Any] = {
        **filters._asdict(),
        "format": form.value,
        "columns": columns,
        "sort": sort,
        "stored_until": stored_until,
        "tenant": tenant,
    }
    params = [*filters.params(), ("sort", sort)]
    if stored_until:
        number = stored_until.isascii() and stored_until.isdigit()
        moment = (
            stored_until if number else parse_option("--stored-until", stored_until, parse_moment)
        )
        params.append(("stored_until", moment))
    if form is Format.CSV:
        params.append(("fields", ",".join(chosen)))
    access = api_access(api_url=api_url, token=token, tenant=tenant, role="admin")
    made = _opened(output, options, params, resume=resume)
    http = http_client(access, tenant, _TIMEOUT)
    began, already = time.monotonic(), made.state.events
    with made:
        status = _download(http, made, form_of(form, chosen), patience)
    state = made.state
    if status:
        if made.resumable:
            so_far = counted(state.events, "event")
            say(f"The file has {so_far}. Run the same command with --resume to continue.")
        raise typer.Exit(status)
    rate = (state.events - already) / max(time.monotonic() - began, 0.001)
    say(
        f"{counted(state.events, 'event')}, {state.bytes / 1e6:,.1f} MB, {rate:,.0f} events/s."
        f" The file has every event that was stored before {state.complete_until}."
    )
    if state.unreadable:
        complain(
            f"{counted(state.unreadable, 'line')} of the file are stored documents that are not"
            " events. `unreadable` is the reason."
        )
        raise typer.Exit(REJECTED)


def _opened(
    output: str, options: dict[str, Any], params: list[tuple[str, str]], *, resume: bool
) -> Output:
    try:
        if resume:
            return Output.resume(output, options)
        return Output.open(output, State(options, params))
    except UnusableFileError as error:
        fail(str(error), status=WRONG_USAGE)
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}")


def _download(http: httpx.AsyncClient, output: Output, form: Form, patience_sec: float) -> int:
    """The exit status."""

    async def work() -> None:
        async with http:
            with ProgressReport(0) as progress:
                repeater = Repeater(http.base_url, patience_sec=patience_sec, report=say)
                download = Download(
                    http,
                    output=output,
                    form=form,
                    repeater=repeater,
                    progress=progress,
                    report=say,
                )
                await download.run()

    try:
        asyncio.run(work())
    except KeyboardInterrupt:
        say("Interrupted.")
        return 130
    except BrokenPipeError:
        raise  # of stdout: the command line ends it quietly
    except (RefusedError, TimeoutError, OSError, httpx.HTTPError) as error:
        complain(str(error) or type(error).__name__)
        return failure_status(error)
    return 0
