"""The forms of an exported file, made of the events' lines as they arrive."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

from ocelot_common.csv_rows import csv_of, row_of


class Format(StrEnum):
    """What a file holds."""

    NDJSON = "ndjson"
    JSON = "json"
    CSV = "csv"


class Form(Protocol):
    """Makes one file of events; it may begin anew behind any of them."""

    def begin(self) -> bytes:
        """What stands before the events."""
        ...

    def write(self, events: Sequence[bytes], *, first: bool) -> bytes:
        """Some events, given as their JSON; `first` if none is before them."""
        ...

    def end(self) -> bytes:
        """What stands behind them."""
        ...


class Ndjson:
    """An event a line."""

    def begin(self) -> bytes:
        """Nothing."""
        return b""

    def write(self, events: Sequence[bytes], *, first: bool) -> bytes:
        """Lines."""
        del first
        return b"\n".join(events) + b"\n"

    def end(self) -> bytes:
        """Nothing."""
        return b""


class JsonArray:
    """One array, an event a line."""

    def begin(self) -> bytes:
        """The bracket."""
        return b"["

    def write(self, events: Sequence[bytes], *, first: bool) -> bytes:
        """Items."""
        return (b"\n" if first else b",\n") + b",\n".join(events)

    def end(self) -> bytes:
        """The other bracket."""
        return b"\n]\n"


class Csv:
    """A table with a header, as the api makes it (RFC 4180).

    Args:
        columns: paths into the events.
    """

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = columns

    def begin(self) -> bytes:
        """The header."""
        return csv_of([self._columns])

    def write(self, events: Sequence[bytes], *, first: bool) -> bytes:
        """Rows."""
        del first
        return csv_of(row_of(event, self._columns) for event in events)

    def end(self) -> bytes:
        """Nothing."""
        return b""


def form_of(name: Format, columns: Sequence[str]) -> Form:
    """A form by its name; the columns are for CSV."""
    if name is Format.CSV:
        return Csv(columns)
    return Ndjson() if name is Format.NDJSON else JsonArray()
