"""Where an export goes: a file that a later run can go on with, or standard output."""

import os
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Self

import msgspec

from ocelot_common.terminal import escape

STDOUT: Final = "-"
_SUFFIX: Final = ".unfinished"
_VERSION: Final = 1
#: A run that is killed loses so much of its work at most.
_SAVE_EVERY_SEC: Final = 1.0


class State(msgspec.Struct):
    """How far an export is, and all that is needed to go on.

    Attributes:
        options: as they were given; another run must have the same.
        params: the api's parameters for them: `-24h` is a time now.
        stored_until: the api's bound of the export; empty before its first answer.
        complete_until: up to when no event is missing, RFC 3339.
        events: in the file.
        bytes: of the file that are whole events.
        last_id: of the last event; empty if there is none.
        unreadable: lines of stored documents that are not events.
    """

    options: dict[str, Any]
    params: list[tuple[str, str]]
    stored_until: str = ""
    complete_until: str = ""
    events: int = 0
    bytes: int = 0
    last_id: str = ""
    unreadable: int = 0
    version: int = _VERSION


class UnusableFileError(Exception):
    """The file can't be begun, or not be gone on with."""


class Output:
    """Takes whole events. While it is unfinished, a small file beside it says how far it is.

    A context manager: left early, it keeps what it has, so that `resume` can go on.

    Args:
        file: to write to.
        state: how far it is.
        sidecar: where that is kept; None if no later run can go on.
    """

    def __init__(self, file: BinaryIO, state: State, sidecar: Path | None) -> None:
        self.state = state
        self._file = file
        self._is_terminal = is_terminal(file)
        self._is_table = state.options.get("format") == "csv"
        self._sidecar = sidecar
        self._saved_at = time.monotonic()

    @classmethod
    def open(cls, name: str, state: State) -> Self:
        """Begin a new file, or `-`, standard output.

        Raises:
            UnusableFileError: there is such a file already.
            OSError: it can't be made.
        """
        if name == STDOUT:
            return cls(sys.stdout.buffer, state, None)
        path = Path(name)
        if path.exists() and not path.is_file():  # /dev/null, a named pipe
            return cls(path.open("wb"), state, None)
        sidecar = sidecar_of(name)
        if sidecar.exists():
            raise UnusableFileError(
                f"{name} is unfinished. Run the same command with --resume to continue, or remove"
                f" {sidecar} to start again."
            )
        try:
            file = path.open("xb")
        except FileExistsError:
            raise UnusableFileError(
                f"{name} exists already. Remove it, or name another file."
            ) from None
        output = cls(file, state, sidecar)
        output.save()
        return output

    @classmethod
    def resume(cls, name: str, options: dict[str, Any]) -> Self:
        """Go on with a file that an earlier run left.

        Raises:
            UnusableFileError: it is none, or was begun with other options.
            OSError: it can't be read or written.
        """
        sidecar = sidecar_of(name)
        try:
            state = msgspec.json.decode(sidecar.read_bytes(), type=State)
            file = Path(name).open("r+b")  # noqa: SIM115 - it stays open
        except FileNotFoundError as error:
            raise UnusableFileError(
                f"The export cannot be resumed, because {error.filename} does not exist."
            ) from None
        except msgspec.DecodeError as error:
            raise UnusableFileError(f"{sidecar} cannot be read: {error}.") from None
        size = file.seek(0, os.SEEK_END)
        problem = ""
        if state.version != _VERSION:
            problem = f"{sidecar} was written by another version of the command."
        elif state.options != options:
            given = [name for name in options if options[name] != state.options.get(name)]
            problem = f"{name} was started with other options: {', '.join(given)}."
        elif size < state.bytes:
            problem = f"{name} is shorter than {sidecar} says. Remove both and export again."
        if problem:
            file.close()
            raise UnusableFileError(problem)
        file.truncate(state.bytes)
        file.seek(state.bytes)
        return cls(file, state, sidecar)

    @property
    def resumable(self) -> bool:
        """Whether a later run can go on with it."""
        return self._sidecar is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._sidecar is not None and not self._file.closed:
            self.save()
            self._file.close()

    def write(self, content: bytes, *, events: int = 0, last_id: str = "") -> None:
        """Add to the file.

        Args:
            content: whole events, or what stands before them.
            events: how many.
            last_id: of the last one.
        """
        shown = _for_terminal(content, table=self._is_table) if self._is_terminal else content
        self._file.write(shown)
        self.state.bytes += len(content)
        self.state.events += events
        self.state.last_id = last_id or self.state.last_id
        if time.monotonic() - self._saved_at > _SAVE_EVERY_SEC:
            self.save()

    def save(self) -> None:
        """Have everything on the disk, and beside it how much that is."""
        self._saved_at = time.monotonic()
        self._file.flush()
        if self._sidecar is None:
            return
        os.fsync(self._file.fileno())
        written = self._sidecar.with_name(f"{self._sidecar.name}.new")
        written.write_bytes(msgspec.json.encode(self.state) + b"\n")
        written.replace(self._sidecar)

    def finish(self, content: bytes) -> None:
        """Write what stands behind the events; from now on it is a file as any other."""
        self.write(content)
        self.save()
        if self._sidecar is not None:
            self._file.close()
            self._sidecar.unlink()


def is_terminal(file: BinaryIO) -> bool:
    """Return whether somebody looks at what is written to a file."""
    return file.isatty()


def _for_terminal(content: bytes, *, table: bool) -> bytes:
    """Escape whole events for a terminal; a file gets every byte as it is.

    JSON stays JSON of the same value.

    Args:
        content: whole lines.
        table: the lines are CSV. Line ends in quoted cells are those of others, and escaped too; of
            the rows' own line ends the carriage return is left out.
    """
    text = content.decode(errors="backslashreplace")
    if not table:
        return escape(text, keep="\n").encode()
    parts = text.split('"')
    parts[::2] = [escape(part.replace("\r\n", "\n"), keep="\n") for part in parts[::2]]
    parts[1::2] = map(escape, parts[1::2])
    return '"'.join(parts).encode()


def sidecar_of(name: str) -> Path:
    """The file that says how far an unfinished one is."""
    return Path(f"{name}{_SUFFIX}")
