"""Buckets of time on a wall clock, daylight saving included.

Both backends count between the same edges, which are made here, so that neither's idea of a time
zone shows.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo

from ocelot_api.problems import bad_request
from ocelot_common.timestamps import to_datetime, to_ms

MAX_BUCKETS: Final = 1_000
#: What `auto` aims at, at most.
_AUTO_BUCKETS: Final = 100
_HOUR_SEC: Final = 3_600
_DAY: Final = timedelta(days=1)
#: 0001-01-01T00:00:00Z, the first moment that can be written in UTC.
_CALENDAR_MS: Final = -62_135_596_800_000


class Interval(StrEnum):
    """The width of a bucket."""

    MINUTE = "1m"
    FIVE_MINUTES = "5m"
    QUARTER_HOUR = "15m"
    HALF_HOUR = "30m"
    HOUR = "1h"
    THREE_HOURS = "3h"
    SIX_HOURS = "6h"
    HALF_DAY = "12h"
    DAY = "1d"
    WEEK = "1w"
    MONTH = "1M"
    YEAR = "1y"
    DECADE = "10y"
    CENTURY = "100y"


_YEARS: Final = {Interval.YEAR: 1, Interval.DECADE: 10, Interval.CENTURY: 100}
#: Of a month and of years, about.
_SECONDS: Final = {
    Interval.MINUTE: 60,
    Interval.FIVE_MINUTES: 300,
    Interval.QUARTER_HOUR: 900,
    Interval.HALF_HOUR: 1_800,
    Interval.HOUR: 3_600,
    Interval.THREE_HOURS: 10_800,
    Interval.SIX_HOURS: 21_600,
    Interval.HALF_DAY: 43_200,
    Interval.DAY: 86_400,
    Interval.WEEK: 604_800,
    Interval.MONTH: 2_629_800,
    **{interval: years * 31_557_600 for interval, years in _YEARS.items()},
}


def auto_interval(first_ms: int, last_ms: int) -> Interval:
    """The narrowest interval of which a hundred reach from the first moment to the last."""
    span_sec = (last_ms - first_ms) / 1000
    for interval, seconds in _SECONDS.items():
        if span_sec <= seconds * _AUTO_BUCKETS:
            return interval
    return Interval.CENTURY


def bucket_edges(first_ms: int, last_ms: int, interval: Interval, zone: ZoneInfo) -> list[int]:
    """Edges of the buckets that hold every moment from the first to the last, both included.

    Days, weeks (from Monday), months and years begin at midnight in the zone. Hours within a day
    follow its clock: buckets of an hour or less are all equally long, and longer ones begin at the
    same hours each day, so that one may be an hour longer or shorter when the clock is changed.

    Args:
        first_ms: the first moment, milliseconds since the epoch.
        last_ms: the last one.
        interval: width of the buckets.
        zone: in which days begin.

    Returns:
        Ascending, milliseconds since the epoch; one more than there are buckets.

    Raises:
        Problem: 400 `too_many_buckets`.
    """
    edges: list[int] = []
    try:
        local = to_datetime(first_ms).astimezone(zone)
        for mark in _marks(local.date(), interval, zone):
            if mark <= first_ms:
                edges = [mark]
            elif mark > edges[-1]:
                edges.append(mark)
            if mark > last_ms:
                format_moment(edges[0], zone)
                return edges
            if len(edges) > MAX_BUCKETS:
                raise bad_request(
                    "too_many_buckets",
                    f"The search has too many buckets of {interval}. The limit is {MAX_BUCKETS:,}."
                    " Choose a longer interval, or narrow the search by `from` and `to`.",
                    path="interval",
                )
    except (OverflowError, ValueError):  # whichever `datetime` raises past its ends
        pass
    raise bad_request(
        "invalid_parameter",
        "The range must lie within the years 1 to 9999. Narrow the search by `from` and `to`.",
        path="interval",
    )


def format_moment(ms: int, zone: ZoneInfo) -> str:
    """RFC 3339 with the zone's offset at that moment.

    Raises:
        OverflowError: it lies outside the years 1 to 9999 there.
    """
    local = to_datetime(ms).astimezone(zone)
    offset = local.utcoffset()
    if not offset or offset.total_seconds() % 60:  # RFC 3339 has no offsets of seconds
        local = local.astimezone(UTC)
    return local.isoformat(timespec="seconds").replace("+00:00", "Z")


def _marks(day: date, interval: Interval, zone: ZoneInfo) -> Iterator[int]:
    """Beginnings of buckets, ascending, from one at or before this day's midnight on."""
    match interval:
        case Interval.YEAR | Interval.DECADE | Interval.CENTURY:
            years = _YEARS[interval]
            for year in range(day.year - day.year % years, date.max.year + years + 1, years):
                began = _instant(date(max(year, date.min.year), 1, 1), zone)
                yield max(began, _CALENDAR_MS)  # east of Greenwich, the year 1 began before
        case Interval.MONTH:
            month = day.replace(day=1)
            while True:
                yield _instant(month, zone)
                month = (month + 31 * _DAY).replace(day=1)
        case Interval.WEEK | Interval.DAY:
            step = _DAY if interval is Interval.DAY else 7 * _DAY
            if interval is Interval.WEEK:
                day -= day.weekday() * _DAY
            while True:
                yield _instant(day, zone)
                day += step
        case _:
            while True:
                yield from _marks_of_day(day, _SECONDS[interval], zone)
                day += _DAY


def _marks_of_day(day: date, seconds: int, zone: ZoneInfo) -> Iterator[int]:
    if seconds <= _HOUR_SEC:
        yield from range(_instant(day, zone), _instant(day + _DAY, zone), seconds * 1000)
        return
    for hour in range(0, 24, seconds // _HOUR_SEC):
        yield _instant(day, zone, hour)


def _instant(day: date, zone: ZoneInfo, hour: int = 0) -> int:
    # A time that the clock leaps over counts by the offset before, which makes it the leap itself
    # for the first such moment (PEP 495); one that comes twice is its first.
    return to_ms(datetime.combine(day, time(hour), tzinfo=zone))
