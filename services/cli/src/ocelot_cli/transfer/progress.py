"""Progress on stderr: a bar on a terminal, a line every ten seconds elsewhere."""

import time
from types import TracebackType
from typing import Final, Self

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from ocelot_cli.console import err, say
from ocelot_cli.transfer.account import Account

_EVERY_SEC: Final = 10.0


class ProgressReport:
    """How far a transfer is.

    Args:
        total_bytes: of all files as they lie on the disk; 0 where that is not known.
    """

    def __init__(self, total_bytes: int) -> None:
        self._began = time.monotonic()
        self._said_at = self._began
        self._progress = Progress(
            BarColumn(),
            TaskProgressColumn(),
            DownloadColumn(),
            TextColumn("{task.fields[account]}", markup=False),
            TimeRemainingColumn(),
            console=err,
            transient=True,
            disable=not err.is_terminal,
        )
        self._task = self._progress.add_task("", total=total_bytes or None, account="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def update(self, position: int, account: Account) -> None:
        """Show how far it is."""
        self.show(
            position,
            f"{account.accepted:,} accepted, {account.rejected:,} rejected",
            account.accepted,
        )

    def show(self, position: int, text: str, events: int) -> None:
        """Show any text, and behind it how many events a second that is.

        Args:
            position: bytes so far.
            text: what has become of the events.
            events: so many, since the beginning of this report.
        """
        now = time.monotonic()
        text = f"{text}, {events / max(now - self._began, 0.001):,.0f} events/s"
        self._progress.update(self._task, completed=position, account=text)
        if not err.is_terminal and now - self._said_at >= _EVERY_SEC:
            self._said_at = now
            say(text)
