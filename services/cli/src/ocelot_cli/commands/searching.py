"""`ocelot search`, `ocelot stats` and `ocelot get`."""

from typing import Annotated, Any

import httpx
import msgspec
import typer
from rich.table import Table

from ocelot_cli.access import (
    ApiUrl,
    TenantOption,
    Token,
    exit_status,
    http_client,
    problem_text,
)
from ocelot_cli.console import WRONG_USAGE, counted, fail, out, plain, say, show_json, show_line
from ocelot_cli.environment import api_access
from ocelot_cli.event_table import event_table
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
    Values,
    Where,
    Words,
)
from ocelot_cli.groups import AsJson
from ocelot_cli.running import run
from ocelot_common.ids import format_id, parse_id

_PAGE = 1_000
_TIMEOUT = httpx.Timeout(60.0, connect=5.0)


def search(
    words: Words = None,
    action: Action = None,
    actor: Actor = None,
    target: Target = None,
    outcome: Outcome = None,
    severity: Severity = None,
    request_id: RequestId = None,
    where: Where = None,
    since: Since = None,
    until: Until = None,
    sort: Annotated[
        str,
        typer.Option(help="Order: occurred_at or received_at; with '-' before it, latest first."),
    ] = "-occurred_at",
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of events.")] = 50,
    fields: Annotated[
        Values,
        typer.Option(
            metavar="FIELD,…",
            help="Fields to print of each event: actor.id, targets.name, metadata.plan.",
        ),
    ] = None,
    as_json: AsJson = False,
    tenant: TenantOption = None,
    api_url: ApiUrl = None,
    token: Token = None,
) -> None:
    """Find events. All filters must match. A repeated filter matches any of its values.

    Example: ocelot search --tenant acme --action "document.*" --from -24h
    """
    access = api_access(api_url=api_url, token=token, tenant=tenant, role="reader")
    filters = Filters(
        words, action, actor, target, outcome, severity, request_id, where, since, until
    )

    columns = [field.strip() for text in fields or () for field in text.split(",")]

    async def work() -> None:
        params = [("sort", sort), *filters.params(), *(("fields", field) for field in columns)]
        async with http_client(access, tenant, _TIMEOUT) as http:
            await _pages(http, params, limit, columns=None if as_json else columns)

    run(work())


async def _pages(
    http: httpx.AsyncClient,
    params: list[tuple[str, str]],
    limit: int,
    *,
    columns: list[str] | None,
) -> None:
    """Print a table, or without columns NDJSON."""
    shown = 0
    cursor: str | None = None
    rows: list[dict[str, Any]] = []
    while True:
        page = [*params, ("limit", str(min(_PAGE, limit - shown)))]
        if cursor:
            page.append(("cursor", cursor))
        body = await _get(http, "/api/v1/logs", page)
        for item in body["items"]:
            shown += 1
            if columns is None:
                show_line(msgspec.json.encode(item))
            else:
                rows.append(item)
        cursor = body["next_cursor"]
        if cursor is None or shown >= limit:
            break
    if columns is not None:
        out.print(event_table(rows, columns))
    out.file.flush()
    total = body["total"]
    at_least = "at least " if total["relation"] == "gte" else ""
    say(f"{shown:,} of {at_least}{counted(total['value'], 'event')}, from {body['backend']}")


def stats(
    words: Words = None,
    action: Action = None,
    actor: Actor = None,
    target: Target = None,
    outcome: Outcome = None,
    severity: Severity = None,
    request_id: RequestId = None,
    where: Where = None,
    since: Since = None,
    until: Until = None,
    by: Annotated[
        str | None,
        typer.Option(
            metavar="FIELD",
            help="Count the most common values of a field: actor.id, metadata.plan.",
        ),
    ] = None,
    top: Annotated[
        int | None, typer.Option(help="With --by: number of values (default 10).")
    ] = None,
    every: Annotated[
        str | None,
        typer.Option(
            metavar="INTERVAL",
            help="Count per interval: 1m, 5m, 15m, 30m, 1h, 3h, 6h, 12h, 1d, 1w, 1M, 1y, 10y, 100y,"
            " or auto.",
        ),
    ] = None,
    zone: Annotated[
        str | None,
        typer.Option("--tz", help="Time zone in which days begin, such as Europe/Berlin."),
    ] = None,
    distinct: Annotated[
        Values, typer.Option(metavar="FIELD", help="Count the distinct values of a field.")
    ] = None,
    as_json: AsJson = False,
    tenant: TenantOption = None,
    api_url: ApiUrl = None,
    token: Token = None,
) -> None:
    """Count events: over time (--every), by value (--by), or distinct values (--distinct).

    Example: ocelot stats --tenant acme --by actor.id --from -7d
    """
    access = api_access(api_url=api_url, token=token, tenant=tenant, role="reader")
    filters = Filters(
        words, action, actor, target, outcome, severity, request_id, where, since, until
    )
    options = (("group_by", by), ("top", top), ("interval", every), ("tz", zone))

    async def work() -> dict[str, Any]:
        params = [*filters.params(), *(("distinct", field) for field in distinct or ())]
        params += [(name, str(value)) for name, value in options if value is not None]
        async with http_client(access, tenant, _TIMEOUT) as http:
            return await _get(http, "/api/v1/logs/stats", params)

    body = run(work())
    if as_json:
        show_line(msgspec.json.encode(body))
        return
    if by or every:
        out.print(_counts(body))
    for field, count in body.get("distinct", {}).items():
        about = "about " if count["relation"] == "approximate" else ""
        out.print(plain(f"{about}{count['value']:,} distinct values of {field}"))
    out.file.flush()
    say(f"{counted(body['total'], 'event')}, from {body['backend']}")


def _counts(body: dict[str, Any]) -> Table:
    """A line a bucket, and a column a value; without buckets, a line a value."""
    table = Table(box=None)
    groups: dict[str, Any] = body.get("groups", {})
    values = groups.get("values", [])
    if "buckets" not in body:
        table.add_column(plain(groups["field"]))
        table.add_column("events", justify="right")
        for group in values:
            table.add_row(plain(group["value"][:80]), f"{group['count']:,}")
        if groups["other"]:
            table.add_row(plain("(others)"), f"{groups['other']:,}")
        return table
    table.add_column("from")
    table.add_column("events", justify="right")
    for group in values:
        table.add_column(plain(group["value"][:30]), justify="right")
    for number, bucket in enumerate(body["buckets"]):
        counts = [group["buckets"][number]["count"] for group in values]
        table.add_row(plain(bucket["start"]), *(f"{n:,}" for n in (bucket["count"], *counts)))
    return table


def get(
    event_id: Annotated[str, typer.Argument(metavar="ID", help="UUID of the event.")],
    tenant: TenantOption = None,
    api_url: ApiUrl = None,
    token: Token = None,
) -> None:
    """Print one event.

    Example: ocelot get 01a20fec-b3b5-72f4-9ef5-80ce43e0fde8 --tenant acme
    """
    try:
        event_id = format_id(parse_id(event_id))
    except ValueError as error:
        fail(f"ID {event_id!r} {error}.", status=WRONG_USAGE)
    access = api_access(api_url=api_url, token=token, tenant=tenant, role="reader")

    async def work() -> dict[str, Any]:
        async with http_client(access, tenant, _TIMEOUT) as http:
            return await _get(http, f"/api/v1/logs/{event_id}", [])

    show_json(msgspec.json.encode(run(work())))


async def _get(http: httpx.AsyncClient, path: str, params: list[tuple[str, str]]) -> dict[str, Any]:
    answer = await http.get(path, params=tuple(params))
    if answer.status_code != httpx.codes.OK:
        fail(problem_text(answer), status=exit_status(answer))
    try:
        body: dict[str, Any] = msgspec.json.decode(answer.content, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        fail(f"{http.base_url} is not an Ocelot api. {problem_text(answer)}")
    return body
