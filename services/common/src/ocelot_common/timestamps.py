"""Times as Ocelot keeps them: whole milliseconds since the Unix epoch, UTC.

BSON and OpenSearch dates have millisecond resolution; the event's own text keeps what the client
wrote. Every conversion floors, so that one instant has one number everywhere.
"""

import re
import time
from datetime import UTC, datetime, timedelta

import msgspec

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
# msgspec rounds what is finer than a microsecond, into the next millisecond or day if need be.
_FINER = re.compile(r"(?<=\.\d{6})\d+", re.ASCII)
_LONGEST_EXACT = len("2026-11-24T12:00:00.123456Z")


def now_ms() -> int:
    """The wall clock in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def parse_rfc3339(text: str) -> int:
    """Milliseconds since the epoch, floored, of an RFC 3339 date-time with an offset.

    Raises:
        ValueError: the text is no RFC 3339 date-time, or has no offset. The message is the rest of
            a sentence that begins with the name of the value: "must be …".
    """
    if len(text) > _LONGEST_EXACT:
        text = _FINER.sub("", text, count=1)
    try:
        moment = msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        raise ValueError("must be an RFC 3339 date-time such as 2026-11-24T12:00:00Z") from None
    if moment.tzinfo is None:
        raise ValueError("must have an offset such as Z or +02:00")
    return (moment - EPOCH) // _MILLISECOND


def to_datetime(ms: int) -> datetime:
    """The aware datetime of `ms`.

    Raises:
        OverflowError: `ms` lies outside the years 1 to 9999.
    """
    return EPOCH + timedelta(milliseconds=ms)


def to_ms(moment: datetime) -> int:
    """Milliseconds since the epoch, floored, of an aware datetime."""
    return (moment - EPOCH) // _MILLISECOND


def format_rfc3339(ms: int) -> str:
    """`ms` as RFC 3339 in UTC with three digits of a second and the suffix Z."""
    # Not strftime, whose %Y leaves out the zeros before a year below 1000.
    return to_datetime(ms).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
