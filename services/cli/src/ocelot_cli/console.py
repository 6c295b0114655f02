"""What people see: results on stdout, everything else on stderr."""

import sys
from typing import Final, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

#: Where nobody looks at it, a table is as wide as it needs to be.
_PIPED_WIDTH: Final = 240

out = Console(soft_wrap=True, highlight=False, width=None if sys.stdout.isatty() else _PIPED_WIDTH)
err = Console(stderr=True, soft_wrap=True, highlight=False)

#: Exit statuses; 2 is a wrong command line.
FAILED = 1
REJECTED = 3


def say(text: str) -> None:
    """One line for people."""
    err.print(escape(text))


def fail(text: str, *, status: int = FAILED) -> NoReturn:
    """End the command with one clear line."""
    err.print(f"[bold red]error:[/] {escape(text)}")
    raise typer.Exit(status)
