"""What people see: results on stdout, everything else on stderr."""

import re
import sys
from typing import Final, NoReturn

import msgspec
import typer
from rich.console import Console
from rich.highlighter import JSONHighlighter
from rich.text import Text

#: Where nobody looks at it, a table is as wide as it needs to be.
_PIPED_WIDTH: Final = 240

out = Console(soft_wrap=True, highlight=False, width=None if sys.stdout.isatty() else _PIPED_WIDTH)
err = Console(stderr=True, soft_wrap=True, highlight=False)

#: Exit statuses; 2 is a wrong command line.
FAILED = 1
REJECTED = 3


#: C0, DEL and C1 but for tab and line feed: an event's text must not drive the terminal.
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_DEL_AND_C1: Final = re.compile(r"[\x7f-\x9f]")


def plain(text: str) -> Text:
    """Text of others as it is: square brackets are no markup, control characters are replaced."""
    return Text(_CONTROL.sub("\N{REPLACEMENT CHARACTER}", text))


def show_json(content: bytes) -> None:
    """JSON with indentation, in colour on a terminal."""
    text = msgspec.json.format(content, indent=2).decode()
    # C0 is escaped in JSON; DEL and C1 need not be, and drive a terminal too.
    out.print(JSONHighlighter()(_DEL_AND_C1.sub(_escaped, text)))


def _escaped(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


def say(text: str) -> None:
    """One line for people."""
    err.print(plain(text))


def fail(text: str, *, status: int = FAILED) -> NoReturn:
    """End the command with one clear line."""
    err.print("[bold red]error:[/]", plain(text))
    raise typer.Exit(status)
