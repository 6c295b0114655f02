"""Reading stored documents, whatever they hold.

Whoever can write to the database can store anything in a collection of events. So MongoDB is asked
for values of the right type and of a bounded size: a document of 15 MiB costs a reader nothing, and
none arrives that the driver cannot decode. A document that is no event is read as `Unreadable`, and
each reader decides what becomes of it.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec
from bson.datetime_ms import DatetimeMS
from msgspec import UNSET, Struct

from ocelot_common.event import Event, decode_event
from ocelot_common.event_limits import EventError, EventLimits, check_depth
from ocelot_common.ids import format_id
from ocelot_common.registry.model import Tenant
from ocelot_common.sequence import seq_of
from ocelot_common.stored import (
    VERSION,
    Document,
    StoredEvent,
    answer_json,
    event_id_of,
    keys_of_tenant,
)
from ocelot_common.timestamps import format_rfc3339

#: Four times the largest event that the api can be set to accept.
MAX_TEXT_BYTES: Final = 1024 * 1024
_MAX_WRITER_BYTES: Final = 10_000
#: Of `received_at`, [first, last): the years 1970 to 9998. A period that begins in them has an end.
RECEIVED_AT: Final = (0, 253_370_764_800_000)
#: Of `occurred_at`: past the years 1 and 9999 by any offset, and what a cursor can hold.
OCCURRED_AT: Final = (-(2**48), 2**48)
#: The field of `read_projection` with the size of a text, whether the text is there or not.
TEXT_BYTES: Final = "text_bytes"
_BOUNDS: Final = {"received_at": RECEIVED_AT, "occurred_at": OCCURRED_AT}
_MAX_REVISION: Final = 2**63
#: Past what the api accepts. CSV and `path=value` entries are made by recursion.
_DEPTH: Final = EventLimits(max_depth=100)

_encoder = msgspec.json.Encoder()


class Unreadable(Struct, gc=False, kw_only=True):
    """A stored document that is no event.

    Attributes:
        id: 16 bytes; None where the key is not one of the tenant's.
        received_at: milliseconds since the epoch; None where it is no date, or out of range.
        occurred_at: the same.
        reason: for people; it quotes nothing of the document.
        newer: whether the next release may have written it.
    """

    id: bytes | None
    received_at: int | None
    occurred_at: int | None
    reason: str
    newer: bool = False


#: What a reader makes of a document.
Stored = StoredEvent | Unreadable


def read_projection(tenant: Tenant, *, most_text_bytes: int = MAX_TEXT_BYTES) -> Document:
    """Return the projection for `read_document`.

    Args:
        tenant: whose documents are read.
        most_text_bytes: longer texts are left out.
    """
    return {
        "_id": _where(_has_key(tenant), "$_id"),
        "received_at": _where(_in_bounds("received_at"), "$received_at"),
        "occurred_at": _where(_in_bounds("occurred_at"), "$occurred_at"),
        "seq": _where({"$eq": [{"$type": "$seq"}, "timestamp"]}, "$seq"),
        "writer": _text("$writer", _MAX_WRITER_BYTES),
        "rev": _where({"$isNumber": "$rev"}, "$rev"),
        "v": _where({"$isNumber": "$v"}, "$v"),
        "t": _where({"$eq": ["$t", tenant.uid]}, "$t"),
        "event": _text("$event", most_text_bytes),
        TEXT_BYTES: _size("$event"),
    }


def text_projection() -> Document:
    """Return the projection for texts that were left out, by their keys."""
    return {"event": _text("$event", MAX_TEXT_BYTES)}


def has_place(tenant: Tenant, field: str) -> Document:
    """Return a query for documents with a place in the order of (time, key).

    Another document cannot be the position at which a page ends. An array of times is found again
    on every page.

    Args:
        tenant: whose documents are read.
        field: of the time: `occurred_at` or `received_at`.
    """
    return {"$expr": {"$and": [_in_bounds(field), _has_key(tenant)]}}


def in_bounds(field: str) -> Document:
    """Return a query for documents whose time is a date in its bounds; an array of them is none."""
    return {"$expr": _in_bounds(field)}


def outside_of_time(field: str) -> Document:
    """Return a query for documents whose time is no date or out of range, on the field's index."""
    first, last = _BOUNDS[field]
    return {
        "$or": [
            {field: {"$not": {"$gte": DatetimeMS(first)}}},
            {field: {"$not": {"$lt": DatetimeMS(last)}}},
        ]
    }


def read_document(document: Mapping[str, Any]) -> Stored:
    """Read a document that was found with `read_projection` and dates as `DatetimeMS`.

    The text is not looked into: `read_event` does that.
    """
    get = document.get
    key, writer, rev, version, text = (
        get("_id"), get("writer"), get("rev"), get("v"), get("event")
    )  # fmt: skip
    received_at = _time(get("received_at"), RECEIVED_AT)
    occurred_at = _time(get("occurred_at"), OCCURRED_AT)
    seq, uid = get("seq"), get("t")
    if not isinstance(version, int) or version < 1:
        fault = "`v` is not a version"
    elif version > VERSION:
        fault = f"a newer release wrote it in version {version}"
    elif key is None:
        fault = "`_id` is not a key of the tenant"
    elif received_at is None:
        fault = "`received_at` is not a date, or is out of range"
    elif occurred_at is None:
        fault = "`occurred_at` is not a date, or is out of range"
    elif seq is None:
        fault = "`seq` is not a timestamp"
    elif writer is None or not is_unicode(writer):
        fault = "`writer` is not a string, or is too long"
    elif not isinstance(rev, int) or not 0 < rev < _MAX_REVISION:
        fault = "`rev` is not a revision"
    elif uid is None:
        fault = "`t` is not the tenant's uid"
    elif text is None:
        size = get(TEXT_BYTES)
        fault = f"`event` has {size:,} bytes" if size else "`event` is not a string"
    elif not is_unicode(text):
        fault = "`event` is not valid UTF-8"
    else:
        return StoredEvent(
            id=event_id_of(key),
            uid=uid,
            received_at=received_at,
            occurred_at=occurred_at,
            seq=seq_of(seq),
            writer=writer,
            rev=rev,
            text=text,
        )
    return Unreadable(
        id=None if key is None else event_id_of(key),
        received_at=received_at,
        occurred_at=occurred_at,
        reason=fault,
        newer=version == VERSION + 1,
    )


def read_event(document: Mapping[str, Any]) -> Stored:
    """Read a document as `read_document` does, and look into its text.

    What is not `Unreadable` can be answered, compared with filters, and indexed.
    """
    stored = read_document(document)
    if isinstance(stored, Unreadable):
        return stored
    try:
        decode_text(stored.text)
    except EventError as error:
        return Unreadable(
            id=stored.id,
            received_at=stored.received_at,
            occurred_at=stored.occurred_at,
            # Not the detail, which may quote a name that the text holds.
            reason=f"`event` is not the JSON of an event: {error.code}",
        )
    return stored


def decode_text(text: str) -> Event[Any, Any]:
    """Decode an event's text of record.

    Raises:
        EventError: it is none: the api would not have accepted it, or not in this form.
    """
    # JSON allows these between two tokens. In NDJSON a line break would end the event.
    if "\n" in text or "\r" in text or "\t" in text or text[:1] != "{":
        raise EventError("invalid_json", "", "The text has white space between tokens.")
    raw = text.encode()
    event = decode_event(raw)
    check_depth(raw, _DEPTH)
    if event.id is not UNSET:
        raise EventError("unknown_field", "id", "The id belongs in `_id` of the document.")
    return event


def answer_of(stored: Stored, tenant_id: str) -> bytes:
    """Return the JSON of an event as `answer_json` does; of another document, what is known of it.

    The second has `unreadable`, the reason, and neither `action` nor `actor`.
    """
    if isinstance(stored, StoredEvent):
        return answer_json(stored, tenant_id)
    known = {"tenant_id": tenant_id, "unreadable": stored.reason}
    if stored.received_at is not None:
        known = {"received_at": format_rfc3339(stored.received_at)} | known
    if stored.id is not None:
        known = {"id": format_id(stored.id)} | known
    return _encoder.encode(known)


def _where(condition: Document, value: str) -> Document:
    return {"$cond": [condition, value, None]}


def _size(value: str) -> Document:
    """Return the expression of a text's size; null for what is no text."""
    return {"$cond": [{"$eq": [{"$type": value}, "string"]}, {"$strLenBytes": value}, None]}


def _text(value: str, most: int) -> Document:
    # Null is less than every number.
    return _where({"$and": [{"$gt": [_size(value), None]}, {"$lte": [_size(value), most]}]}, value)


def _in_bounds(field: str) -> Document:
    """Return the expression of whether a time is in bounds; no other type lies between dates."""
    first, last = _BOUNDS[field]
    # Wrapped, so that MongoDB does not choose the field's index, which has another order.
    value = {"$ifNull": [f"${field}", None]}
    return {"$and": [{"$gte": [value, DatetimeMS(first)]}, {"$lt": [value, DatetimeMS(last)]}]}


def _has_key(tenant: Tenant) -> Document:
    """Return the expression of whether a key has the tenant's form: length, subtype and uid."""
    first, last = keys_of_tenant(tenant)
    value = {"$ifNull": ["$_id", None]}
    return {"$and": [{"$gte": [value, first]}, {"$lte": [value, last]}]}


def _time(value: Any, bounds: tuple[int, int]) -> int | None:
    if isinstance(value, datetime):
        value = DatetimeMS(value)
    if not isinstance(value, DatetimeMS):
        return None
    ms = int(value)
    return ms if bounds[0] <= ms < bounds[1] else None


def is_unicode(text: str) -> bool:
    """Whether a text can be encoded: what is not valid UTF-8 in BSON is read as half surrogates."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
