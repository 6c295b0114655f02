"""The MongoDB client, made one way everywhere."""

import asyncio
import ipaddress
import warnings
from contextlib import suppress
from typing import Any, Final

from bson.codec_options import CodecOptions, DatetimeConversion
from pymongo import AsyncMongoClient
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference
from pymongo.write_concern import WriteConcern

Document = dict[str, Any]

_CLOSE_SEC: Final = 1.0
_SRV: Final = "mongodb+srv://"
#: What the driver raises for a URL that it refuses, besides OSError for a file.
_REFUSED: Final = (PyMongoError, ValueError, TypeError, LookupError)
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


def check_url(url: str) -> str:
    """Return the URL of a MongoDB for which the driver makes a client.

    The driver looks neither at DNS nor for a server until the client is first used. What a
    `mongodb+srv://` URL must agree on with the records in DNS is seen only then.

    Raises:
        ValueError: the driver refuses it. The message has no part of the URL and nothing that the
            driver says, which may hold a part of the password.
    """
    if url != url.strip():
        raise ValueError("must not begin or end with a space or a line end")
    try:
        _try(url)
    except OSError:
        raise ValueError(
            "names a file, in an option such as tlsCAFile, that cannot be read or has no"
            " certificate in PEM"
        ) from None
    except _REFUSED:
        raise ValueError(_fault_of(url)) from None
    return url


def _try(url: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an unknown option, of which the driver warns
        connect(url, app_name="ocelot")
    # The driver looks at these only when it looks up the name.
    if url.startswith(_SRV) and _is_ip_address(_host_of(url)):
        raise ValueError


def _fault_of(url: str) -> str:
    plain, _, options = url.partition("?")
    if options:
        try:
            _try(plain)
        except _REFUSED:
            pass
        else:
            return (
                "has options after `?` that MongoDB's driver refuses, alone or together. See"
                " https://www.mongodb.com/docs/manual/reference/connection-string-options/"
            )
    form = "mongodb://HOST:PORT/?OPTIONS or mongodb+srv://HOST/?OPTIONS"
    if url.startswith(_SRV):
        form = "mongodb+srv://HOST/?OPTIONS with the name of one host and without a port"
    return f"must be {form}. Percent-encode special characters of user and password"


def _host_of(url: str) -> str:
    host = url.removeprefix(_SRV).partition("?")[0].partition("/")[0]
    return host.rpartition("@")[2].strip("[]")


def _is_ip_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


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
