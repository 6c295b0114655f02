"""A search as both backends understand it."""

import base64
import hashlib
from enum import StrEnum
from typing import Final, NamedTuple

import msgspec

from ocelot_api.problems import Problem, bad_request
from ocelot_api.search.filters import EVERYTHING, Filter
from ocelot_common.reading import OCCURRED_AT, Stored
from ocelot_common.registry.model import Home
from ocelot_common.versioned import MalformedError, NewerVersionError, frame, unframe

MAX_LIMIT: Final = 1_000
DEFAULT_LIMIT: Final = 100
#: Totals are counted up to here, and are `gte` beyond.
EXACT_TOTAL: Final = 10_000


class Sort(StrEnum):
    """The order of items; equal times are ordered by id."""

    OCCURRED_DESC = "-occurred_at"
    OCCURRED_ASC = "occurred_at"
    RECEIVED_DESC = "-received_at"
    RECEIVED_ASC = "received_at"

    @property
    def field(self) -> str:
        """The time by which it sorts."""
        return self.value.lstrip("-")

    @property
    def descending(self) -> bool:
        """Whether the latest comes first."""
        return self.value.startswith("-")


class Position(NamedTuple):
    """Where a page ended: the sort value, milliseconds since the epoch, and the event's id."""

    time_ms: int
    event_id: bytes


class TenantQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which events of one tenant are asked for.

    Attributes:
        home: the tenant and its space.
        filter: what must fit.
        cutoff: events received before it are gone (milliseconds since the epoch).
    """

    home: Home
    filter: Filter = EVERYTHING
    cutoff: int = 0


class SearchQuery(TenantQuery, frozen=True, kw_only=True):
    """One search of one tenant.

    Attributes:
        after: the position after which the page begins.
        fields: what an answer holds of each event; all of it if there are none.
    """

    sort: Sort = Sort.OCCURRED_DESC
    limit: int = DEFAULT_LIMIT
    after: Position | None = None
    fields: tuple[str, ...] = ()

    def fingerprint(self) -> bytes:
        """What a cursor is good for: these filters in this order."""
        content = (self.filter, self.sort.value)
        return hashlib.sha256(msgspec.msgpack.encode(content)).digest()[:12]


class Total(NamedTuple):
    """How many events match: exactly (`eq`), or at least (`gte`)."""

    value: int
    relation: str


class _Cursor(msgspec.Struct, array_like=True, frozen=True):
    uid: str
    fingerprint: bytes
    time_ms: int
    event_id: bytes


_CURSOR_VERSION: Final = 1
_MAX_CURSOR_CHARS: Final = 256


def write_cursor(query: SearchQuery, position: Position) -> str:
    """Return the opaque text by which clients ask for what follows a position.

    It is good on either backend.
    """
    cursor = _Cursor(
        query.home.tenant.uid, query.fingerprint(), position.time_ms, position.event_id
    )
    raw = frame(_CURSOR_VERSION, msgspec.msgpack.encode(cursor))
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def read_cursor(text: str, query: SearchQuery) -> Position:
    """The position in a cursor.

    Raises:
        Problem: 400 `invalid_cursor`: it is none, or belongs to another tenant or other filters.
    """
    try:
        text = text[:_MAX_CURSOR_CHARS]  # a longer one is none, and fails below
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        cursor = msgspec.msgpack.decode(unframe(raw, newest=_CURSOR_VERSION), type=_Cursor)
    except (ValueError, MalformedError, NewerVersionError, msgspec.MsgspecError):
        raise _not_a_cursor() from None
    if cursor.uid != query.home.tenant.uid or cursor.fingerprint != query.fingerprint():
        raise bad_request(
            "invalid_cursor",
            "`cursor` belongs to another search. Send it with the tenant, filters and sort of the"
            " first page.",
            path="cursor",
        )
    if len(cursor.event_id) != 16 or not OCCURRED_AT[0] <= cursor.time_ms < OCCURRED_AT[1]:
        raise _not_a_cursor()
    return Position(cursor.time_ms, cursor.event_id)


def _not_a_cursor() -> Problem:
    return bad_request(
        "invalid_cursor", "`cursor` must be the `next_cursor` of the previous page.", path="cursor"
    )


def position_of(sort: Sort, stored: Stored) -> Position | None:
    """Where a document stands in an order; None if it has no place there."""
    time_ms = stored.occurred_at if sort.field == "occurred_at" else stored.received_at
    return None if time_ms is None or stored.id is None else Position(time_ms, stored.id)
