"""Bytes that are no good HTTP; `@` stands for the headers of a good token."""

from collections.abc import Iterator
from typing import Final, NamedTuple

from badinput.rows import text

EVENT: Final = text()
_POST: Final = b"POST /api/v1/logs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n@"
_BULK: Final = _POST.replace(b"/logs", b"/logs/bulk")
_GET: Final = b"GET /api/v1/logs HTTP/1.1\r\nHost: x\r\n@"
_SIZED: Final = b"Content-Length: %d\r\n\r\n%b" % (len(EVENT), EVENT)
_CHUNKED: Final = b"Transfer-Encoding: chunked\r\n\r\n"
_WHOLE: Final = b"%x\r\n%b\r\n" % (len(EVENT), EVENT)


class WireRow(NamedTuple):
    """One connection.

    Attributes:
        pieces: what is sent, after a moment each.
        code: of the problem that is the only answer; None: no answer, the connection is closed.
        eof: whether the client then says that nothing follows.
    """

    name: str
    pieces: tuple[bytes, ...]
    status: int = 400
    code: str | None = "invalid_http"
    eof: bool = False


def _heads() -> Iterator[WireRow]:
    for name, head in (
        ("10,000 headers", b"a: b\r\n" * 10_000),
        ("5,000 tokens", b"Authorization: Bearer x\r\n" * 5_000),
        ("5,000 tenants", b"X-Tenant-ID: x\r\n" * 5_000),
        ("a header of 10 MiB", b"a: " + b"x" * 10_485_760 + b"\r\n"),
        ("a header named by 1 MiB", b"x" * 1_048_576 + b": a\r\n"),
        ("a token of 100 KB", b"Authorization: Bearer " + b"x" * 100_000 + b"\r\n"),
        ("headers without end", b"a: bcdefgh\r\n" * 500_000),
        ("cookies of 1 MiB", b"Cookie: a=b\r\n" * 80_000),
    ):
        yield WireRow(name, (_POST + head + _SIZED,), 431, "head_too_large")
        middle = len(head) // 2
        yield WireRow(
            f"{name}, in pieces",
            (_GET[:9], _GET[9:] + head[:middle], head[middle:] + b"\r\n"),
            431,
            "head_too_large",
        )
    long = b"GET /api/v1/logs?q=" + b"x" * 1_000_000 + b" HTTP/1.1\r\n@\r\n"
    yield WireRow("a URL of 1 MB", (long,), 431, "head_too_large")
    yield WireRow("a method of 1 MB", (b"G" * 1_000_000 + b" / HTTP/1.1\r\n\r\n",))
    yield WireRow("blank lines", (b"\r\n" * 500_000,), 431, "head_too_large")


def _not_http() -> Iterator[WireRow]:
    for name, raw in {
        "junk": b"\0\1\2\3" * 100,
        "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
        "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "HTTP/3.7": b"GET / HTTP/3.7\r\n\r\n",
        "an unknown method": b"FROB /api/v1/logs HTTP/1.1\r\n\r\n",
        "a method in small letters": b"post /api/v1/logs HTTP/1.1\r\n\r\n",
        "CONNECT": b"CONNECT example:443 HTTP/1.1\r\n@\r\n",
        "no path": b"GET  HTTP/1.1\r\n\r\n",
        "a path that begins with none": b"GET x HTTP/1.1\r\n\r\n",
        "bytes in the path": b"GET /\xff\xfe HTTP/1.1\r\n\r\n",
        "a NUL in the path": b"GET /\0 HTTP/1.1\r\n\r\n",
        "no colon": _GET + b"header\r\n\r\n",
        "a blank before the colon": _GET + b"a : b\r\n\r\n",
        "a header without name": _GET + b": b\r\n\r\n",
        "a NUL in a header": _GET + b"a: b\0c\r\n\r\n",
        "a NUL in a header's name": _GET + b"a\0: b\r\n\r\n",
        "a bare CR": _GET + b"a: b\rc: d\r\n\r\n",
        "SOCKS": b"\x05\x01\x00",
        "Redis": b"*1\r\n$4\r\nPING\r\n",
    }.items():
        yield WireRow(f"not HTTP: {name}", (raw,))
    for name, headers in {
        "two sizes": b"Content-Length: 1\r\nContent-Length: %d\r\n\r\n" % len(EVENT),
        "a list of sizes": b"Content-Length: 1, 1\r\n\r\n",
        "a size below zero": b"Content-Length: -1\r\n\r\n",
        "a size with a sign": b"Content-Length: +5\r\n\r\n",
        "a size in hex": b"Content-Length: 0x10\r\n\r\n",
        "a size that is text": b"Content-Length: many\r\n\r\n",
        "no size": b"Content-Length:\r\n\r\n",
        "a size of 30 digits": b"Content-Length: " + b"9" * 30 + b"\r\n\r\n",
        "a size of 5,000 digits": b"Content-Length: " + b"9" * 5_000 + b"\r\n\r\n",
        "a size and chunks": b"Content-Length: 5\r\n" + _CHUNKED,
        "chunks and a size": b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
        "another encoding": b"Transfer-Encoding: gzip\r\n\r\n",
        "chunks not last": b"Transfer-Encoding: chunked, gzip\r\n\r\n",
        "chunks and a tail": b"Transfer-Encoding: chunkedx\r\n\r\n",
        "an encoding that is none": b"Transfer-Encoding: \xff\r\n\r\n",
    }.items():
        yield WireRow(f"framing: {name}", (_POST + headers + EVENT,))


def _chunks() -> Iterator[WireRow]:
    for name, chunks in {
        "a size that is none": b"zz\r\n",
        "no size": b"\r\n\r\n",
        "a size below zero": b"-1\r\n",
        "a size past 64 bits": b"f" * 17 + b"\r\n",
        "longer than its size": b"5\r\n" + EVENT + b"\r\n0\r\n\r\n",
        "no line break after it": b"%x\r\n%b0\r\n\r\n" % (len(EVENT), EVENT),
        "junk after a whole event": _WHOLE + b"junk\r\n",
        "a blank before the size": b" 5\r\nhello\r\n0\r\n\r\n",
        "a NUL in the size": b"5\0\r\nhello\r\n",
        "a trailer that is none": _WHOLE + b"0\r\n\0\r\n\r\n",
    }.items():
        yield WireRow(f"chunks: {name}", (_POST + _CHUNKED + chunks,))
        yield WireRow(f"chunks: {name}, in pieces", (_BULK + _CHUNKED, chunks[:3], chunks[3:]))
    trailer = _WHOLE + b"0\r\n" + b"a: " + b"x" * 1_000_000
    yield WireRow("chunks: a trailer without end", (_POST + _CHUNKED, trailer))
    yield WireRow(
        "chunks: trailers without end", (_BULK + _CHUNKED + b"0\r\n", b"a: b\r\n" * 300_000)
    )
    extension = b"1;" + b"x" * 1_000_000 + b"\r\n"
    yield WireRow("chunks: an extension without end", (_POST + _CHUNKED, extension))


def _refused_by_the_application() -> Iterator[WireRow]:
    anonymous = _POST.replace(b"@", b"")
    smuggled = _CHUNKED + _WHOLE + b"0\r\n@\r\n"
    yield WireRow("a token in the trailers", (anonymous + smuggled,), 401, "token_missing")
    for name, size in (("10 GB", 10**10), ("131,073", 131_073), ("2^63", 2**63 - 1)):
        head = _POST + b"Content-Length: %d\r\n\r\n" % size
        yield WireRow(f"{name} announced", (head,), 413, "body_too_large")
        head = head.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n")
        yield WireRow(f"{name} announced and asked for", (head,), 413, "body_too_large")
    endless = b"%x\r\n%b\r\n" % (65_536, b" " * 65_536)
    yield WireRow("chunks without end", (_POST + _CHUNKED, *[endless] * 8), 413, "body_too_large")
    yield WireRow(
        "bulk chunks without end", (_BULK + _CHUNKED, *[endless * 64] * 5), 413, "body_too_large"
    )
    yield WireRow("no chunks", (_POST + _CHUNKED + b"0\r\n\r\n",), 400, "empty_body")
    yield WireRow("a size of zero", (_POST + b"Content-Length: 0\r\n\r\n",), 400, "empty_body")
    yield WireRow("no size at all", (_POST + b"\r\n",), 400, "empty_body")
    for upgrade in (b"websocket", b"h2c", b"TLS/1.0"):
        lines = b"Connection: Upgrade\r\nUpgrade: %b\r\nSec-WebSocket-Version: 13\r\n" % upgrade
        head = b"GET /api/v1/logs/bulk HTTP/1.1\r\nHost: x\r\n@" + lines + b"\r\n"
        yield WireRow(f"an upgrade to {upgrade.decode()}", (head,), 405, "method_not_allowed")


def _cut_short() -> Iterator[WireRow]:
    whole = _POST + _SIZED
    for name, raw in {
        "in the method": whole[:2],
        "in the path": whole[:9],
        "in a header": whole[:40],
        "before the body": whole[: -len(EVENT)],
        "in the body": whole[:-1],
        "in a chunk": _POST + _CHUNKED + _WHOLE[:-20],
        "before the last chunk": _POST + _CHUNKED + _WHOLE,
        "in the last chunk": _POST + _CHUNKED + _WHOLE + b"0\r\n",
        "in a bulk": _BULK + b"Content-Length: 100000\r\n\r\n[" + EVENT + b",",
        "at once": b"",
    }.items():
        yield WireRow(f"cut {name}", (raw,), 0, None, eof=True)


def wire_rows() -> list[WireRow]:
    """All of them."""
    sources = (_heads, _not_http, _chunks, _refused_by_the_application, _cut_short)
    return [row for source in sources for row in source()]
