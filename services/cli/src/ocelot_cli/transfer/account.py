"""The account of a transfer: every line that was read is in it once."""

from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

import msgspec
from rich.table import Table

from ocelot_cli.console import err, out, say
from ocelot_cli.transfer.lines import Line

#: Faulty lines listed on the terminal; all are counted, and all are in the file of rejects.
MAX_LISTED: Final = 50
_MAX_REASON_CHARS: Final = 300


class Account:
    """Counts lines by what became of them, and lists those that came to nothing.

    Args:
        rejects: a file to write them to; opened here, closed at the end of the context.

    Attributes:
        read: lines.
        blank: lines without anything.
        accepted: events that the api took.
        unusable: lines of which no event could be made.
        refused: events that the api did not take.
    """

    def __init__(self, rejects: Path | None) -> None:
        self.read = 0
        self.blank = 0
        self.accepted = 0
        self.unusable = 0
        self.refused = 0
        self._rejects = rejects
        self._file: BinaryIO | None = rejects.open("wb") if rejects is not None else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()

    @property
    def rejected(self) -> int:
        """Lines that came to nothing."""
        return self.unusable + self.refused

    @property
    def open(self) -> int:
        """Lines whose end is not known (yet)."""
        return self.read - self.blank - self.accepted - self.rejected

    def reject_line(self, line: Line, reason: str) -> None:
        """Note a line of which no event could be made."""
        self.unusable += 1
        self._list(line, reason)

    def reject_event(self, line: Line, reason: str) -> None:
        """Note an event that the api did not take."""
        self.refused += 1
        self._list(line, reason)

    def _list(self, line: Line, reason: str) -> None:
        if self.rejected <= MAX_LISTED:
            say(f"{line.place}: {reason[:_MAX_REASON_CHARS]}")
        elif self.rejected == MAX_LISTED + 1:
            where = f"{self._rejects} has all" if self._rejects else "--rejects FILE writes all"
            say(f"… Further lines are counted and not listed. {where}.")
        if self._file is not None:
            entry = {
                "file": line.file,
                "line": line.number,
                "reason": reason,
                "raw": line.raw.decode(errors="backslashreplace"),
            }
            self._file.write(msgspec.json.encode(entry) + b"\n")

    def summary(self, seconds: float) -> None:
        """Print the account."""
        table = Table(box=None, show_header=False)
        for name, number in (
            ("read", self.read),
            ("accepted", self.accepted),
            ("not mapped or unreadable", self.unusable),
            ("rejected by the api", self.refused),
            ("blank", self.blank),
            ("unknown", self.open),
        ):
            if number or name in ("read", "accepted"):
                table.add_row(name, f"{number:,}")
        err.print(table)
        if seconds > 0:
            say(f"{self.accepted / seconds:,.0f} events/s in {seconds:.1f} s")
        out.file.flush()
