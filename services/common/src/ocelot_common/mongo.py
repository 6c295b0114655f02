"""The MongoDB client, made one way everywhere."""

import asyncio
from contextlib import suppress
from typing import Any, Final

from bson.codec_options import CodecOptions, DatetimeConversion
from pymongo import AsyncMongoClient
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference
from pymongo.write_concern import WriteConcern

Document = dict[str, Any]

_CLOSE_SEC: Final = 1.0
MAJORITY: Final = WriteConcern(w="majority", j=True)
#: Dates as milliseconds: the years 1 to 9999 do not bound a client's `occurred_at` minus its
#: offset, and making datetimes costs time. Text that is not valid UTF-8, which MongoDB takes, must
#: not fail the whole answer that holds it: it arrives with half surrogates.
EVENT_CODEC: Final[CodecOptions[Document]] = CodecOptions(
    datetime_conversion=DatetimeConversion.DATETIME_MS,
    unicode_decode_error_handler="surrogateescape",
)

#: For rows that are few and read all at once: what one of them holds must not hide the others. A
#: date beyond `datetime` stays a `DatetimeMS`, and text that is not valid UTF-8 gets U+FFFD.
ROW_CODEC: Final[CodecOptions[Document]] = CodecOptions(
    tz_aware=True,
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
    unicode_decode_error_handler="replace",
)


def connect(
    url: str, *, app_name: str, server_selection_sec: float = 5.0
) -> AsyncMongoClient[Document]:
    """A client for the event loop that runs; it connects when it is first used."""
    return AsyncMongoClient(
        url,
        appname=app_name,
        tz_aware=True,
        serverSelectionTimeoutMS=int(server_selection_sec * 1000),
        connectTimeoutMS=5_000,
        retryWrites=True,
    )


async def close(client: AsyncMongoClient[Document]) -> None:
    """Close a client as its process ends: in a second, though the server is silent.

    It would end its sessions first, and wait ten seconds for a connection to do so.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(_CLOSE_SEC):
            await client.close()


def events_of(database: AsyncDatabase[Document], collection: str) -> AsyncCollection[Document]:
    """A collection of events: primary, majority reads, journaled majority writes."""
    return database[collection].with_options(
        codec_options=EVENT_CODEC,
        read_concern=ReadConcern("majority"),
        read_preference=ReadPreference.PRIMARY,
        write_concern=MAJORITY,
    )
