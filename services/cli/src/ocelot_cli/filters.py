"""The filters of `search`, `stats` and `export`: options, and the api's parameters for them."""

from typing import Annotated, NamedTuple

import typer

from ocelot_cli.console import WRONG_USAGE, fail
from ocelot_cli.durations import parse_moment, parse_option

Values = list[str] | None

Words = Annotated[
    list[str] | None,
    typer.Argument(
        help="Full text: words, '\"a phrase\"', -word (after --), one OR another, prefix*.",
        show_default=False,
    ),
]
Action = Annotated[Values, typer.Option(help="Action; 'document.*' matches a prefix.")]
Actor = Annotated[Values, typer.Option(help="Id of the actor.")]
Target = Annotated[Values, typer.Option(help="Id of a target.")]
Outcome = Annotated[Values, typer.Option(help="success, failure, denied or unknown.")]
Severity = Annotated[Values, typer.Option(help="debug, info, notice, warning, error or critical.")]
RequestId = Annotated[Values, typer.Option(help="Request id of the event.")]
Where = Annotated[
    Values,
    typer.Option(
        metavar="FILTER=VALUE",
        help="Any filter of the api: source.ip=192.0.2.0/24, severity.gte=error,"
        " metadata.plan=pro.",
    ),
]
Since = Annotated[
    str | None,
    typer.Option("--from", metavar="TIME", help="Start time: RFC 3339, or -24h for 24 hours ago."),
]
Until = Annotated[
    str | None,
    typer.Option("--to", metavar="TIME", help="End time: RFC 3339, or -1h for one hour ago."),
]

#: Parameters that have options of their own, or none.
_NO_FILTERS = frozenset(
    (
        "", "sort", "limit", "cursor", "fields", "q", "from", "to",
        "interval", "tz", "group_by", "top", "distinct",
        "format", "columns", "after", "stored_until",
    )
)  # fmt: skip


class Filters(NamedTuple):
    """What was given of them."""

    words: list[str] | None
    action: Values
    actor: Values
    target: Values
    outcome: Values
    severity: Values
    request_id: Values
    where: Values
    since: str | None
    until: str | None

    def params(self) -> list[tuple[str, str]]:
        """The api's parameters. Ends the program with one line where an option can't be read."""
        params = [("q", " ".join(self.words))] if self.words else []
        for name, values in (
            ("action", self.action),
            ("actor.id", self.actor),
            ("target.id", self.target),
            ("outcome", self.outcome),
            ("severity", self.severity),
            ("request_id", self.request_id),
        ):
            params += [(name, value) for value in values or ()]
        for text in self.where or ():
            name, equals, value = text.partition("=")
            if not equals or name in _NO_FILTERS:
                fail(
                    f"--where must be FILTER=VALUE, such as source.ip=192.0.2.0/24, got {text!r}.",
                    status=WRONG_USAGE,
                )
            params.append((name, value))
        for name, moment in (("from", self.since), ("to", self.until)):
            if moment:
                params.append((name, parse_option(f"--{name}", moment, parse_moment)))
        return params
