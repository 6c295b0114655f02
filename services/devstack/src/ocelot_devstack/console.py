"""Lines for the person at the terminal."""

import sys
from collections.abc import Callable

Report = Callable[[str], None]


def say(line: str) -> None:
    """Write one line to standard output at once, also when it is a pipe."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def complain(line: str) -> None:
    """Write one line to standard error at once."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
