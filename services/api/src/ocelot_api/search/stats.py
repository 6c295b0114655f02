"""Statistics of what a search finds, as both backends understand them (design §10)."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from ocelot_api.problems import bad_request
from ocelot_api.search.filters import occurred_within
from ocelot_api.search.query import TenantQuery
from ocelot_api.search.time_buckets import Interval, auto_interval, bucket_edges, format_moment

MAX_TOP: Final = 100
DEFAULT_TOP: Final = 10
MAX_DISTINCT: Final = 5
#: Groups times buckets.
MAX_CELLS: Final = 20_000


class ValueField(msgspec.Struct, frozen=True):
    """What events are grouped by.

    Attributes:
        name: as clients call it.
        stored: as the stores call it; `attrs` for a path of metadata or changes.
        path: of `attrs` entries, such as `metadata.plan`.
    """

    name: str
    stored: str
    path: str = ""

    @property
    def prefix(self) -> str:
        """What the `attrs` entries of the path begin with."""
        return f"{self.path}="


class StatsQuery(TenantQuery, frozen=True, kw_only=True):
    """Statistics of one tenant's events.

    Attributes:
        interval: of the time buckets, by `occurred_at`; no buckets without one.
        auto: choose the interval by the range of time.
        zone: in which days begin.
        group_by: whose commonest values are counted.
        top: how many of them.
        distinct: fields whose different values are counted.
    """

    interval: Interval | None = None
    auto: bool = False
    zone: Any = ZoneInfo("UTC")
    group_by: ValueField | None = None
    top: int = DEFAULT_TOP
    distinct: tuple[ValueField, ...] = ()

    @property
    def timed(self) -> bool:
        """Whether time buckets are asked for."""
        return self.auto or self.interval is not None

    @property
    def needs_attrs(self) -> bool:
        """Whether a path of metadata or changes is counted."""
        return any(field.path for field in (self.group_by, *self.distinct) if field)


class Timeline(NamedTuple):
    """The time buckets of an answer: one count between each edge and the next."""

    interval: Interval
    edges: list[int]


class Group(msgspec.Struct, frozen=True):
    """Events with one value; `buckets` are its counts along the timeline."""

    value: str
    count: int
    buckets: list[int]


class Groups(NamedTuple):
    """The commonest values; `other` counts the events of further ones."""

    top: list[Group]
    other: int
    exact: bool


class Distinct(NamedTuple):
    """How many different values there are."""

    value: int
    exact: bool


class Stats(NamedTuple):
    """An answer. An event with several values counts once for each."""

    total: int
    timeline: Timeline | None
    buckets: list[int]
    groups: Groups | None
    distinct: list[Distinct]


async def timeline_of(
    query: StatsQuery, extent: Callable[[], Awaitable[tuple[int, int] | None]]
) -> Timeline | None:
    """The time buckets that a query asks for; None without any, or where nothing was found.

    Args:
        query: what is asked.
        extent: the first and the last moment among the events found, milliseconds since the epoch;
            asked only where the filter has no bounds.

    Raises:
        Problem: 400: there would be too many.
    """
    if not query.timed:
        return None
    start, end = occurred_within(query.filter)
    if start is None or end is None:
        found = await extent()
        if found is None:
            return None
        start = found[0] if start is None else start
        end = found[1] + 1 if end is None else end
    last = max(start, end - 1)
    interval = query.interval or auto_interval(start, last)
    edges = bucket_edges(start, last, interval, query.zone)
    if query.group_by and (len(edges) - 1) * query.top > MAX_CELLS:
        raise bad_request(
            "too_many_buckets",
            f"The answer would have {len(edges) - 1:,} buckets with {query.top} values each. The"
            f" limit is {MAX_CELLS:,} numbers. Choose a longer interval or a smaller `top`.",
            path="interval",
        )
    return Timeline(interval, edges)


def answer_stats(query: StatsQuery, stats: Stats, backend: str) -> bytes:
    """The JSON of an answer."""
    answer: dict[str, Any] = {"total": stats.total}
    edges: list[str] = []
    if query.timed:
        timeline = stats.timeline
        starts = timeline.edges[:-1] if timeline else []
        edges = [format_moment(edge, query.zone) for edge in starts]
        answer |= {
            "interval": timeline.interval if timeline else query.interval,
            "tz": query.zone.key,
            "buckets": _buckets(edges, stats.buckets),
        }
    if query.group_by and stats.groups:
        values = [
            {"value": group.value, "count": group.count}
            | ({"buckets": _buckets(edges, group.buckets)} if query.timed else {})
            for group in stats.groups.top
        ]
        answer["groups"] = {
            "field": query.group_by.name,
            "values": values,
            "other": stats.groups.other,
            "relation": _relation(exact=stats.groups.exact),
        }
    if query.distinct:
        answer["distinct"] = {
            field.name: {"value": each.value, "relation": _relation(exact=each.exact)}
            for field, each in zip(query.distinct, stats.distinct, strict=True)
        }
    return msgspec.json.encode(answer | {"backend": backend})


def _buckets(starts: list[str], counts: list[int]) -> list[dict[str, Any]]:
    return [{"start": start, "count": count} for start, count in zip(starts, counts, strict=True)]


def _relation(*, exact: bool) -> str:
    return "exact" if exact else "approximate"
