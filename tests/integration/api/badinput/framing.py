"""Requests whose framing, version or host two servers may read differently (RFC 9112, RFC 9110).

A proxy in front of the api may frame such a request in another way, so nothing behind it may be
answered on the same connection. `@` stands for the headers of a good token.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from badinput.rows import text

EVENT: Final = text()
_LINE: Final = b"POST /api/v1/logs HTTP/1.1\r\n"
_HOST: Final = b"Host: ocelot\r\n"
_REST: Final = b"Content-Type: application/json\r\n@"
_SIZE: Final = b"Content-Length: %d\r\n" % len(EVENT)
_CHUNKED: Final = b"Transfer-Encoding: chunked\r\n"
_CHUNK: Final = b"%x\r\n%b\r\n" % (len(EVENT), EVENT)
_LAST: Final = b"0\r\n\r\n"
_WHOLE: Final = _CHUNK + _LAST

_BAD: Final = frozenset({400})
#: RFC 9112 §6.1 and §6.3: 501 for a coding that is not known, 400 where chunked is not the last.
_CODING: Final = frozenset({400, 501})
_VERSION: Final = frozenset({400, 505})


class FramingRow(NamedTuple):
    """One request.

    Attributes:
        raw: as it goes over the wire.
        statuses: that its answer may have; a problem unless below 300.
        closes: whether the connection is closed behind the answer, so that nothing is read on.
    """

    name: str
    raw: bytes
    statuses: frozenset[int] = _BAD
    closes: bool = True


def _write(
    fields: bytes, body: bytes = EVENT, *, line: bytes = _LINE, host: bytes = _HOST
) -> bytes:
    return line + host + _REST + fields + b"\r\n" + body


def _read(fields: bytes = b"", *, line: bytes = b"GET /api/v1/logs?limit=1 HTTP/1.1\r\n") -> bytes:
    return line + fields + b"@\r\n"


def _sizes() -> Iterator[FramingRow]:
    number = len(EVENT)
    for name, value in {
        "with a plus": b"+%d" % number,
        "below zero": b"-%d" % number,
        "in hex": b"0x%x" % number,
        "a list of one value": b"%d, %d" % (number, number),
        "a list of two": b"%d, %d" % (number, number - 1),
        "an open list": b"%d," % number,
        "empty": b"",
        "two numbers": b"%d %d" % (number, number),
        "with an underscore": b"1_000",
        "with a point": b"%d.0" % number,
        "with a unit": b"%db" % number,
        "with a vertical tab": b"\x0b%d" % number,
        "wide digits": "１２".encode(),
        "past 64 bits": b"18446744073709551617",
        "quoted": b'"%d"' % number,
    }.items():
        yield FramingRow(f"size: {name}", _write(b"Content-Length: %b\r\n" % value))
    other = b"Content-Length: %d\r\n" % (number - 1)
    yield FramingRow("size: twice, the same", _write(_SIZE * 2))
    yield FramingRow("size: twice, smaller last", _write(_SIZE + other))
    yield FramingRow("size: twice, smaller first", _write(other + _SIZE))
    yield FramingRow("size: twice, one in capitals", _write(_SIZE + other.upper()))


def _codings() -> Iterator[FramingRow]:
    yield FramingRow("size before chunked", _write(_SIZE + _CHUNKED, _WHOLE))
    yield FramingRow("chunked before size", _write(_CHUNKED + _SIZE, _WHOLE))
    yield FramingRow(
        "size of zero and chunked", _write(b"Content-Length: 0\r\n" + _CHUNKED, _WHOLE)
    )
    yield FramingRow(
        "size and identity", _write(_SIZE + b"Transfer-Encoding: identity\r\n"), _CODING
    )
    for value in (
        b"gzip",
        b"identity",
        b"deflate",
        b"gzip, chunked",
        b"identity, chunked",
        b"chunked, gzip",
        b"chunked, identity",
        b"chunked, chunked",
        b"chunked;q=1",
        b"chunked; a=b",
        b'"chunked"',
        b"xchunked",
        b"chunkedx",
        b"chunked\x0b",
        b"\x0bchunked",
        b"chunked\x00",
        b"chun ked",
        b"chunked chunked",
        b"",
    ):
        fields = b"Transfer-Encoding: %b\r\n" % value
        yield FramingRow(f"coding: {value!r}", _write(fields, _WHOLE), _CODING)
    for first, second in ((b"chunked", b"chunked"), (b"gzip", b"chunked"), (b"chunked", b"gzip")):
        fields = b"Transfer-Encoding: %b\r\nTransfer-Encoding: %b\r\n" % (first, second)
        name = f"codings in two headers: {first.decode()}, {second.decode()}"
        yield FramingRow(name, _write(fields, _WHOLE), _CODING)
    for name, fields in {
        "a blank before the colon": b"Transfer-Encoding : chunked\r\n",
        "on a folded line": b"Transfer-Encoding:\r\n chunked\r\n",
        "behind a bare LF": b"X: y\nTransfer-Encoding: chunked\r\n",
        "behind a bare CR": b"X: y\rTransfer-Encoding: chunked\r\n",
        "a NUL in its name": b"Transfer\x00-Encoding: chunked\r\n",
        "a tab in its name": b"Transfer-Encoding\t: chunked\r\n",
        "a blank before its name": b"X: y\r\n Transfer-Encoding: chunked\r\n",
    }.items():
        yield FramingRow(f"coding: {name}", _write(fields, _WHOLE))
    # RFC 9112 §6.1: faulty framing; refused, or answered and then closed.
    line = b"POST /api/v1/logs HTTP/1.0\r\n"
    statuses = frozenset({202, 400, 501})
    for name, fields in {
        "": _CHUNKED,
        ", kept alive": _CHUNKED + b"Connection: keep-alive\r\n",
    }.items():
        yield FramingRow(f"chunked in HTTP/1.0{name}", _write(fields, _WHOLE, line=line), statuses)
    yield FramingRow(
        "chunked and size in HTTP/1.0",
        _write(_CHUNKED + _SIZE + b"Connection: keep-alive\r\n", _WHOLE, line=line),
        statuses,
    )


def _chunks() -> Iterator[FramingRow]:
    size = b"%x" % len(EVENT)
    data = b"\r\n" + EVENT + b"\r\n" + _LAST
    for name, chunks in {
        "0x before the size": b"0x" + size + data,
        "a plus": b"+" + size + data,
        "a minus": b"-" + size + data,
        "a blank before the size": b" " + size + data,
        "a blank behind the size": size + b" " + data,
        "a tab behind the size": size + b"\t" + data,
        "an underscore in the size": b"0_" + size + data,
        "a size that is not a number": b"g" + data,
        "no size": data,
        "a size of 17 digits": b"1" + b"0" * 16 + data,
        "a size of 2^64 + the right one": b"1" + size.rjust(16, b"0") + data,
        "a size of 1,000 digits": b"f" * 1_000 + data,
        "the size ended by LF": size + b"\n" + EVENT + b"\r\n" + _LAST,
        "the size ended by CR": size + b"\r" + EVENT + b"\r\n" + _LAST,
        "an extension ended by LF": size + b";a\n" + EVENT + b"\r\n" + _LAST,
        "an extension with LF within": size + b";a\nb=c" + data,
        "an extension with CR within": size + b";a\rb=c" + data,
        "an extension with a quoted line break": size + b';a="\n"' + data,
        "an extension with a NUL": size + b";a\0" + data,
        "the data ended by LF": size + b"\r\n" + EVENT + b"\n" + _LAST,
        "the data ended by CR": size + b"\r\n" + EVENT + b"\r" + _LAST,
        "the data ended by nothing": size + b"\r\n" + EVENT + _LAST,
        "the data longer than its size": b"5" + data,
        "the last chunk ended by LF": _CHUNK + b"0\n\n",
        "the last line ended by LF": _CHUNK + b"0\r\n\n",
        "a trailer ended by LF": _CHUNK + b"0\r\na: b\n\r\n",
        "a trailer with a blank before the colon": _CHUNK + b"0\r\na : b\r\n\r\n",
        "a folded trailer": _CHUNK + b"0\r\na: b\r\n c\r\n\r\n",
        "a trailer without colon": _CHUNK + b"0\r\nGET / HTTP/1.1\r\n\r\n",
        "a trailer with a NUL": _CHUNK + b"0\r\na: \0\r\n\r\n",
    }.items():
        yield FramingRow(f"chunk: {name}", _write(_CHUNKED, chunks))
    # RFC 9110 §6.5.1: never to be taken for framing; ignored, or refused.
    trailers = b"0\r\nContent-Length: 5\r\nTransfer-Encoding: gzip\r\nHost: x\r\n\r\n"
    yield FramingRow(
        "chunk: trailers that look like framing",
        _write(_CHUNKED, _CHUNK + trailers),
        frozenset({202, 400}),
        closes=False,
    )


def _fields() -> Iterator[FramingRow]:
    for name, fields in {
        "folded by a blank": b"a: b\r\n c\r\n",
        "folded by a tab": b"a: b\r\n\tc\r\n",
        "folded into nothing": b"a: b\r\n \r\n",
        "a blank before the colon": b"a : b\r\n",
        "a tab before the colon": b"a\t: b\r\n",
        "no colon": b"a\r\n",
        "no name": b": b\r\n",
        "ended by LF": b"a: b\n",
        "a bare CR": b"a: b\rc\r\n",
        "a bare CR before LF and more": b"a: b\r\r\n",
        "a NUL in the value": b"a: b\0c\r\n",
        "a NUL in the name": b"a\0: b\r\n",
        "a control character in the name": b"a\x01: b\r\n",
        "DEL in the name": b"a\x7f: b\r\n",
        "a blank in the name": b"a b: c\r\n",
        "a letter past ASCII in the name": b"\xe4: b\r\n",
        "a delimiter in the name": b"a(b): c\r\n",
        "a slash in the name": b"a/b: c\r\n",
        "two colons as name": b"::\r\n",
    }.items():
        yield FramingRow(f"header: {name}", _write(fields + _SIZE))
    yield FramingRow(
        "header: the first begins with a blank", _LINE + b" " + _write(_SIZE, line=b"")
    )
    yield FramingRow("headers ended by LF", _write(_SIZE)[: -len(EVENT) - 2] + b"\n" + EVENT)


def _lines() -> Iterator[FramingRow]:
    for name, line in {
        "HTTP/2.0": b"GET /api/v1/logs HTTP/2.0",
        "HTTP/3.0": b"GET /api/v1/logs HTTP/3.0",
        "HTTP/0.9": b"GET /api/v1/logs HTTP/0.9",
        "HTTP/2": b"GET /api/v1/logs HTTP/2",
        "HTTP/9.9": b"GET /api/v1/logs HTTP/9.9",
        "HTTP/0.0": b"GET /api/v1/logs HTTP/0.0",
        "HTTP/2.0 for a write": b"POST /api/v1/logs HTTP/2.0",
    }.items():
        yield FramingRow(f"version: {name}", _read(_HOST, line=line + b"\r\n"), _VERSION)
    yield FramingRow("version: none, no header", b"GET /api/v1/logs\r\n\r\n", _VERSION)
    yield FramingRow(
        "version: none, with headers", _read(_HOST, line=b"GET /api/v1/logs\r\n"), _VERSION
    )
    yield FramingRow(
        "version: none, a blank", _read(_HOST, line=b"GET /api/v1/logs \r\n"), _VERSION
    )
    yield FramingRow(
        "version: the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", _VERSION
    )
    for name, line in {
        "small letters": b"GET /api/v1/logs http/1.1",
        "two digits": b"GET /api/v1/logs HTTP/1.10",
        "a zero before": b"GET /api/v1/logs HTTP/01.1",
        "a comma": b"GET /api/v1/logs HTTP/1,1",
        "a blank within": b"GET /api/v1/logs HTTP/ 1.1",
        "something behind": b"GET /api/v1/logs HTTP/1.1 x",
        "another name": b"GET /api/v1/logs HTTQ/1.1",
        "a blank in the path": b"GET /api/v1/logs x HTTP/1.1",
        "a bare CR in the line": b"GET /api/v1/logs\r HTTP/1.1",
        "a tab between": b"GET\t/api/v1/logs HTTP/1.1",
        "a NUL in the path": b"GET /api/v1/\0logs HTTP/1.1",
        "a NUL before the method": b"\0GET /api/v1/logs HTTP/1.1",
        "a blank before the method": b" GET /api/v1/logs HTTP/1.1",
        "a method in small letters": b"get /api/v1/logs HTTP/1.1",
        "a method with a colon": b"GET: /api/v1/logs HTTP/1.1",
        "an authority alone": b"GET ocelot:80 HTTP/1.1",
        "a path without slash": b"GET api/v1/logs HTTP/1.1",
    }.items():
        yield FramingRow(f"line: {name}", _read(_HOST, line=line + b"\r\n"), _VERSION)
    yield FramingRow("line: ended by LF", _read(_HOST, line=b"GET /api/v1/logs HTTP/1.1\n"))
    yield FramingRow("line: ended by CR", _read(_HOST, line=b"GET /api/v1/logs HTTP/1.1\r"))


def _hosts() -> Iterator[FramingRow]:
    """RFC 9112 §3.2: 400 for no Host, several, and a value that is no host."""
    yield FramingRow("host: none", _read(), closes=False)
    yield FramingRow("host: none, for a write", _write(_SIZE, host=b""), closes=False)
    yield FramingRow("host: two", _read(b"Host: ocelot\r\nHost: other\r\n"), closes=False)
    yield FramingRow("host: two, the same", _read(_HOST * 2), closes=False)
    yield FramingRow("host: two, in capitals", _read(_HOST + b"HOST: other\r\n"), closes=False)
    line = b"GET /api/v1/logs?limit=1 HTTP/1.0\r\n"
    yield FramingRow("host: two in HTTP/1.0", _read(_HOST * 2, line=line), closes=False)
    absolute = b"GET http://ocelot/api/v1/logs?limit=1 HTTP/1.1\r\n"
    yield FramingRow("host: none beside an absolute target", _read(line=absolute), closes=False)
    for value in (
        b"a b",
        b"user@ocelot",
        b"user:secret@ocelot",
        b"ocelot/path",
        b"http://ocelot",
        b"ocelot?x",
        b"ocelot#x",
        b"ocelot:port",
        b"ocelot:80:80",
        b"ocelot:-1",
        b"[::1",
        b"[::1]x",
        b"[x]",
        b"ocelot\\x",
        b"<ocelot>",
        b'"ocelot"',
        b"ocelot\x01",
        b"ocelot\x7f",
        b"ocelot\xff",
        b"ocelot%zz",
        b"ocelot{}",
        b"ocelot, other host",
    ):
        yield FramingRow(f"host: {value!r}", _read(b"Host: %b\r\n" % value), closes=False)


def _expectations() -> Iterator[FramingRow]:
    for value in (b"200-ok", b"100-continue, other", b"100-continue;q=1", b"100", b"continue"):
        row = _write(b"Expect: %b\r\n" % value + _SIZE)
        yield FramingRow(f"expect: {value!r}", row, frozenset({417}), closes=False)


def refused_rows() -> list[FramingRow]:
    """Everything that is refused."""
    sources = (_sizes, _codings, _chunks, _fields, _lines, _hosts, _expectations)
    return [row for source in sources for row in source()]


def accepted_rows() -> list[FramingRow]:
    """What is unusual and valid: answered, and the next request on the connection too."""
    stored, read = frozenset({202}), frozenset({200})
    chunked = _CHUNKED.replace(b"chunked", b"Chunked")
    extension = b'%x;name;other=token;third="a \\" b"\r\n%b\r\n' % (len(EVENT), EVENT)
    return [
        FramingRow("coding in capitals", _write(chunked, _WHOLE), stored, closes=False),
        FramingRow("names in capitals", _write(_SIZE.upper()), stored, closes=False),
        FramingRow(
            "zeros before the size",
            _write(b"Content-Length: 000%d\r\n" % len(EVENT)),
            stored,
            closes=False,
        ),
        FramingRow("chunk extensions", _write(_CHUNKED, extension + _LAST), stored, closes=False),
        FramingRow(
            "trailers",
            _write(_CHUNKED, _CHUNK + b"0\r\nServer-Timing: a;dur=1\r\nDigest: x\r\n\r\n"),
            stored,
            closes=False,
        ),
        FramingRow(
            "small chunks",
            _write(_CHUNKED, b"".join(b"1\r\n%c\r\n" % byte for byte in EVENT) + _LAST),
            stored,
            closes=False,
        ),
        FramingRow("a blank line before", b"\r\n" + _read(_HOST), read, closes=False),
        FramingRow(
            "an absolute target",
            _read(_HOST, line=b"GET http://ocelot/api/v1/logs?limit=1 HTTP/1.1\r\n"),
            read,
            closes=False,
        ),
        FramingRow(
            "an absolute target of another host than Host's",
            _read(_HOST, line=b"GET http://other:8080/api/v1/logs?limit=1 HTTP/1.1\r\n"),
            read,
            closes=False,
        ),
        FramingRow("a host with a port", _read(b"Host: ocelot:8000\r\n"), read, closes=False),
        FramingRow("a host with an empty port", _read(b"Host: ocelot:\r\n"), read, closes=False),
        FramingRow("a host by IPv6", _read(b"Host: [2001:db8::1]:80\r\n"), read, closes=False),
        FramingRow(
            "a host with an underscore", _read(b"Host: my_ocelot.svc\r\n"), read, closes=False
        ),
        FramingRow("a host in blanks", _read(b"Host: \t ocelot \t\r\n"), read, closes=False),
        FramingRow(
            "an expectation in capitals",
            _write(b"EXPECT: 100-Continue\r\n" + _SIZE),
            stored,
            closes=False,
        ),
        FramingRow(
            "HTTP/1.0 without Host",
            _read(line=b"GET /api/v1/logs?limit=1 HTTP/1.0\r\n"),
            read,
        ),
        FramingRow(
            "HTTP/1.0 with an expectation, which has no meaning there",
            _write(b"Expect: 100-continue\r\n" + _SIZE, line=b"POST /api/v1/logs HTTP/1.0\r\n"),
            stored,
        ),
        FramingRow("a last request", _read(_HOST + b"Connection: close\r\n"), read),
    ]
