"""Durations and moments as people type them."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

from ocelot_cli.console import WRONG_USAGE, fail
from ocelot_common.timestamps import format_rfc3339, parse_rfc3339, to_ms

T = TypeVar("T")

_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_DURATION: Final = re.compile(r"(\d{1,6})([smhdw])")


def parse_duration(text: str) -> timedelta:
    """`90s`, `15m`, `12h`, `30d` or `2w`.

    Raises:
        ValueError: it is none of these. The message is the rest of a sentence: "must be …".
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError("must be a duration such as 90s, 15m, 12h or 30d")
    return timedelta(seconds=int(match[1]) * _UNITS[match[2]])


def parse_moment(text: str, *, now: datetime | None = None) -> str:
    """RFC 3339 of a moment: of itself, or of `-24h`, so long before now.

    Raises:
        ValueError: it is neither. The message is the rest of a sentence: "must be …".
    """
    if text.startswith("-"):
        try:
            moment = (now or datetime.now(UTC)) - parse_duration(text[1:])
        except OverflowError:
            raise ValueError("must not be before the year 1") from None
        return format_rfc3339(to_ms(moment))
    parse_rfc3339(text)
    return text


def parse_option(option: str, text: str, parse: Callable[[str], T]) -> T:
    """Return what an option's value says; a wrong value ends the command, naming the option."""
    try:
        return parse(text)
    except ValueError as error:
        fail(f"{option} {text!r} {error}.", status=WRONG_USAGE)
