"""Reading a request's body within bounds of size and time, and undoing its encoding."""

import asyncio
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import zstandard
from starlette.types import Receive

from ocelot_api.budget import Reservation
from ocelot_api.problems import Problem, bad_request
from ocelot_api.timers import TimeLimits

#: Below this, decompressing takes less time than handing it to a thread.
_INLINE_BYTES: Final = 64 * 1024
_STEP: Final = 256 * 1024
#: Pieces below this share an object.
_SMALL_CHUNK: Final = 4 * 1024
_ZSTD_WINDOW: Final = 8 * 1024 * 1024
_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS
#: What a decompressor is handed at a time: what it leaves for the next member is copied.
_FEED: Final = 64 * 1024
#: gzip members or zstd frames of one body, and one more per so many bytes that they unpack to. A
#: member of 20 bytes costs 3 µs, as much as 500 bytes of an event.
_FREE_MEMBERS: Final = 100
_BYTES_PER_MEMBER: Final = 1024


#: Few, since what a body unpacks to is reserved only when its size is known.
_threads: Final = ThreadPoolExecutor(4, thread_name_prefix="decompress")


class ClientGoneError(Exception):
    """The client closed the connection before its request was complete."""


async def read_body(
    receive: Receive,
    headers: dict[bytes, bytes],
    *,
    max_bytes: int,
    time_limits: TimeLimits,
    reservation: Reservation,
) -> bytes:
    """The whole body, decompressed.

    Args:
        receive: of the ASGI connection.
        headers: of the request, names in lowercase.
        max_bytes: bound of the body, as sent and decompressed alike.
        time_limits: of its arrival.
        reservation: grows with what is held.

    Raises:
        Problem: 400, 408, 413, 415 or 503.
        ClientGoneError: the client went away.
    """
    encoding = headers.get(b"content-encoding", b"identity").strip().lower()
    decompress = _DECOMPRESSORS.get(encoding)
    if decompress is None and encoding not in (b"identity", b""):
        raise Problem(
            415,
            "unsupported_encoding",
            "Content-Encoding must be gzip, zstd or identity.",
            headers={"Accept-Encoding": "gzip, zstd"},
        )
    declared = _declared_size(headers)
    if declared > max_bytes:
        raise too_large(max_bytes)
    reservation.check(declared)
    try:
        with time_limits.limit():
            body = await _receive_all(receive, max_bytes, reservation)
    except TimeoutError:
        raise Problem(
            408,
            "body_timeout",
            f"The body did not arrive within {time_limits.seconds:g} s. Send less per request.",
            headers={"Connection": "close"},  # RFC 9110 §15.5.9; the rest would be read for nothing
        ) from None
    if decompress is None:
        return body
    if len(body) < _INLINE_BYTES:
        plain = decompress(body, max_bytes)
    else:
        loop = asyncio.get_running_loop()
        plain = await loop.run_in_executor(_threads, decompress, body, max_bytes)
    reservation.grow(len(plain))
    return plain


def _declared_size(headers: dict[bytes, bytes]) -> int:
    """The body's size by its header; 0 if that says nothing."""
    declared = headers.get(b"content-length", b"")
    # Python refuses integers of more than 4,300 digits with an error.
    return int(declared[:20]) if declared.isdigit() else 0


def too_large(max_bytes: int) -> Problem:
    """413 for a body over its bound."""
    return Problem(
        413,
        "body_too_large",
        f"The body is too large. The limit is {max_bytes:,} bytes, also after decompression. Send"
        " less per request.",
    )


async def _receive_all(receive: Receive, max_bytes: int, reservation: Reservation) -> bytes:
    chunks: list[bytes | bytearray] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > max_bytes:
            raise too_large(max_bytes)
        reservation.grow(len(chunk))
        more = message.get("more_body", False)
        if not more and not chunks:
            return bytes(chunk)
        if len(chunk) >= _SMALL_CHUNK:
            chunks.append(chunk)
        elif chunks and isinstance(chunks[-1], bytearray):
            chunks[-1] += chunk
        else:  # objects of a byte each would take forty times what is reserved
            chunks.append(bytearray(chunk))
        if not more:
            return b"".join(chunks)


def _gunzip(body: bytes, max_bytes: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    source = _Source(body)
    while source.next_member(size):
        member = zlib.decompressobj(wbits=_GZIP_WINDOW)
        try:
            while not member.eof:
                feed = member.unconsumed_tail or source.feed()
                part = member.decompress(feed, _STEP)
                if not (part or feed or member.eof):
                    raise bad_request(
                        "invalid_encoding", "The gzip body is incomplete. Send it again."
                    )
                size += len(part)
                if size > max_bytes:
                    raise too_large(max_bytes)
                parts.append(part)
        except zlib.error:
            raise bad_request(
                "invalid_encoding", "The body is not valid gzip. Check Content-Encoding."
            ) from None
        source.put_back(len(member.unused_data))
    return b"".join(parts)


def _unzstd(body: bytes, max_bytes: int) -> bytes:
    try:
        size = zstandard.get_frame_parameters(body).content_size
        if size in (0, zstandard.CONTENTSIZE_UNKNOWN, zstandard.CONTENTSIZE_ERROR):
            # An empty frame may stand before others, and decompress() would end with it.
            return _unzstd_frames(body, max_bytes)
        if size > max_bytes:
            raise too_large(max_bytes)
        # Holds the frame to the size that it states: one that lies about it fails.
        return zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompress(
            body, allow_extra_data=False
        )
    except zstandard.ZstdError:
        return _unzstd_frames(body, max_bytes)


def _unzstd_frames(body: bytes, max_bytes: int) -> bytes:
    """Several frames, or frames that do not state their size.

    Measured first, in bounded memory: 1 KiB can unpack to 32 MiB in one step.
    """
    decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    try:
        reader = decompressor.stream_reader(body, read_across_frames=True)
        size = 0
        while part := reader.read(_STEP):
            size += len(part)
            if size > max_bytes:
                raise too_large(max_bytes)
        parts = []
        unpacked = 0
        source = _Source(body)
        while source.next_member(unpacked):
            frame = decompressor.decompressobj()
            while not frame.eof:
                feed = source.feed()
                if not feed:
                    raise bad_request(
                        "invalid_encoding", "The zstd body is incomplete. Send it again."
                    )
                parts.append(frame.decompress(feed))
                unpacked += len(parts[-1])
            source.put_back(len(frame.unused_data))
        return b"".join(parts)
    except zstandard.ZstdError:
        raise bad_request(
            "invalid_encoding", "The body is not valid zstd. Check Content-Encoding."
        ) from None


class _Source:
    """Hands a body out in small pieces, which its members share."""

    def __init__(self, body: bytes) -> None:
        self._body = memoryview(body)
        self._at = 0
        self._members = 0

    def next_member(self, unpacked: int) -> bool:
        """Whether another member follows.

        Args:
            unpacked: bytes that the members before it unpacked to.

        Raises:
            Problem: 400: there are too many.
        """
        if self._at >= len(self._body):
            return False
        self._members += 1
        most = _FREE_MEMBERS + unpacked // _BYTES_PER_MEMBER
        if self._members > most:
            raise bad_request(
                "invalid_encoding",
                f"The body has over {most:,} gzip members or zstd frames. The limit is"
                f" {_FREE_MEMBERS}, plus one per {_BYTES_PER_MEMBER:,} bytes of content."
                " Compress the body as a whole.",
            )
        return True

    def feed(self) -> memoryview:
        """The next piece; empty at the end."""
        piece = self._body[self._at : self._at + _FEED]
        self._at += len(piece)
        return piece

    def put_back(self, size: int) -> None:
        """Have the end of the last piece handed out again."""
        self._at -= size


_DECOMPRESSORS: Final[dict[bytes, Callable[[bytes, int], bytes]]] = {
    b"gzip": _gunzip,
    b"x-gzip": _gunzip,
    b"zstd": _unzstd,
}
