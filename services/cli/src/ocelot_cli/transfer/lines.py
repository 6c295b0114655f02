"""Reading files line by line, packed or not, in bounded memory."""

import gzip
import io
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

import zstandard

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

STDIN: Final = "-"
#: A longer line is no event: it is reported and the rest of it skipped.
MAX_LINE_BYTES: Final = 1024 * 1024
_ENDS: Final = b"\r\n"
#: Packed bytes read at a time; what comes of them is held in memory.
_CHUNK_BYTES: Final = 16 * 1024


class UnreadableError(OSError):
    """A file can't be read to its end; the message names it."""


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
    """One file to read, and how far it has been read.

    Attributes:
        size: bytes of the file, as it lies on the disk; 0 for standard input.
        position: how many of them have been read; may be asked for by another thread.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.position = 0
        self.size = 0 if name == STDIN else Path(name).stat().st_size

    def is_file(self, path: Path) -> bool:
        """Whether it is this very file."""
        return self.name != STDIN and Path(self.name).samefile(path)

    def lines(self) -> Iterator[Line]:
        """All its lines.

        Raises:
            UnreadableError: it can't be read, or is not packed as its name says.
        """
        shown = "stdin" if self.name == STDIN else self.name
        if self.name == STDIN:
            yield from _lines(shown, _stdin())
            return
        try:
            with Path(self.name).open("rb") as file:
                for line in _lines(shown, _unpacked(self.name, file)):
                    self.position = file.tell()
                    yield line
        except (OSError, EOFError, zlib.error, zstandard.ZstdError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UnreadableError(f"{self.name}: {reason}") from None


def _stdin() -> BinaryIO:
    """Standard input by a reader of our own.

    Python closes its own when it ends, and dies of it if a thread is still waiting for input.
    """
    reader = sys.stdin.buffer
    if isinstance(getattr(reader, "raw", None), io.FileIO):
        return io.BufferedReader(io.FileIO(reader.fileno(), closefd=False))
    return reader


def _unpacked(name: str, file: BinaryIO) -> BinaryIO:
    if name.endswith(".gz"):
        return io.BufferedReader(gzip.GzipFile(fileobj=file))
    if name.endswith(".zst"):
        return io.BufferedReader(_ZstdReader(file))
    return file


class _ZstdReader(io.RawIOBase):
    """Reads all frames. zstandard's own reader takes a file that was cut off for a whole one."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._frame: zstandard.ZstdDecompressionObj | None = None
        self._packed = b""
        self._plain = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        while not self._plain:
            packed = self._packed or self._file.read(_CHUNK_BYTES)
            if not packed:
                if self._frame is not None:
                    raise EOFError("The last zstd frame of the file is incomplete.")
                return 0
            frame = self._frame or zstandard.ZstdDecompressor().decompressobj()
            self._plain = memoryview(frame.decompress(packed))
            self._frame, self._packed = (None, frame.unused_data) if frame.eof else (frame, b"")
        target = memoryview(buffer)
        number = min(len(target), len(self._plain))
        target[:number] = self._plain[:number]
        self._plain = self._plain[number:]
        return number


def _lines(name: str, stream: BinaryIO) -> Iterator[Line]:
    number = 0
    while read := stream.readline(MAX_LINE_BYTES + len(_ENDS)):
        number += 1
        raw = read.rstrip(_ENDS)
        while read and not read.endswith(b"\n"):
            read = stream.readline(MAX_LINE_BYTES)
        yield Line(name, number, raw[:MAX_LINE_BYTES], len(raw) > MAX_LINE_BYTES)
