"""MongoDB's clock, the one that all processes share."""

from datetime import datetime
from typing import Any, Final

from bson.codec_options import CodecOptions
from pymongo.asynchronous.database import AsyncDatabase

_AWARE: Final[CodecOptions[dict[str, Any]]] = CodecOptions(tz_aware=True)


async def server_time(database: AsyncDatabase[dict[str, Any]]) -> datetime:
    """The primary's time now."""
    answer = await database.command("hello", codec_options=_AWARE)
    moment: datetime = answer["localTime"]
    return moment
