"""Runs commands side by side: `beside.py COMMAND…`, each a line for the shell.

The last command's output is live. That of each other comes whole when the last has ended, so that
nothing mixes. Fails if any command fails.
"""

import signal
import subprocess
import sys
import tempfile
import time
from typing import IO, NamedTuple


class Running(NamedTuple):
    """A command under way."""

    line: str
    process: subprocess.Popen[bytes]
    output: IO[bytes] | None
    began: float


def start(line: str, *, live: bool) -> Running:
    """Start a command, with its output to the terminal or kept in a file."""
    output = None if live else tempfile.TemporaryFile()
    process = subprocess.Popen(
        ["/bin/bash", "-c", line],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=None if output is None else subprocess.STDOUT,
    )
    return Running(line, process, output, time.monotonic())


def end(running: Running) -> bool:
    """Wait for a command and show what it kept; True if it went well."""
    status = running.process.wait()
    took = f"{time.monotonic() - running.began:.0f} s"
    if running.output is not None:
        running.output.seek(0)
        print(f"\n=== {running.line}", flush=True)
        sys.stdout.buffer.write(running.output.read())
        sys.stdout.buffer.flush()
        took = f"within {took}"
    print(f"=== {running.line}: {f'FAILED ({status})' if status else 'ok'}, {took}", flush=True)
    return status == 0


def main(lines: list[str]) -> int:
    """Run them; the exit status."""
    *kept, live = lines
    if kept:
        print(f"=== {live}; beside it, shown at the end: {', '.join(kept)}", flush=True)
    running: list[Running] = []
    all_started = asked_to_stop = False

    def stop(*_: object) -> None:
        # While a command is being started, nobody knows it yet who could end it.
        nonlocal asked_to_stop
        asked_to_stop = True
        if all_started:
            sys.exit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)
    try:
        running.append(start(live, live=True))
        for line in kept:
            running.append(start(line, live=False))  # noqa: PERF401 # what was started is known
        all_started = True
        if asked_to_stop:
            return 128 + signal.SIGTERM
        failed = [each.line for each in running if not end(each)]
    except KeyboardInterrupt:  # the commands have got it as well, from the terminal
        for each in running:
            each.process.wait()
        return 128 + signal.SIGINT
    finally:
        for each in running:
            each.process.terminate()
    if failed:
        print(f"=== FAILED: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
