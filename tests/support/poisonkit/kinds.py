"""Documents that somebody with write access to MongoDB may put among events."""

import json
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import bson
from bson import Binary, Decimal128, Int64, ObjectId, Regex
from bson.datetime_ms import DatetimeMS
from bson.max_key import MaxKey
from bson.raw_bson import RawBSONDocument

Document = dict[str, Any]

MEBIBYTE: Final = 1024 * 1024
EVENT: Final = {"action": "note.read", "actor": {"id": "poison"}, "message": "needle"}
_MARK: Final = b"MARKMARK"
_DATE: Final = datetime(2026, 1, 1, tzinfo=UTC)
_LAST_DATE: Final = 2**63 - 1
_PAST_9999: Final = 253_402_300_800_000


def _text(**members: Any) -> str:
    return json.dumps(EVENT | members)


#: Of each kind, what it changes in a good document; None removes the field. No reader may take the
#: result for an event. Those whose names begin with a time or with `key` have no place
#: in the order of that time, or in any.
UNREADABLE: Final[dict[str, Document]] = {
    "line break between tokens": {"event": '{"action":"a",\n"actor":{"id":"u"}}'},
    "control byte in a string": {"event": '{"action":"a\x01","actor":{"id":"u"}}'},
    "no JSON": {"event": "not json"},
    "JSON that is cut": {"event": '{"action":"a","actor":{"id":"u"}'},
    "JSON with more behind it": {"event": '{"action":"a","actor":{"id":"u"}},{}'},
    "an array": {"event": "[]"},
    "empty text": {"event": ""},
    "text without action": {"event": '{"actor":{"id":"u"}}'},
    "text with an id": {"event": _text(id="01a20fec-b3b5-72f4-9ef5-80ce43e0fde8")},
    "text with an unknown field": {"event": _text(tenant_id="other")},
    "text with an unknown outcome": {"event": _text(outcome="maybe")},
    "NaN": {"event": '{"action":"a","actor":{"id":"u"},"metadata":{"n":NaN}}'},
    "infinity": {"event": '{"action":"a","actor":{"id":"u"},"metadata":{"n":-Infinity}}'},
    "a number beyond doubles": {
        "event": '{"action":"a","actor":{"id":"u"},"metadata":{"n":1e999}}'
    },
    "half a surrogate": {"event": '{"action":"a","actor":{"id":"u"},"message":"\\ud800"}'},
    "900 levels": {"event": _text(metadata={"a": 0}).replace("0", "[" * 900 + "]" * 900)},
    "100,000 levels": {"event": _text(metadata={"a": 0}).replace("0", "[" * 10**5 + "]" * 10**5)},
    "two mebibytes": {"event": _text(message="x" * 2 * MEBIBYTE)},
    "text is a number": {"event": 5},
    "text is an object": {"event": dict(EVENT)},
    "text is an array": {"event": [_text()]},
    "no text": {"event": None},
    "invalid UTF-8 in the text": {"event": _text(message=_MARK.decode())},
    "no writer": {"writer": None},
    "writer is a number": {"writer": 5},
    "writer of 15 KB": {"writer": "w" * 15_000},
    "writer is a broken reference": {"writer": {"$ref": "x", "$id": 1, "$db": 5}},
    "writer is malformed binary": {"writer": Binary(_MARK, 5)},
    "invalid UTF-8 in the writer": {"writer": f"w{_MARK.decode()}"},
    "no revision": {"rev": None},
    "revision is text": {"rev": "1"},
    "revision 0": {"rev": 0},
    "negative revision": {"rev": -1},
    "revision NaN": {"rev": float("nan")},
    "revision is a decimal": {"rev": Decimal128("1")},
    "no seq": {"seq": None},
    "seq is a number": {"seq": Int64(5)},
    "seq is the largest of all": {"seq": MaxKey()},
    "no version": {"v": None},
    "version is text": {"v": "1"},
    "version infinity": {"v": float("inf")},
    "version 999": {"v": 999},
    "uid in an array": {"t": ["uid"]},
    **{
        f"{field} {name}": {field: value}
        for field in ("received_at", "occurred_at")
        for name, value in {
            "missing": None,
            "is text": "2026-01-01T00:00:00Z",
            "is a number": 5,
            "is true": True,
            "is an expression": Regex("^a"),
            "is an array": [_DATE],
            "is an array of two": [_DATE, DatetimeMS(0)],
            "is the last date": DatetimeMS(_LAST_DATE),
            "is the first date": DatetimeMS(-_LAST_DATE),
        }.items()
    },
    "received_at past 9999": {"received_at": DatetimeMS(_PAST_9999)},
    "received_at before 1970": {"received_at": DatetimeMS(-1)},
    # Drawn for each document.
    "key is a number": {"_id": lambda: secrets.randbits(60)},
    "key is text": {"_id": secrets.token_hex},
    "key is an object": {"_id": lambda: {"a": secrets.token_hex()}},
    "key is an object id": {"_id": ObjectId},
    "key of 3 bytes": {"_id": lambda: Binary(secrets.token_bytes(3), 4)},
    "key of another subtype": {"_id": lambda: Binary(secrets.token_bytes(16), 5)},
    "key of 40 bytes": {"_id": lambda: Binary(secrets.token_bytes(40), 4)},
}

#: Of each kind, what it changes in a good document, which stays an event: readers take what they
#: show from its text. These are for what MongoDB counts and compares by itself.
ODD: Final[dict[str, Document]] = {
    "action is a number": {"action": 5},
    "action is an object": {"action": {"a": 1}},
    "action is long": {"action": "a" * 100_000},
    "invalid UTF-8 in the action": {"action": f"a{_MARK.decode()}"},
    "actor is text": {"actor": "u"},
    "actor's id is an array": {"actor": {"id": ["u", {"a": 1}]}},
    "targets are text": {"targets": "x"},
    "targets are an object": {"targets": {"id": "x"}},
    "targets' ids are arrays": {"targets": [{"id": [["note"]]}]},
    "tags are text": {"tags": "x"},
    "tags are arrays": {"tags": [["a"], ["b", ["a"]]]},
    "tags are dates": {"tags": [DatetimeMS(_LAST_DATE), None, 5]},
    "attrs are text": {"attrs": "metadata.plan=pro"},
    "attrs are objects": {"attrs": [{"a": 1}, 5, None]},
    "attrs_cut is text": {"attrs_cut": "yes"},
    "outcome is an object": {"outcome": {"a": 1}},
    "severity is a decimal": {"severity": Decimal128("NaN")},
    "source is text": {"source": "x"},
    "the address is text": {"source": {"ip": 5, "ip16": "x"}},
    "the address is short": {"source": {"ip16": Binary(b"x")}},
    "a foreign field": {"foreign": {"$ref": "x", "$id": 1, "$db": 5}},
}


def poisoned(good: Document, changes: Document) -> RawBSONDocument:
    """Return a good document with the changes of a kind, in BSON that no driver would make."""
    document = good | changes
    document = {
        name: value() if callable(value) else value
        for name, value in document.items()
        if value is not None
    }
    if document.get("t") == ["uid"]:
        document["t"] = [good["t"], "other"]
    raw = bson.encode(document)
    raw = raw.replace(b"\x05" + _MARK, b"\x02" + _MARK)  # the length within is missing
    return RawBSONDocument(raw.replace(_MARK, b"\xff\xfe\x80MARK\xc0"))


def stuffed(name: str, good: Document) -> RawBSONDocument:
    """Return a document of about 15 MiB, by what fills it."""
    fill: dict[str, Callable[[], Document]] = {
        "text": lambda: {"event": _text(message="x" * 15 * MEBIBYTE)},
        "writer": lambda: {"writer": "w" * 15 * MEBIBYTE},
        "objects": lambda: {"writer": [{}] * 1_100_000},
        "foreign": lambda: {"foreign": "x" * 15 * MEBIBYTE},
        "event of objects": lambda: {"event": [{}] * 1_100_000},
    }
    return RawBSONDocument(bson.encode(good | fill[name]()))
