"""Statistics as clients ask for them: parameters of `GET /logs/stats`."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Final, TypeVar
from zoneinfo import ZoneInfo, available_timezones

from starlette.datastructures import QueryParams

from ocelot_api.problems import invalid_parameter
from ocelot_api.query_strings import split_parameters, whole_number
from ocelot_api.search.conditions import FIELDS, check_path
from ocelot_api.search.filters import ATTRS
from ocelot_api.search.parameters import filter_of
from ocelot_api.search.stats import (
    DEFAULT_TOP,
    MAX_DISTINCT,
    MAX_TOP,
    StatsQuery,
    ValueField,
)
from ocelot_api.search.time_buckets import Interval
from ocelot_common.registry.model import Home

AUTO: Final = "auto"
#: What events can be grouped by besides what they can be filtered by: as clients call it, and as
#: the stores do.
VALUE_FIELDS: Final = FIELDS | {
    "actor.name": "actor.name",
    "actor.session_id": "actor.session_id",
    "target.name": "targets.name",
    "outcome": "outcome",
    "severity": "severity",
    "source.ip": "source.ip",
    "source.user_agent": "source.user_agent",
    "source.location": "source.location",
    "writer": "writer",
}
_OPTIONS: Final = ("interval", "tz", "group_by", "top", "distinct")

T = TypeVar("T")


def stats_of_parameters(given: QueryParams, home: Home) -> StatsQuery:
    """The statistics that a query string asks for.

    Raises:
        Problem: 400, with the parameter at fault.
    """
    values, options = split_parameters(given, _OPTIONS, repeatable=("distinct",))

    def option(name: str, read: Callable[[str, str], T], default: T) -> T:
        return read(name, options[name][0]) if name in options else default

    interval = option("interval", _interval, None)
    if "tz" in options and "interval" not in options:
        raise invalid_parameter("tz", "needs `interval`")
    if "top" in options and "group_by" not in options:
        raise invalid_parameter("top", "needs `group_by`")
    return StatsQuery(
        home=home,
        filter=filter_of(values),
        cutoff=home.tenant.cutoff_ms(),
        interval=interval,
        auto="interval" in options and interval is None,
        zone=option("tz", _zone, ZoneInfo("UTC")),
        group_by=option("group_by", _value_field, None),
        top=option("top", _top, DEFAULT_TOP),
        distinct=_distinct(options.get("distinct", [])),
    )


def _interval(name: str, text: str) -> Interval | None:
    if text == AUTO:
        return None
    if text not in list(Interval):
        raise invalid_parameter(name, f"must be one of {AUTO}, {', '.join(Interval)}")
    return Interval(text)


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _zone(name: str, text: str) -> ZoneInfo:
    if text not in _zones():
        raise invalid_parameter(name, "must be an IANA time zone such as Europe/Berlin")
    return ZoneInfo(text)


def _top(name: str, text: str) -> int:
    top = whole_number(text, digits=4) or 0
    if not 1 <= top <= MAX_TOP:
        raise invalid_parameter(name, f"must be a number from 1 to {MAX_TOP}")
    return top


def _value_field(name: str, text: str) -> ValueField:
    if text in VALUE_FIELDS:
        return ValueField(text, VALUE_FIELDS[text])
    if text.startswith(("metadata.", "changes.")):
        check_path(text, parameter=name)
        return ValueField(text, ATTRS, text)
    known = ", ".join(VALUE_FIELDS)
    raise invalid_parameter(
        name, f"must be a path of metadata or changes, or one of {known}, got {text[:100]!r}"
    )


def _distinct(given: Sequence[str]) -> tuple[ValueField, ...]:
    names = dict.fromkeys(name for text in given for name in text.split(","))
    if len(names) > MAX_DISTINCT:
        raise invalid_parameter("distinct", f"must name at most {MAX_DISTINCT} fields")
    return tuple(_value_field("distinct", name) for name in names)
