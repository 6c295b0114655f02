"""Reads the times of foreign events and writes them as RFC 3339 with an offset."""

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ocelot_cli.mapping.specification import TimeSpec, Unit

_DATE_TIME = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)[Tt ](?P<time>\d\d:\d\d):(?P<second>\d\d)(?:[.,](?P<fraction>\d+))?"
    r" ?(?P<offset>[Zz]|UTC|GMT|[+-]\d\d(?::?\d\d)?)?"
)
_NUMBER = re.compile(r"(?P<sign>-?)(?P<whole>\d{1,20})(?:\.(?P<fraction>\d+))?")
_OFFSET = re.compile(r"[+-]\d\d:\d\d")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DIGITS_BY_UNIT: Final[dict[Unit, int]] = {"s": 0, "ms": 3, "us": 6, "ns": 9}
# Whole numbers below 10^11 are seconds until the year 5138, from there milliseconds since 1973 …
_UNIT_BY_MAGNITUDE: Final[tuple[tuple[int, Unit], ...]] = (
    (10**11, "s"),
    (10**14, "ms"),
    (10**17, "us"),
)


class TimeReader:
    """Reads one kind of time.

    Args:
        spec: the mapping's own formats, the unit of numbers and the zone of local times.
        zone: stands in for the specification's zone, where the user knows better.

    Raises:
        ValueError: there is no such zone.
    """

    def __init__(self, spec: TimeSpec, zone: str | None = None) -> None:
        self._formats = tuple(spec.formats)
        self._unit = spec.unit
        name = zone or spec.zone
        self._zone = None if name is None else parse_zone(name)

    def read(self, value: object) -> str | None:
        """`value` as RFC 3339 with an offset and at most six digits of a second.

        `None` if it is no time that this reader knows, or a local time of an unknown zone.
        """
        if isinstance(value, bool):
            return None
        if isinstance(value, int | float):
            return self._from_number(str(value) if isinstance(value, int) else f"{value:.6f}")
        if not isinstance(value, str):
            return None
        text = value.strip()
        for pattern in self._formats:
            try:
                moment = datetime.strptime(text, pattern)  # noqa: DTZ007  (the zone comes next)
            except ValueError:
                continue
            return self._with_zone(moment)
        if match := _DATE_TIME.fullmatch(text):
            return self._from_match(match)
        return self._from_number(text)

    def _from_match(self, match: re.Match[str]) -> str | None:
        date, clock, second, fraction, offset = match.groups()
        digits = (fraction or "")[:6]
        if second == "60":  # a leap second (RFC 3339 §5.7) is no datetime: its last instant is 59
            second, digits = "59", "999999"
        text = f"{date}T{clock}:{second}" + (f".{digits}" if digits else "")
        try:
            if offset is None:
                return self._with_zone(datetime.fromisoformat(text))
            suffix = _offset(offset)
            datetime.fromisoformat(text + suffix)
        except (ValueError, OverflowError):
            return None
        return text + suffix

    def _from_number(self, text: str) -> str | None:
        match = _NUMBER.fullmatch(text)
        if match is None:
            return None
        whole = int(match["whole"])
        unit = self._unit
        if unit == "auto":
            unit = next((unit for bound, unit in _UNIT_BY_MAGNITUDE if whole < bound), "ns")
        scale = 10 ** _DIGITS_BY_UNIT[unit]
        # Microseconds, cut as every other fraction is.
        fraction = int((match["fraction"] or "").ljust(6, "0")[:6])
        micros = (whole * 1_000_000 + fraction) // scale
        if match["sign"]:
            micros = -micros
        try:
            moment = _EPOCH + timedelta(microseconds=micros)
        except OverflowError:
            return None
        return _written(moment)

    def _with_zone(self, moment: datetime) -> str | None:
        if moment.tzinfo is None:
            if self._zone is None:
                return None
            moment = moment.replace(tzinfo=self._zone)
        try:
            return _written(moment)
        except (ValueError, OverflowError):
            return None


def parse_zone(name: str) -> tzinfo:
    """The zone of an IANA name such as `Europe/Berlin`, of `UTC`, or of an offset such as `+02:00`.

    Raises:
        ValueError: there is no such zone.
    """
    if name in {"UTC", "Z", "GMT"}:
        return UTC
    if _OFFSET.fullmatch(name):
        sign = -1 if name[0] == "-" else 1
        return timezone(sign * timedelta(hours=int(name[1:3]), minutes=int(name[4:])))
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"The time zone must be a name such as Europe/Berlin, or +02:00, got {name!r}."
        ) from None


def _offset(text: str) -> str:
    if text in {"Z", "z", "UTC", "GMT"}:
        return "Z"
    digits = text[1:].replace(":", "").ljust(4, "0")
    return f"{text[0]}{digits[:2]}:{digits[2:]}"


def _written(moment: datetime) -> str:
    text = moment.isoformat()
    offset = moment.utcoffset()
    if offset is not None and offset % timedelta(minutes=1):
        # Zones before 1900 had offsets with seconds, which RFC 3339 cannot write.
        text = moment.astimezone(UTC).isoformat()
    return text.removesuffix("+00:00") + "Z" if text.endswith("+00:00") else text
