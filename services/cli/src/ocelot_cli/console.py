"""What people see: results on stdout, everything else on stderr.

Events, answers of servers, names of files and variables are text of others. It must neither drive
the terminal nor read as another text, so every path to it is guarded, most of them twice:

- `plain` escapes a text of others, and keeps it to one line, where it becomes a cell or a message;
- `show_json` and `show_line` escape in JSON, which stays the same value, also in a pipe: somebody
  may page through it;
- the consoles read no markup and no emoji codes, and escape all that they render;
- `guarded_streams` escapes what is written past the consoles: usage errors, prompts, tracebacks.

Files are written as they are; `ocelot export` escapes only where its output is a terminal.
"""

import errno
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn, TextIO

import msgspec
import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.highlighter import JSONHighlighter
from rich.segment import Segment
from rich.text import Text

from ocelot_common.terminal import escape

#: Where nobody looks at it, a table is as wide as it needs to be.
_PIPED_WIDTH: Final = 240
#: What a program writes to lay out its lines.
_LAYOUT: Final = "\n\t"
_STREAMS: Final = ("stdout", "stderr")

#: Exit statuses, as `ocelot --help` lists them.
FAILED: Final = 1
WRONG_USAGE: Final = 2
REJECTED: Final = 3
NOT_FOUND: Final = 4
DENIED: Final = 5
UNREACHABLE: Final = 6


class GuardedConsole(Console):
    """A console that text of others cannot drive: no markup, no emoji codes, no controls."""

    def __init__(self, *, stderr: bool = False, width: int | None = None) -> None:
        super().__init__(
            stderr=stderr, width=width, soft_wrap=True, highlight=False, markup=False, emoji=False
        )

    def on_broken_pipe(self) -> NoReturn:
        """Leave a closed pipe to the command line, for which it is no error."""
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Render to segments; the console's own control codes are segments of another kind."""
        for segment in super().render(renderable, options):
            shown = segment.text if segment.control else escape(segment.text, keep=_LAYOUT)
            yield segment if shown == segment.text else Segment(shown, segment.style)


out = GuardedConsole(width=None if sys.stdout.isatty() else _PIPED_WIDTH)
err = GuardedConsole(stderr=True)


class _GuardedStream:
    """A text stream that escapes what is written to it; all else is the stream's own."""

    def __init__(self, stream: TextIO) -> None:
        #: Where rich writes: what it has rendered is escaped already, and its colours stay.
        self.rich_proxied_file = stream

    def write(self, text: str) -> int:
        """Write the text, escaped."""
        self.rich_proxied_file.write(escape(text, keep=_LAYOUT))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write the lines, escaped."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rich_proxied_file, name)


def guard_streams() -> None:
    """Have stdout and stderr escape what Python and click write to them, until the process ends."""
    for name in _STREAMS:
        stream = getattr(sys, name)
        if not isinstance(stream, _GuardedStream):
            setattr(sys, name, _GuardedStream(stream))


@contextmanager
def guarded_streams() -> Iterator[None]:
    """The same for a while."""
    before = {name: getattr(sys, name) for name in _STREAMS}
    guard_streams()
    guards = {name: getattr(sys, name) for name in _STREAMS}
    try:
        yield
    finally:
        for name in _STREAMS:
            # Unless somebody has replaced it meanwhile, as click does when a pipe breaks.
            if getattr(sys, name) is guards[name]:
                setattr(sys, name, before[name])


def plain(text: str) -> Text:
    """Return text of others in one line, as it is but for escapes of what a terminal must not get.

    Square brackets are no markup, and a line feed of theirs begins no line of ours.
    """
    return Text(escape(text))


def sentence(text: str) -> str:
    """Return a text of others as a sentence, so that another one can follow."""
    return text if text.endswith((".", "!", "?")) else f"{text}."


def plural(number: int, noun: str) -> str:
    """Return the noun as it stands behind a number: `event` behind 1, else `events`."""
    return noun if number == 1 else f"{noun}s"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: `1 event`, `12,000 events`."""
    return f"{number:,} {plural(number, noun)}"


def show_json(content: bytes) -> None:
    """Print JSON with indentation, in colour on a terminal."""
    text = msgspec.json.format(content, indent=2).decode()
    # C0 is escaped in JSON; DEL, C1 and bidirectional controls need not be.
    out.print(JSONHighlighter()(escape(text, keep=_LAYOUT)))


def show_line(content: bytes) -> None:
    """Print JSON as one line of NDJSON."""
    out.file.write(escape(content.decode()) + "\n")


def say(text: str) -> None:
    """Print one line for people."""
    err.print(plain(text))


def note(text: str) -> None:
    """Print one line that only explains what happens."""
    line = plain(text)
    line.stylize("dim")
    err.print(line)


def complain(text: str) -> None:
    """Print one line that says what is wrong."""
    err.print(Text.assemble(("error:", "bold red"), " ", plain(text)))


def fail(text: str, *, status: int = FAILED) -> NoReturn:
    """End the command with one clear line."""
    complain(text)
    raise typer.Exit(status)
