"""Lines for the person at the terminal; logs of others are among them, so all is escaped."""

import sys
from collections.abc import Callable

from ocelot_common.terminal import escape

Report = Callable[[str], None]


def say(line: str) -> None:
    """Write one line to standard output at once, also when it is a pipe."""
    sys.stdout.write(escape(line, keep="\n") + "\n")
    sys.stdout.flush()


def complain(line: str) -> None:
    """Write one line to standard error at once."""
    sys.stderr.write(escape(line, keep="\n") + "\n")
    sys.stderr.flush()
