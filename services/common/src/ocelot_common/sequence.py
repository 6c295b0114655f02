"""`seq`: the order in which events were stored (design §4)."""

from typing import Any, Final

from bson import Timestamp
from pymongo.asynchronous.database import AsyncDatabase

#: A `seq` may become visible after a larger one, but never so much later: an insert that takes
#: longer is given up.
CLOSED_AFTER_SEC: Final = 15
MAX_SEQ: Final = 2**64 - 1


def seq_of(timestamp: Timestamp) -> int:
    """A stored `seq` as it is outside MongoDB: seconds « 32 | increment."""
    return timestamp.time << 32 | timestamp.inc


def timestamp_of(seq: int) -> Timestamp:
    """The other way round."""
    return Timestamp(seq >> 32, seq & 0xFFFF_FFFF)


def seq_before(ms: int) -> int:
    """What was stored before a moment, milliseconds since the epoch, in whole seconds, is up to it.

    MongoDB's increments begin with 1.
    """
    return ms // 1_000 << 32


def ms_of(seq: int) -> int:
    """The second of a `seq`, by MongoDB's clock, in milliseconds since the epoch."""
    return (seq >> 32) * 1_000


async def newest_seq(database: AsyncDatabase[dict[str, Any]]) -> int:
    """No majority read that was made before this has shown a larger `seq`.

    It is the primary's `lastWrite.majorityOpTime`: an event's `seq` is made before its insert is
    logged. It goes on by itself, every ten seconds, where nothing is written.
    """
    answer = await database.command("hello")
    return seq_of(answer["lastWrite"]["majorityOpTime"]["ts"])


def closed_seq(newest: int) -> int:
    """No `seq` up to this will be made any more, nor become visible."""
    return newest - (CLOSED_AFTER_SEC << 32)
