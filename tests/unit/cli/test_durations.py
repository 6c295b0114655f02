from datetime import UTC, datetime, timedelta

import pytest

from ocelot_cli.durations import parse_duration, parse_moment

NOW = datetime(2026, 11, 24, 12, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("15m", 900),
        ("12h", 43_200),
        ("30d", 2_592_000),
        ("2w", 1_209_600),
        (" 0s ", 0),
    ],
)
def test_a_duration_is_a_number_and_a_unit(text: str, seconds: int):
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "15", "h", "1.5h", "-1h", "1h30m", "1 h", "1H", "9999999d"])
def test_anything_else_is_no_duration(text: str):
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


def test_a_moment_before_now_begins_with_a_minus():
    assert parse_moment("-24h", now=NOW) == "2026-11-23T12:30:00.000Z"


@pytest.mark.parametrize("text", ["2026-11-23T12:30:00Z", "2026-11-23T12:30:00.5+02:00"])
def test_a_moment_in_rfc_3339_goes_as_it_is(text: str):
    assert parse_moment(text) == text


@pytest.mark.parametrize("text", ["yesterday", "2026-11-23", "-", "-24", "+1h", "-999999w"])
def test_anything_else_is_no_moment(text: str):
    with pytest.raises(ValueError, match=r".+"):
        parse_moment(text, now=NOW)
