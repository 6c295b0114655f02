"""Events as rows of a table, and the table as CSV (RFC 4180)."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

#: What a table shows unless it is told otherwise.
DEFAULT_COLUMNS: Final = (
    "id", "received_at", "occurred_at", "action", "actor.id", "actor.type", "actor.name",
    "actor.email", "targets.type", "targets.id", "targets.name", "outcome", "severity", "message",
    "source.ip", "source.service", "request_id", "trace_id", "tags", "changes", "metadata",
)  # fmt: skip

_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_array = msgspec.json.Decoder(list[msgspec.Raw])
_string = msgspec.json.Decoder(str)
#: With one of these, full width included, a spreadsheet takes a text for a formula, or loses what
#: stands before one (OWASP, CSV Injection).
_FORMULA: Final = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")


def row_of(answer: bytes, columns: Sequence[str]) -> list[str]:
    """The cells of an event's JSON.

    Numbers stand as they were written, what is no single value as JSON, what is absent or null as
    nothing. Of an array each item is looked into. Texts that a spreadsheet would run get an
    apostrophe. A document that is no event has its id and the reason in the first cell, and no
    other.
    """
    event = _object.decode(answer)
    if "unreadable" in event:
        named = [_cell(bytes(event[name])) for name in ("id", "unreadable") if name in event]
        return [f"unreadable: {', '.join(named)}", *[""] * (len(columns) - 1)]
    opened: dict[str, Any] = {}  # what several columns look into
    row = []
    for column in columns:
        name, _, rest = column.partition(".")
        value = event.get(name)
        if value is None:
            row.append("")
        elif rest:
            if name not in opened:
                opened[name] = _open(value)
            row.append(_cell(_find(opened[name], rest)))
        else:
            row.append(_cell(bytes(value)))
    return row


def csv_of(rows: Iterable[Sequence[str]]) -> bytes:
    """Rows as CSV, UTF-8; each ends with CR LF."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()


def _open(value: msgspec.Raw) -> Any:
    """An object's members by their names, an array's items, each opened; or None."""
    content = bytes(value)
    if content[:1] == b"{":
        return _object.decode(content)
    if content[:1] == b"[":
        return [_open(item) for item in _array.decode(content)]
    return None


def _find(opened: Any, path: str) -> bytes | None:
    """The JSON at a path; a dotted key and a nested one are one path, the shorter key first."""
    if isinstance(opened, list):
        items = [_find(item, path) for item in opened]
        parts = [item for item in items if item is not None]
        return b"[" + b",".join(parts) + b"]" if parts else None
    if opened is None:
        return None
    at = path.find(".")
    while at >= 0:
        value = opened.get(path[:at])
        if value is not None:
            found = _find(_open(value), path[at + 1 :])
            if found is not None:
                return found
        at = path.find(".", at + 1)
    value = opened.get(path)
    return None if value is None else bytes(value)


def _cell(value: bytes | None) -> str:
    if value is None or value == b"null":
        return ""
    if value[:1] != b'"':
        return value.decode()  # a number is none that would run, `-1` neither
    text = _string.decode(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
