"""How times of other systems become RFC 3339."""

import pytest

from ocelot_cli.mapping.specification import TimeSpec
from ocelot_cli.mapping.times import TimeReader, parse_zone
from ocelot_common.timestamps import parse_rfc3339

MS = TimeSpec(unit="ms")
BERLIN = TimeSpec(zone="Europe/Berlin")
APACHE = TimeSpec(formats=["%d/%b/%Y:%H:%M:%S %z", "%d.%m.%Y %H:%M"], zone="+05:30")


@pytest.mark.parametrize(
    ("spec", "value", "expected"),
    [
        pytest.param(TimeSpec(), "2024-05-13T21:09:08Z", "2024-05-13T21:09:08Z", id="rfc 3339"),
        pytest.param(
            TimeSpec(), "2024-05-13t21:09:08.5z", "2024-05-13T21:09:08.5Z", id="lower case"
        ),
        pytest.param(
            TimeSpec(),
            "2023-07-19T19:20:12.034411199+02:00",
            "2023-07-19T19:20:12.034411+02:00",
            id="nine digits are cut to six",
        ),
        pytest.param(
            TimeSpec(),
            "2023-05-13 21:09:08.502 GMT",
            "2023-05-13T21:09:08.502Z",
            id="a blank and GMT",
        ),
        pytest.param(
            TimeSpec(), "2022-02-08 09:19:04+11:00", "2022-02-08T09:19:04+11:00", id="a blank"
        ),
        pytest.param(
            TimeSpec(), "2022-02-08T09:19:04+1100", "2022-02-08T09:19:04+11:00", id="no colon"
        ),
        pytest.param(TimeSpec(), "2022-02-08T09:19:04,25Z", "2022-02-08T09:19:04.25Z", id="comma"),
        pytest.param(
            TimeSpec(), "2016-12-31T23:59:60Z", "2016-12-31T23:59:59.999999Z", id="leap second"
        ),
        pytest.param(TimeSpec(), 1557933657, "2019-05-15T15:20:57Z", id="epoch in seconds"),
        pytest.param(
            TimeSpec(), 1557933657.25, "2019-05-15T15:20:57.250000Z", id="seconds with fraction"
        ),
        pytest.param(
            TimeSpec(), 1621305118553, "2021-05-18T02:31:58.553000Z", id="epoch in milliseconds"
        ),
        pytest.param(
            TimeSpec(), "1621305118553", "2021-05-18T02:31:58.553000Z", id="epoch as text"
        ),
        pytest.param(
            TimeSpec(),
            1621305118553000123,
            "2021-05-18T02:31:58.553000Z",
            id="epoch in nanoseconds",
        ),
        pytest.param(MS, 5, "1970-01-01T00:00:00.005000Z", id="a small number of a given unit"),
        pytest.param(TimeSpec(), -1, "1969-12-31T23:59:59Z", id="before the epoch"),
        pytest.param(TimeSpec(), "2024-05-13 21:09:08", None, id="local time of an unknown zone"),
        pytest.param(
            BERLIN, "2024-05-13 21:09:08.1", "2024-05-13T21:09:08.100000+02:00", id="summer time"
        ),
        pytest.param(BERLIN, "2024-01-13T21:09:08", "2024-01-13T21:09:08+01:00", id="winter time"),
        pytest.param(
            BERLIN, "2024-05-13T21:09:08Z", "2024-05-13T21:09:08Z", id="its own offset wins"
        ),
        pytest.param(
            APACHE, "13/May/2024:21:09:08 -0700", "2024-05-13T21:09:08-07:00", id="a format"
        ),
        pytest.param(APACHE, "13.05.2024 21:09", "2024-05-13T21:09:00+05:30", id="second format"),
        pytest.param(
            APACHE, "2024-05-13T21:09:08Z", "2024-05-13T21:09:08Z", id="RFC 3339 beside formats"
        ),
        pytest.param(TimeSpec(), "2024-02-30T00:00:00Z", None, id="no such day"),
        pytest.param(TimeSpec(), "2024-05-13T21:09:08+25:00", None, id="no such offset"),
        pytest.param(TimeSpec(), "yesterday", None, id="words"),
        pytest.param(TimeSpec(), True, None, id="a boolean"),
        pytest.param(TimeSpec(), [2024], None, id="an array"),
        pytest.param(TimeSpec(), 10**19, "2286-11-20T17:46:40Z", id="nanoseconds in the future"),
        pytest.param(TimeSpec(unit="s"), 10**13, None, id="beyond the year 9999"),
        pytest.param(TimeSpec(), float("inf"), None, id="infinity"),
    ],
)
def test_reading(spec: TimeSpec, value: object, expected: str | None) -> None:
    found = TimeReader(spec).read(value)
    assert found == expected
    if found is not None:
        parse_rfc3339(found)


def test_the_user_s_zone_stands_in_for_the_mapping_s() -> None:
    reader = TimeReader(TimeSpec(zone="UTC"), zone="America/New_York")
    assert reader.read("2020-10-20 01:32:01.156") == "2020-10-20T01:32:01.156000-04:00"


@pytest.mark.parametrize("name", ["Europe/Atlantis", "../etc/passwd", "", "+2"])
def test_an_unknown_zone_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="time zone"):
        parse_zone(name)
