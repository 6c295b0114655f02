"""`ocelot search` and `ocelot get`."""

from typing import Annotated, Any

import httpx
import msgspec
import typer
from rich.table import Table
from rich.text import Text

from ocelot_cli.access import ApiUrl, TenantOption, Token, http_client, problem_text
from ocelot_cli.console import fail, out, plain, say, show_json
from ocelot_cli.durations import parse_moment
from ocelot_cli.environment import api_access
from ocelot_cli.running import run
from ocelot_common.ids import format_id, parse_id
from ocelot_common.timestamps import format_rfc3339, parse_rfc3339

_PAGE = 1_000
_TIMEOUT = httpx.Timeout(60.0, connect=5.0)
Values = list[str] | None
#: Parameters that have options of their own, or none.
_NO_FILTERS = ("", "sort", "limit", "cursor", "fields", "q", "from", "to")


def search(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            help="Full text: words, '\"a phrase\"', -word (after --), one OR another, begin*.",
            show_default=False,
        ),
    ] = None,
    action: Annotated[Values, typer.Option(help="Action; 'document.*' is a prefix.")] = None,
    actor: Annotated[Values, typer.Option(help="Actor's id.")] = None,
    target: Annotated[Values, typer.Option(help="Target's id.")] = None,
    outcome: Annotated[Values, typer.Option(help="success, failure, denied, unknown.")] = None,
    severity: Annotated[Values, typer.Option(help="debug … critical.")] = None,
    request_id: Annotated[Values, typer.Option(help="Correlation id.")] = None,
    where: Annotated[
        Values,
        typer.Option(
            metavar="FILTER=VALUE",
            help="Any filter of the api: source.ip=192.0.2.0/24, severity.gte=error,"
            " metadata.plan=pro.",
        ),
    ] = None,
    since: Annotated[
        str | None, typer.Option("--from", help="RFC 3339, or -24h: 24 hours ago.")
    ] = None,
    until: Annotated[str | None, typer.Option("--to", help="RFC 3339, or -1h.")] = None,
    sort: Annotated[
        str, typer.Option(help="occurred_at or received_at; '-' before it: the latest first.")
    ] = "-occurred_at",
    limit: Annotated[int, typer.Option(min=1, help="Events in all.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print NDJSON, whole events.")] = False,
    tenant: TenantOption = None,
    api_url: ApiUrl = None,
    token: Token = None,
) -> None:
    """Find events. An option given twice means either; different ones must all fit."""
    access = api_access(api_url=api_url, token=token, tenant=tenant, role="reader")
    params: list[tuple[str, str]] = [("sort", sort)]
    if words:
        params.append(("q", " ".join(words)))
    for name, values in (
        ("action", action),
        ("actor.id", actor),
        ("target.id", target),
        ("outcome", outcome),
        ("severity", severity),
        ("request_id", request_id),
    ):
        params += [(name, value) for value in values or ()]

    for text in where or ():
        name, equals, value = text.partition("=")
        if not equals or name in _NO_FILTERS:
            fail(f"--where {text}: expected FILTER=VALUE, such as source.ip=192.0.2.0/24", status=2)
        params.append((name, value))

    async def work() -> None:
        for name, moment in (("from", since), ("to", until)):
            if moment:
                params.append((name, parse_moment(moment)))
        async with http_client(access, tenant, _TIMEOUT) as http:
            await _pages(http, params, limit, as_json=as_json)

    run(work())


async def _pages(
    http: httpx.AsyncClient, params: list[tuple[str, str]], limit: int, *, as_json: bool
) -> None:
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
            if as_json:
                out.file.write(msgspec.json.encode(item).decode() + "\n")
            else:
                rows.append(item)
        cursor = body["next_cursor"]
        if cursor is None or shown >= limit:
            break
    if not as_json:
        out.print(_table(rows))
    out.file.flush()
    total = body["total"]
    at_least = "at least " if total["relation"] == "gte" else ""
    say(f"{shown:,} of {at_least}{total['value']:,} events, from {body['backend']}")


def _table(items: list[dict[str, Any]]) -> Table:
    table = Table(box=None)
    for name in ("time", "action", "actor", "target", "outcome", "message"):
        table.add_column(name, no_wrap=True, overflow="ellipsis")
    for item in items:
        actor = item["actor"]
        target = (item.get("targets") or [{}])[0]
        table.add_row(
            _time(item),
            plain(item["action"]),
            plain((actor.get("name") or actor["id"])[:40]),
            plain((target.get("name") or target.get("id") or "")[:40]),
            item.get("outcome") or "",
            plain(" ".join((item.get("message") or "").split())[:80]),
        )
    return table


def _time(item: dict[str, Any]) -> Text:
    """Of the event, in UTC: the offsets of several sources can't be compared by eye."""
    text = item.get("occurred_at") or item["received_at"]
    try:
        return plain(format_rfc3339(parse_rfc3339(text)))
    except (ValueError, OverflowError):  # a year beyond datetime's, once the offset is taken off
        return plain(text)


def get(
    event_id: Annotated[str, typer.Argument(metavar="ID", help="The event's UUID.")],
    tenant: TenantOption = None,
    api_url: ApiUrl = None,
    token: Token = None,
) -> None:
    """Print one event."""
    try:
        event_id = format_id(parse_id(event_id))
    except ValueError as error:
        fail(f"ID is {error}", status=2)
    access = api_access(api_url=api_url, token=token, tenant=tenant, role="reader")

    async def work() -> dict[str, Any]:
        async with http_client(access, tenant, _TIMEOUT) as http:
            return await _get(http, f"/api/v1/logs/{event_id}", [])

    show_json(msgspec.json.encode(run(work())))


async def _get(http: httpx.AsyncClient, path: str, params: list[tuple[str, str]]) -> dict[str, Any]:
    answer = await http.get(path, params=tuple(params))
    if answer.status_code != httpx.codes.OK:
        fail(problem_text(answer))
    try:
        body: dict[str, Any] = msgspec.json.decode(answer.content, type=dict[str, Any])
    except msgspec.DecodeError:
        fail(f"{http.base_url} is no api of Ocelot: {problem_text(answer)}")
    return body
