"""The bounds on what one client and all clients together may take of the HTTP edge."""

from typing import Final

import msgspec

#: Request line and headers together.
MAX_HEAD_BYTES: Final = 64 * 1024
MAX_HEADERS: Final = 200
#: Requests that may wait on one connection for the answers of those before them.
MAX_PIPELINED: Final = 64
#: Their headers together; each is held as three objects of 180 bytes.
MAX_PIPELINED_HEADERS: Final = 800
#: What a client may still send of a request that is already answered.
MAX_IGNORED_BYTES: Final = 64 * 1024 * 1024
#: Bytes of framing (chunk sizes, extensions, trailers) per byte of a chunked body's content, and
#: how many more of them a request may have.
FRAMING_FACTOR: Final = 8
MAX_FRAMING_BYTES: Final = 320 * 1024
#: The largest read. A connection may hold as much that waits; uvloop's own reads are of 256 KiB.
READ_BYTES: Final = 64 * 1024
#: A body is read on once the application has taken this much of it.
BODY_HIGH_WATER_BYTES: Final = 64 * 1024
#: An answer is handed to the transport in pieces of this size; each waits until the client has
#: taken most of the one before.
WRITE_BYTES: Final = 128 * 1024
#: The kernel's send buffer of a connection. Left to itself it grows to 4 MiB, which a slow reader
#: fills and the process's memory limit counts. This suffices for 2.5 MB/s at 100 ms round trip.
SEND_BUFFER_BYTES: Final = 256 * 1024


class EdgeBounds(msgspec.Struct, frozen=True, kw_only=True):
    """Times in seconds and numbers per process.

    Attributes:
        head_timeout_sec: from a connection's start, or a request's first byte, to the end of its
            head.
        keep_alive_sec: how long a connection may idle between requests.
        stalled_sec: a client that takes nothing of an answer for this long is cut off.
        linger_sec: how long a refused client may go on sending, so that it reads the answer first.
        max_connections: open at once.
        evict_idle_sec: at that number, connections that idle for longer than this are closed, and
            those that take their answers too slowly for as long.
        evict_bytes_per_sec: a client that takes less of an answer is too slow then.
    """

    head_timeout_sec: float = 10.0
    keep_alive_sec: float = 75.0
    stalled_sec: float = 30.0
    linger_sec: float = 1.0
    max_connections: int = 4_096
    evict_idle_sec: float = 5.0
    evict_bytes_per_sec: float = 4_096.0
