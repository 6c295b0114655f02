"""Time buckets on a wall clock."""

from contextlib import suppress
from datetime import datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ocelot_api.problems import Problem
from ocelot_api.search.time_buckets import (
    MAX_BUCKETS,
    Interval,
    auto_interval,
    bucket_edges,
    format_moment,
)
from ocelot_common.timestamps import parse_rfc3339

BERLIN = ZoneInfo("Europe/Berlin")
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
ZONES = [
    ZoneInfo(name)
    for name in (
        "UTC",
        "Europe/Berlin",
        "America/Sao_Paulo",  # midnights that did not exist
        "Australia/Lord_Howe",  # half an hour of daylight saving
        "Asia/Kathmandu",
        "Pacific/Apia",  # a day that did not exist
        "Africa/Casablanca",
    )
]


_APPROXIMATELY = {
    Interval.MINUTE: MINUTE_MS,
    Interval.FIVE_MINUTES: 5 * MINUTE_MS,
    Interval.QUARTER_HOUR: 15 * MINUTE_MS,
    Interval.HALF_HOUR: 30 * MINUTE_MS,
    Interval.HOUR: HOUR_MS,
}


def edges(first: str, last: str, interval: Interval, zone: ZoneInfo) -> list[str]:
    found = bucket_edges(parse_rfc3339(first), parse_rfc3339(last), interval, zone)
    return [format_moment(edge, zone) for edge in found]


def test_days_of_a_week_in_which_the_clock_is_set_forward():
    found = edges("2026-03-28T12:00:00Z", "2026-03-30T12:00:00Z", Interval.DAY, BERLIN)
    assert found == [
        "2026-03-28T00:00:00+01:00",
        "2026-03-29T00:00:00+01:00",
        "2026-03-30T00:00:00+02:00",
        "2026-03-31T00:00:00+02:00",
    ]


def test_the_hour_that_comes_twice_is_two_buckets_and_the_one_left_out_none():
    back = edges("2026-10-25T00:30:00+02:00", "2026-10-25T03:30:00+01:00", Interval.HOUR, BERLIN)
    assert back == [
        "2026-10-25T00:00:00+02:00",
        "2026-10-25T01:00:00+02:00",
        "2026-10-25T02:00:00+02:00",
        "2026-10-25T02:00:00+01:00",
        "2026-10-25T03:00:00+01:00",
        "2026-10-25T04:00:00+01:00",
    ]
    forth = edges("2026-03-29T01:30:00+01:00", "2026-03-29T03:30:00+02:00", Interval.HOUR, BERLIN)
    assert forth == [
        "2026-03-29T01:00:00+01:00",
        "2026-03-29T03:00:00+02:00",
        "2026-03-29T04:00:00+02:00",
    ]


def test_six_hours_begin_at_the_same_hours_on_every_day():
    found = edges("2026-03-29T00:00:00Z", "2026-03-30T04:00:00Z", Interval.SIX_HOURS, BERLIN)
    assert [edge[11:16] for edge in found] == [
        "00:00", "06:00", "12:00", "18:00", "00:00", "06:00", "12:00",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        (Interval.WEEK, ["2026-11-23", "2026-11-30"]),  # a Monday
        (Interval.MONTH, ["2026-11-01", "2026-12-01"]),
        (Interval.YEAR, ["2026-01-01", "2027-01-01"]),
    ],
)
def test_calendar_intervals(interval: Interval, expected: list[str]):
    found = edges("2026-11-25T12:00:00Z", "2026-11-25T12:00:00Z", interval, ZONES[0])
    assert found == [f"{day}T00:00:00Z" for day in expected]


def test_the_last_moment_has_a_bucket_of_its_own_at_an_edge():
    found = edges("2026-11-25T12:00:00Z", "2026-11-25T13:00:00Z", Interval.HOUR, ZONES[0])
    assert [edge[11:13] for edge in found] == ["12", "13", "14"]


@given(
    st.integers(-(10**12), 3 * 10**12),
    st.integers(0, 40 * 24 * HOUR_MS),
    st.sampled_from(Interval),
    st.sampled_from(ZONES),
)
def test_edges_enclose_the_range_and_ascend_and_begin_where_the_clock_says(
    first_ms: int, span: int, interval: Interval, zone: ZoneInfo
):
    assume(span <= _APPROXIMATELY.get(interval, span) * (MAX_BUCKETS - 10))
    found = bucket_edges(first_ms, first_ms + span, interval, zone)
    assert found[0] <= first_ms
    assert found[1] > first_ms
    assert found[-2] <= first_ms + span < found[-1]
    assert all(before < after for before, after in pairwise(found))
    assert len(found) - 1 <= MAX_BUCKETS
    for edge in found:
        local = datetime.fromtimestamp(edge / 1000, zone)
        if interval in (Interval.DAY, Interval.WEEK, Interval.MONTH, Interval.YEAR):
            assert (local.hour, local.minute) in ((0, 0), (1, 0))  # 1:00 where 0:00 was left out
        if interval is Interval.WEEK and zone.key != "Pacific/Apia":
            assert local.weekday() == 0


def test_too_many_buckets_are_refused_whatever_the_range():
    for first, last in (
        ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
        ("0001-01-01T00:00:00Z", "9999-12-31T00:00:00Z"),
    ):
        with pytest.raises(Problem) as caught:
            edges(first, last, Interval.MINUTE, BERLIN)
        assert (caught.value.status, caught.value.code) == (400, "too_many_buckets")


@pytest.mark.parametrize("interval", Interval)
@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
def test_the_ends_of_the_calendar_are_no_crash(interval: Interval, moment: str):
    for zone in ZONES:
        with suppress(Problem):
            at = parse_rfc3339(moment)
            starts = bucket_edges(at, at, interval, zone)[:-1]
            assert all(format_moment(start, zone) for start in starts)


def test_a_range_past_the_calendar_is_refused():
    with pytest.raises(Problem) as caught:
        edges("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z", Interval.DAY, BERLIN)
    assert caught.value.status == 400


FIRST_MS, LAST_MS = map(parse_rfc3339, ("0001-01-02T00:00:00Z", "9899-12-31T00:00:00Z"))


@given(st.lists(st.integers(FIRST_MS, LAST_MS), min_size=2, max_size=2).map(sorted))
def test_auto_gives_a_hundred_buckets_or_about_from_the_year_1_on(ends: list[int]):
    first, last = ends
    interval = auto_interval(first, last)
    assert len(bucket_edges(first, last, interval, BERLIN)) - 1 <= 102


def test_decades_and_centuries_begin_at_round_years_and_the_first_at_the_year_1():
    found = edges("1999-12-31T00:00:00Z", "2010-01-01T00:00:00Z", Interval.DECADE, ZoneInfo("UTC"))
    assert [edge[:10] for edge in found] == ["1990-01-01", "2000-01-01", "2010-01-01", "2020-01-01"]
    found = edges("0001-01-01T00:00:00Z", "0100-01-01T00:00:00Z", Interval.CENTURY, ZoneInfo("UTC"))
    assert [edge[:10] for edge in found] == ["0001-01-01", "0100-01-01", "0200-01-01"]
