"""Requests whose body can't be taken as a whole: encodings, media types, parameters, bombs."""

import gzip
import struct
import zlib
from collections.abc import Iterator
from functools import cache
from typing import Final

import zstandard

from badinput.rows import BULK, JSON, LOGS, NDJSON, Row, text

#: Of the member at fault, of bulk bodies that are JSON of another form.
_PATHS: Final = {
    "an object": "logs",
    "one event": "action",
    "logs that are none": "logs",
    "logs that are null": "logs",
    "logs that are an object": "logs",
    "logs and more": "x",
    "NDJSON as JSON": "action",
    "100,000 objects": "a",
}
_MIB: Final = 1024 * 1024


@cache
def gzip_bomb() -> bytes:
    """1 MiB that unpacks to 1 GiB: one member, whose end is never reached."""
    deflate = zlib.compressobj(9, wbits=31)
    head = deflate.compress(bytes(_MIB)) + deflate.flush(zlib.Z_FULL_FLUSH)
    block = deflate.compress(bytes(64 * _MIB)) + deflate.flush(zlib.Z_FULL_FLUSH)
    return head + block * 16


@cache
def gzip_members_bomb() -> bytes:
    """The same as 16 members."""
    return gzip.compress(bytes(64 * _MIB), 9) * 16


@cache
def zstd_bomb() -> bytes:
    """A frame of 1 GiB that does not state its size."""
    compress = zstandard.ZstdCompressor(level=1).compressobj()
    parts = [compress.compress(bytes(16 * _MIB)) for _ in range(64)]
    return b"".join([*parts, compress.flush()])


def zstd_liar(stated: int, size: int) -> bytes:
    """A frame that states another size than it has (RFC 8878 §3.1.1.1.4)."""
    frame = zstandard.ZstdCompressor(write_content_size=True).compress(bytes(size))
    head = zstandard.frame_header_size(frame)
    honest = zstandard.get_frame_parameters(frame)
    assert honest.content_size == size
    # Magic, a descriptor of eight bytes of size in a single segment without checksum, the blocks.
    return frame[:4] + b"\xe0" + struct.pack("<Q", stated) + frame[head:]


@cache
def bombs() -> list[Row]:
    """What would unpack to far more than may be held."""
    rows = []
    for name, body, encoding in (
        ("gzip", gzip_bomb(), "gzip"),
        ("gzip of 16 members", gzip_members_bomb(), "gzip"),
        ("zstd", zstd_bomb(), "zstd"),
        ("zstd of 64 frames", zstandard.compress(bytes(16 * _MIB)) * 64, "zstd"),
        ("zstd that states it", zstandard.compress(bytes(512 * _MIB)), "zstd"),
        ("zstd that states 2^63", zstd_liar(2**63, _MIB), "zstd"),
    ):
        for url in (LOGS, BULK):
            body_ = body if url == BULK else body[:100_000]
            headers = {"Content-Encoding": encoding}
            rows.append(
                Row(
                    f"{url}: bomb of {name}",
                    body_,
                    413,
                    "body_too_large",
                    None,
                    url=url,
                    headers=headers,
                )
            )
    for stated in (1, 100, 16 * _MIB):
        # A frame that says it is small is held to that.
        body = zstd_liar(stated, 15 * _MIB if stated == 16 * _MIB else 64 * _MIB)
        rows.append(
            Row(
                f"zstd that states {stated:,}",
                body,
                400,
                "invalid_encoding",
                None,
                url=BULK,
                headers={"Content-Encoding": "zstd"},
            )
        )
    return rows


def _encodings() -> Iterator[Row]:
    raw = text()
    gz, zs = gzip.compress(raw), zstandard.compress(raw)
    for encoding in (
        *("br", "deflate", "compress", "gzip, gzip", "gzip,zstd", "identity, gzip", "GZIP2"),
        *("*", "gzip;q=1", "x" * 5_000, b"\xff", "zstd\xa0"),
    ):
        for url in (LOGS, BULK):
            yield Row(
                f"{url}: encoding {encoding!r:.30}",
                gz,
                415,
                "unsupported_encoding",
                url=url,
                headers={"Content-Encoding": encoding},
            )
    for name, encoding, body in (
        ("gzip that is none", "gzip", raw),
        ("gzip that is zstd", "gzip", zs),
        ("gzip that is zlib", "gzip", zlib.compress(raw)),
        ("gzip of its magic only", "gzip", gz[:2]),
        ("gzip cut in its head", "gzip", gz[:5]),
        ("gzip cut short", "gzip", gz[:-9]),
        ("gzip without its size", "gzip", gz[:-4]),
        ("gzip with a wrong checksum", "gzip", gz[:-8] + b"\0\0\0\0" + gz[-4:]),
        ("gzip with a wrong size", "gzip", gz[:-4] + b"\xff\xff\xff\x7f"),
        ("gzip with junk after it", "gzip", gz + b"junk"),
        ("gzip with a flipped byte", "gzip", gz[:15] + bytes([gz[15] ^ 255]) + gz[16:]),
        ("zstd that is none", "zstd", raw),
        ("zstd that is gzip", "zstd", gz),
        ("zstd of its magic only", "zstd", zs[:4]),
        ("zstd cut short", "zstd", zs[:-3]),
        ("zstd with junk after it", "zstd", zs + b"junk"),
        ("zstd with a reserved block", "zstd", zs[: zstandard.frame_header_size(zs)] + b"\x07\0\0"),
        ("zstd with an unknown dictionary", "zstd", b"\x28\xb5\x2f\xfd\x21\x07\x05" + zs[6:]),
        ("zstd with a window of 2 GiB", "zstd", b"\x28\xb5\x2f\xfd\x00\xa8" + b"\x01\x00\x00"),
    ):
        for url in (LOGS, BULK):
            yield Row(
                f"{url}: {name}",
                body,
                400,
                "invalid_encoding",
                url=url,
                headers={"Content-Encoding": encoding},
            )
    for name, body in (("gzip in gzip", gzip.compress(gz)), ("zstd in gzip", gzip.compress(zs))):
        yield Row(name, body, 400, "invalid_json", "", headers={"Content-Encoding": "gzip"})
    many = gzip.compress(b"") * 10_001
    yield Row(
        "10,001 empty members",
        many,
        400,
        "invalid_encoding",
        url=BULK,
        headers={"Content-Encoding": "gzip"},
    )


def _media_types() -> Iterator[Row]:
    for kind in (
        *("text/plain", "text/html", "application/xml", "application/x-www-form-urlencoded"),
        *(
            "multipart/form-data; boundary=x",
            "application/json5",
            "application/problem+json",
            "*/*",
        ),
        *("json", "application/json, text/plain", "application/\u00e9".encode(), "x" * 5_000),
        "application/jsonx; charset=utf-8",
    ):
        for url in (LOGS, BULK):
            yield Row(
                f"{url}: type {kind!r:.40}",
                text(),
                415,
                "unsupported_media_type",
                url=url,
                headers={"Content-Type": kind},
            )
    yield Row(
        "NDJSON to the single route",
        text(),
        415,
        "unsupported_media_type",
        headers={"Content-Type": NDJSON},
    )


def _sizes() -> Iterator[Row]:
    for url in (LOGS, BULK):
        yield Row(f"{url}: no body", b"", 400, "empty_body", url=url)
        for name, encode in (("gzip", gzip.compress), ("zstd", zstandard.compress)):
            yield Row(
                f"{url}: nothing in {name}",
                encode(b""),
                400,
                "empty_body",
                url=url,
                headers={"Content-Encoding": name},
            )
    yield Row("131,073 bytes", text() + b" " * 131_072, 413, "body_too_large")
    yield Row("17 MiB", b" " * (17 * _MIB), 413, "body_too_large", url=BULK)


def _bulk() -> Iterator[Row]:
    one = text()
    for name, body, status, code, kind in (
        ("an empty array", b"[]", 400, "no_events", JSON),
        ("an empty array with blanks", b" \n[ ]\t", 400, "no_events", JSON),
        ("empty logs", b'{"logs":[]}', 400, "no_events", JSON),
        ("blank lines", b"\n \r\n\t\n", 400, "no_events", NDJSON),
        ("an object", b"{}", 400, "invalid_bulk", JSON),
        ("one event", one, 400, "invalid_bulk", JSON),
        ("logs that are none", b'{"logs":1}', 400, "invalid_bulk", JSON),
        ("logs that are null", b'{"logs":null}', 400, "invalid_bulk", JSON),
        ("logs that are an object", b'{"logs":{}}', 400, "invalid_bulk", JSON),
        ("logs and more", b'{"logs":[],"x":1}', 400, "invalid_bulk", JSON),
        ("a number", b"1", 400, "invalid_bulk", JSON),
        ("a string", b'"x"', 400, "invalid_bulk", JSON),
        ("null", b"null", 400, "invalid_bulk", JSON),
        ("NDJSON as JSON", one + b"\n" + one, 400, "invalid_bulk", JSON),
        ("an array cut short", b"[" + one + b",", 400, "invalid_json", JSON),
        ("a comma too many", b"[" + one + b",]", 400, "invalid_json", JSON),
        ("two arrays", b"[" + one + b"][]", 400, "invalid_json", JSON),
        ("NaN in an array", b"[NaN]", 400, "invalid_json", JSON),
        ("nothing but blanks", b"   ", 400, "invalid_json", JSON),
        ("a byte order mark", b"\xef\xbb\xbf[" + one + b"]", 400, "invalid_json", JSON),
        ("UTF-16", ("[" + one.decode() + "]").encode("utf-16"), 400, "invalid_json", JSON),
        ("10,000 arrays", b"[" * 10_000 + b"]" * 10_000, 400, "too_deep", JSON),
        ("100,000 objects", b'{"a":' * 100_000, 400, "invalid_bulk", JSON),
        ("10,001 events", b"[" + b",".join([b"{}"] * 10_001) + b"]", 413, "too_many_events", JSON),
        ("10,001 lines", b"{}\n" * 10_001, 413, "too_many_events", NDJSON),
        ("8 million numbers", b"[" + b"1," * 8_000_000 + b"1]", 422, "too_many_values", JSON),
        ("a million numbers", b"[" + b"1," * 1_000_000 + b"1]", 400, "invalid_bulk", JSON),
        ("16 million blank lines", b"\n" * 16_000_000, 413, "too_many_events", NDJSON),
    ):
        path = _PATHS.get(name)
        headers = {"Content-Type": kind}
        yield Row(f"bulk: {name}", body, status, code, path, url=BULK, headers=headers)
    for name, body in (
        ("an array of an array", b"[[]]"),
        ("strings", b'["a","b"]'),
        ("nulls", b"[null,null]"),
        ("bulks in a bulk", b'[{"logs":[]}]'),
    ):
        yield Row(f"bulk: {name}", body, 422, "events_rejected", url=BULK)
    body = b"[%b,{}]" % one
    yield Row("bulk: atomic", body, 422, "events_rejected", url=f"{BULK}?atomic=true")


def _parameters() -> Iterator[Row]:
    for query, code, path in (
        ("atomic=1", "invalid_parameter", "atomic"),
        ("atomic=", "invalid_parameter", "atomic"),
        ("atomic", "invalid_parameter", "atomic"),
        ("atomic=TRUE", "invalid_parameter", "atomic"),
        ("atomic=true&atomic=true", "invalid_parameter", "atomic"),
        ("Atomic=true", "unknown_parameter", "Atomic"),
        ("x=1&atomic=true", "unknown_parameter", "x"),
        ("%00=1", "unknown_parameter", "\0"),
        ("=1", "unknown_parameter", ""),
    ):
        yield Row(f"bulk: ?{query}", b"[%b]" % text(), 400, code, path, url=f"{BULK}?{query}")
    for query, path in (
        ("atomic=true", "atomic"),
        ("x", "x"),
        ("%F0%9F%A6%8A=1", "🦊"),
        ("%ff=1", "\ufffd"),
        ("k" * 5_000 + "=1", "k" * 100),
    ):
        yield Row(f"?{query:.20}", text(), 400, "unknown_parameter", path, url=f"{LOGS}?{query}")


def _keys() -> Iterator[Row]:
    for key in (b"", b" ", b"x" * 256, b"\xff", "schlüssel".encode(), b"a\tb", "🦊".encode()):
        for url in (LOGS, BULK):
            body = text() if url == LOGS else b"[%b]" % text()
            yield Row(
                f"{url}: key {key!r:.30}",
                body,
                400,
                "invalid_idempotency_key",
                url=url,
                headers={"Idempotency-Key": key},
            )


def _elsewhere() -> Iterator[Row]:
    for method, url in (
        ("PUT", LOGS),
        ("PATCH", LOGS),
        ("DELETE", LOGS),
        ("OPTIONS", LOGS),
        ("TRACE", LOGS),
        ("PUT", BULK),
        ("GET", BULK),
        ("DELETE", f"{LOGS}/x"),
        ("POST", f"{LOGS}/x"),
        ("POST", "/.well-known/jwks.json"),
        ("PROPFIND", LOGS),
        ("PURGE", BULK),
    ):
        yield Row(f"{method} {url}", text(), 405, "method_not_allowed", method=method, url=url)
    for url in (
        *(
            f"{LOGS}//",
            f"{BULK}//",
            f"{LOGS}//bulk",
            f"{LOGS}/bulk/x",
            "/api/v1/Logs",
            "/api/v2/logs",
        ),
        *("/", "//", "/api/v1", "/api/v1/../v1/logs", "/%00", "/%ff"),
        *("/api/v1/logs;x=1", "/" + "x" * 5_000, "/api/v1/logs%20", "/.env", "/docs", "/redoc"),
    ):
        yield Row(f"to {url:.40}", text(), 404, "route_not_found", url=url)


def body_rows() -> list[Row]:
    """All but the bombs."""
    sources = (
        _encodings,
        _media_types,
        _sizes,
        _bulk,
        _parameters,
        _keys,
        _elsewhere,
    )
    return [row for source in sources for row in source()]
