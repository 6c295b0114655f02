"""The forms of an export: NDJSON, one JSON array, or CSV."""

import hashlib
from collections.abc import Sequence
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

import msgspec

from ocelot_api.export.bound import Bound
from ocelot_api.problems import Problem
from ocelot_common.csv_rows import csv_of, row_of


class Format(StrEnum):
    """The parameter `format`, which is also the file's extension."""

    NDJSON = "ndjson"
    JSON = "json"
    CSV = "csv"


MEDIA_TYPES: Final = {
    Format.NDJSON: "application/x-ndjson",
    Format.JSON: "application/json",
    Format.CSV: "text/csv; charset=utf-8; header=present",
}


class End(NamedTuple):
    """How an export ended.

    Attributes:
        events: that were written, and documents in their places that are no events.
        unreadable: how many of them are no events.
        next_cursor: where to go on; None if there is nothing more.
        problem: why it ended early, if it did.
        bound: which events it is made of.
    """

    events: int
    unreadable: int
    next_cursor: str | None
    problem: Problem | None
    bound: Bound


class Writer(Protocol):
    """Writes one export."""

    def begin(self) -> bytes:
        """What stands before the events."""
        ...

    def write(self, answers: Sequence[bytes]) -> bytes:
        """Some events, each given as its JSON."""
        ...

    def pause(self) -> bytes:
        """What may stand between events and means nothing; empty if the form has no such thing."""
        ...

    def end(self, end: End) -> bytes | None:
        """What stands behind them; None if the form can't say that events are missing."""
        ...


class NdjsonWriter:
    """A line an event; a last line, `{"export": …}`, says whether that is all, and has its hash."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self._paused = b""

    def begin(self) -> bytes:
        """Nothing."""
        return b""

    def write(self, answers: Sequence[bytes]) -> bytes:
        """Lines."""
        lines = b"".join([answer + b"\n" for answer in answers])
        self._sha256.update(self._paused)
        self._sha256.update(lines)
        self._paused = b""
        return lines

    def pause(self) -> bytes:
        """A space, with which the next line then begins."""
        self._paused += b" "
        return b" "

    def end(self, end: End) -> bytes:
        """The trailer."""
        trailer = {
            "complete": end.problem is None,
            "events": end.events,
            "unreadable": end.unreadable,
            "sha256": self._sha256.hexdigest(),
            "next_cursor": end.next_cursor,
            "stored_until": str(end.bound.stored_until),
            "complete_until": end.bound.complete_until,
        }
        if end.problem is not None:
            trailer |= {"code": end.problem.code, "detail": end.problem.detail}
        return msgspec.json.encode({"export": trailer}) + b"\n"


class JsonWriter:
    """One array, an event a line."""

    def __init__(self) -> None:
        self._separator = b"\n"

    def begin(self) -> bytes:
        """The bracket."""
        return b"["

    def write(self, answers: Sequence[bytes]) -> bytes:
        """Items."""
        if not answers:
            return b""
        content = self._separator + b",\n".join(answers)
        self._separator = b",\n"
        return content

    def pause(self) -> bytes:
        """A space."""
        return b" "

    def end(self, end: End) -> bytes | None:
        """The other bracket."""
        return None if end.problem else b"\n]\n"


class CsvWriter:
    """A table with a header (RFC 4180).

    Args:
        columns: paths into the events.
    """

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = columns

    def begin(self) -> bytes:
        """The header."""
        return csv_of([self._columns])

    def write(self, answers: Sequence[bytes]) -> bytes:
        """Rows."""
        return csv_of([row_of(answer, self._columns) for answer in answers])

    def pause(self) -> bytes:
        """Nothing: a table has no such thing."""
        return b""

    def end(self, end: End) -> bytes | None:
        """Nothing."""
        return None if end.problem else b""


def writer_of(form: Format, columns: Sequence[str]) -> Writer:
    """A writer of a form; the columns are for CSV."""
    if form is Format.CSV:
        return CsvWriter(columns)
    return NdjsonWriter() if form is Format.NDJSON else JsonWriter()
