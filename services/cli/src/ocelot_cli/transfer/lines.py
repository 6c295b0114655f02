"""Reading files line by line, packed or not, in bounded memory."""

import gzip
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import zstandard

STDIN: Final = "-"
#: A longer line is no event: it is reported and the rest of it skipped.
MAX_LINE_BYTES: Final = 1024 * 1024


class Line(NamedTuple):
    """One line of a file.

    Attributes:
        file: as it was named.
        number: from 1.
        raw: without its end.
        too_long: it was longer than a line may be; `raw` is its beginning.
    """

    file: str
    number: int
    raw: bytes
    too_long: bool

    @property
    def place(self) -> str:
        """`FILE:LINE`."""
        return f"{self.file}:{self.number}"


class Source:
    """One file to read, and how far it has been read."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._file: BinaryIO | None = None
        self._read = 0
        self.size = 0 if name == STDIN else Path(name).stat().st_size

    @property
    def position(self) -> int:
        """Bytes of the file, as it lies on the disk, that have been read."""
        return self._file.tell() if self._file is not None else self._read

    def lines(self) -> Iterator[Line]:
        """All its lines.

        Raises:
            OSError: it can't be read, or is not packed as its name says.
        """
        shown = "stdin" if self.name == STDIN else self.name
        if self.name == STDIN:
            yield from _lines(shown, sys.stdin.buffer)
            return
        with Path(self.name).open("rb") as file:
            self._file = file
            try:
                yield from _lines(shown, _unpacked(self.name, file))
            except (EOFError, zstandard.ZstdError) as error:
                raise OSError(f"{self.name}: {error}") from None
            finally:
                self._read, self._file = file.tell(), None


def _unpacked(name: str, file: BinaryIO) -> BinaryIO:
    if name.endswith(".gz"):
        return io.BufferedReader(gzip.GzipFile(fileobj=file))
    if name.endswith(".zst"):
        reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
        return io.BufferedReader(reader)
    return file


def _lines(name: str, stream: BinaryIO) -> Iterator[Line]:
    number = 0
    while raw := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        too_long = len(raw) > MAX_LINE_BYTES
        if too_long:
            rest = raw
            while rest and not rest.endswith(b"\n"):
                rest = stream.readline(MAX_LINE_BYTES)
        yield Line(name, number, raw.rstrip(b"\r\n"), too_long)
