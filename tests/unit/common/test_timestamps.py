from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocelot_common.timestamps import (
    EPOCH,
    format_rfc3339,
    now_ms,
    parse_rfc3339,
    to_datetime,
    to_ms,
)

TIMES: dict[str, tuple[str, int]] = {
    "the epoch": ("1970-01-01T00:00:00Z", 0),
    "a time in UTC": ("2026-11-24T12:00:00Z", 1_795_521_600_000),
    "an offset is taken off": ("2026-11-24T12:00:00+02:00", 1_795_514_400_000),
    "an offset of minutes": ("2026-11-24T12:00:00-09:30", 1_795_555_800_000),
    "an unknown local offset": ("2026-11-24T12:00:00-00:00", 1_795_521_600_000),
    "lower case": ("2026-11-24t12:00:00z", 1_795_521_600_000),
    "milliseconds": ("2026-11-24T12:00:00.123Z", 1_795_521_600_123),
    "microseconds are floored": ("2026-11-24T12:00:00.123999Z", 1_795_521_600_123),
    "nanoseconds are floored, not rounded": ("2026-11-24T12:00:00.123999999Z", 1_795_521_600_123),
    "the last nanosecond of a day stays in it": ("2026-11-24T23:59:59.999999999Z",
                                                 1_795_564_799_999),
    "a second of 40 digits": (f"2026-11-24T12:00:00.{'9' * 40}+00:00", 1_795_521_600_999),
    "before 1970 is floored too": ("1969-12-31T23:59:59.9995Z", -1),
    "before 1970 nanoseconds are floored too": ("1969-12-31T23:59:59.9999999Z", -1),
    "the first moment": ("0001-01-01T00:00:00Z", -62_135_596_800_000),
    "before the first moment in UTC": ("0001-01-01T00:00:00+01:00", -62_135_600_400_000),
    "the last moment": ("9999-12-31T23:59:59.9999999Z", 253_402_300_799_999),
    "after the last moment in UTC": ("9999-12-31T23:59:59-10:00", 253_402_336_799_000),
}  # fmt: skip


@pytest.mark.parametrize(("text", "ms"), TIMES.values(), ids=TIMES)
def test_a_date_time_is_read(text: str, ms: int) -> None:
    assert parse_rfc3339(text) == ms


REFUSED: dict[str, str] = {
    "no offset": "2026-11-24T12:00:00",
    "no time": "2026-11-24",
    "no seconds": "2026-11-24T12:00Z",
    "no digits after the point": "2026-11-24T12:00:00.Z",
    "a comma": "2026-11-24T12:00:00,5Z",
    "a leap second, which has no millisecond of its own": "2016-12-31T23:59:60Z",
    "the hour 24": "2026-11-24T24:00:00Z",
    "the 30th of February": "2026-02-30T12:00:00Z",
    "an offset of a day": "2026-11-24T12:00:00+24:00",
    "the year 0": "0000-12-31T23:59:59Z",
    "a year of five digits": "12026-11-24T12:00:00Z",
    "a number": "1795521600",
    "text behind many digits": "2026-11-24T12:00:00.1234567890x",
    "space around it": " 2026-11-24T12:00:00Z",
    "nothing": "",
}


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_what_is_no_date_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"date-time|offset"):
        parse_rfc3339(text)


moments = st.datetimes(
    timezones=st.integers(-23 * 60, 23 * 60).map(lambda m: timezone(timedelta(minutes=m)))
)


@given(moments)
def test_an_instant_has_one_number_whatever_its_offset(moment: datetime) -> None:
    ms = parse_rfc3339(moment.isoformat())
    elapsed = moment - EPOCH
    microseconds = (elapsed.days * 86_400 + elapsed.seconds) * 10**6 + elapsed.microseconds
    assert ms == Fraction(microseconds, 1000).__floor__()
    assert to_ms(moment) == ms


@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
def test_milliseconds_survive_their_text(ms: int) -> None:
    text = format_rfc3339(ms)
    assert len(text) == len("2026-11-24T12:00:00.123Z")
    assert parse_rfc3339(text) == ms
    assert to_ms(to_datetime(ms)) == ms


def test_a_year_before_1000_keeps_its_four_digits() -> None:
    assert format_rfc3339(-62_135_596_800_000) == "0001-01-01T00:00:00.000Z"


def test_a_moment_outside_the_years_1_to_9999_has_no_datetime() -> None:
    with pytest.raises(OverflowError):
        to_datetime(253_402_300_800_000)


def test_now_is_the_wall_clock_in_milliseconds() -> None:
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    assert before <= to_datetime(now_ms()) <= datetime.now(UTC)
