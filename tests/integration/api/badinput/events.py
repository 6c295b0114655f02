"""Single events that must be refused, each by its code and the path of its fault."""

import json
from collections.abc import Iterator
from typing import Any, Final

from badinput.rows import BULK, NDJSON, Row, event, text, with_metadata

Fields = dict[str, tuple[str, Any]]


def _at(path: str, value: Any) -> bytes:
    """An event whose field at `path` has this value."""
    name, _, rest = path.partition(".")
    if name == "targets[1]":
        return text(targets=[{"id": "t"}, {rest: value}])
    if name == "tags[2]":
        return text(tags=["a", "b", value])
    if name == "actor":
        return text(actor={"id": "user-17", rest: value})
    return text(**{name: {rest: value} if rest else value})


KEYWORDS: Final = (
    *("actor.id", "actor.type", "actor.name", "actor.email", "actor.session_id"),
    *("targets[1].type", "targets[1].id", "targets[1].name"),
    *("source.ip", "source.user_agent", "source.service", "source.location"),
    *("request_id", "trace_id", "tags[2]"),
)
STRINGS: Final = ("id", "occurred_at", "message", "action", "outcome", "severity")
CONTAINERS: Final = {
    "actor": (1, "x", True, [], None),
    "targets": (1, "x", True, {}),
    "tags": (1, "x", True, {}),
    "changes": (1, "x", True, []),
    "source": (1, "x", True, []),
    "metadata": (1, "x", True, []),
    "targets[1]": (1, "x", True, [], None),
}


def _wrong_types() -> Iterator[Row]:
    for path in (*KEYWORDS, *STRINGS):
        for value in (1, 1.5, True, [], {}):
            yield Row(f"{path} is {json.dumps(value)}", _at(path, value), 422, "invalid_type", path)
    for path in ("action", "actor.id", "tags[2]"):
        yield Row(f"{path} is null", _at(path, None), 422, "invalid_type", path)
    for path, values in CONTAINERS.items():
        for value in values:
            body = text(targets=[{}, value]) if path == "targets[1]" else text(**{path: value})
            yield Row(f"{path} is {json.dumps(value)}", body, 422, "invalid_type", path)
    for value in (1, "x", True, None, [], [event()]):
        body = json.dumps(value).encode()
        yield Row(f"the event is {value!r:.20}", body, 422, "invalid_type", "")


def _lengths() -> Iterator[Row]:
    for path in KEYWORDS:
        for name, value in (("letters", "x" * 1_025), ("emoji", "🦊" * 1_025)):
            yield Row(f"{path} of 1,025 {name}", _at(path, value), 422, "invalid_length", path)
    for path, value in (("action", ""), ("action", "x" * 257), ("actor.id", "")):
        yield Row(f"{path} of {len(value)}", _at(path, value), 422, "invalid_length", path)


def _missing() -> Iterator[Row]:
    for name, body, path in (
        ("nothing", {}, "action"),
        ("no action", event(action=...), "action"),
        ("no actor", event(actor=...), "actor"),
        ("no actor.id", event(actor={"name": "n"}), "actor.id"),
    ):
        yield Row(name, json.dumps(body).encode(), 422, "missing_field", path)


UNKNOWN: Final = (
    *("", " ", ".", "a.b", "$set", "$where", "__proto__", "constructor", "0", "\0", "\n", "`"),
    *("Action", "action ", "actions", "tenant_id", "received_at", "writer", "seq", "_id", "t"),
    *("é", "🦊", "\u202e", "\ud7ff", "x`y - at `$.z`", "[0]"),
)


def _unknown() -> Iterator[Row]:
    for name in UNKNOWN:
        yield Row(f"unknown {name!r}", text(**{name: 1}), 422, "unknown_field", name)
    for path, body in (
        ("actor.x", text(actor={"id": "u", "x": 1})),
        ("actor.$gt", text(actor={"id": "u", "$gt": ""})),
        ("targets[0].x", text(targets=[{"x": 1}])),
        ("source.ip16", text(source={"ip16": "x"})),
        ("changes.x", text(changes={"x": 1})),
    ):
        yield Row(f"unknown {path}", body, 422, "unknown_field", path)
    long = "k" * 5_000
    yield Row("unknown and long", text(**{long: 1}), 422, "unknown_field", long[:100])


IDS: Final = (
    *("", " ", "x", "null", "0", "00000000-0000-0000-0000-000000000000"),
    "0123456789ab7cde8f0123456789abcd",
    "{01234567-89ab-7cde-8f01-23456789abcd}",
    "urn:uuid:01234567-89ab-7cde-8f01-23456789abcd",
    "01234567-89ab-7cde-8f01-23456789abc",
    "01234567-89ab-7cde-8f01-23456789abcde",
    "01234567-89ab-7cde-8f01-23456789abcg",
    "01234567-89ab-7cde-8f0123456789abcd",
    "01234567-89ab-7cde-8f01-23456789abcd\n",
    " 01234567-89ab-7cde-8f01-23456789abcd",
    "0123456７-89ab-7cde-8f01-23456789abcd",
    "01234567-89ab-7cde-8f01-23456789abc\0",
    "../../etc/passwd",
    "x" * 10_000,
)

ADDRESSES: Final = (
    *(" ", "x", "1", "1.2.3", "1.2.3.4.5", "256.1.1.1", "1.2.3.-4", "01.2.3.4", "0x7f.1.1.1"),
    *("1.2.3.4/24", "1.2.3.4:80", " 1.2.3.4", "1.2.3.4 ", "1.2.3.4\0", "1.2.3.4\n", "١.2.3.4"),
    *(":", ":::", "1::2::3", "12345::", "g::", "[::1]", "::1%eth0", "::1/128", "::1.2.3.256"),
    *("1:2:3:4:5:6:7:8:9", "localhost", "::1\0", "1,2,3,4", "999999999999999999999"),
)

TIMES: Final = (
    *("", " ", "now", "0", "1700000000", "1700000000.5", "2026", "2026-01-01", "20260101T000000Z"),
    *("2026-01-01T00:00:00", "2026-01-01T00:00:00.123", "2026-01-01T00:00Z", "2026-01-01T00Z"),
    *("2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z", "2026-01-00T00:00:00Z"),
    *("2026-02-29T00:00:00Z", "2026-04-31T00:00:00Z", "2026-01-01T24:00:00Z"),
    *("2026-01-01T00:60:00Z", "2026-01-01T00:00:61Z", "0000-01-01T00:00:00Z"),
    *("-0001-01-01T00:00:00Z", "+2026-01-01T00:00:00Z", "99999-01-01T00:00:00Z"),
    *("2026-01-01T00:00:00+24:00", "2026-01-01T00:00:00+01:60", "2026-01-01T00:00:00+1"),
    *("2026-01-01T00:00:00.Z", "2026-01-01T00:00:00Z ", " 2026-01-01T00:00:00Z"),
    *("2026-01-01T00:00:00ZZ", "2026-01-01T00:00:00Z\n", "2026-01-01T00:00:00Z\0"),
    *("２026-01-01T00:00:00Z", "2026-W01-1T00:00:00Z", "Thu, 01 Jan 2026 00:00:00 GMT"),
    *("2026-1-1T0:0:0Z", "2026-01-01T00:00:00 UTC", "x" * 10_000),
)

FUTURE: Final = (
    *("9999-12-31T23:59:59Z", "9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:59-23:59"),
    *("9999-12-31T23:59:59+23:59", "2999-01-01T00:00:00Z", "2099-12-31T23:59:59.999Z"),
)

ENUMERATED: Final = ("", " ", "INFO", "Success", "info ", "success\0", "nope", "🦊", "x" * 5_000)


def _values() -> Iterator[Row]:
    for value in IDS:
        yield Row(f"id {value!r:.50}", text(id=value), 422, "invalid_id", "id")
    for value in ADDRESSES:
        body = text(source={"ip": value})
        yield Row(f"ip {value!r}", body, 422, "invalid_ip", "source.ip")
    for value in TIMES:
        yield Row(
            f"time {value!r:.50}", text(occurred_at=value), 422, "invalid_time", "occurred_at"
        )
    for value in FUTURE:
        yield Row(f"time {value}", text(occurred_at=value), 422, "time_in_future", "occurred_at")
    for field in ("outcome", "severity"):
        for value in ENUMERATED:
            body = text(**{field: value})
            yield Row(f"{field} {value!r:.50}", body, 422, "invalid_value", field)
    for action in ("ocelot.", "ocelot.tenant.deleted", "ocelot.\0", "ocelot..", "ocelot.🦊"):
        yield Row(f"action {action!r}", text(action=action), 422, "reserved_action", "action")


BROKEN: Final = (
    *(b"{", b"}", b"[", b"]", b'"', b"nul", b"tru", b"undefined", b"\\", b",", b":", b"\x7f"),
    *(b"NaN", b"Infinity", b"-Infinity", b"-", b"+1", b"01", b".5", b"1.", b"0x1", b"1e", b"--1"),
    *(b'{"a":}', b'{"a" 1}', b'{"a":1,}', b"{a:1}", b"{'a':1}", b"{,}", b'{"a":1 "b":2}', b"{1:2}"),
    *(b"[1,]", b"[,1]", b"[1 2]", b"/**/{}", b"{}//", b"{} {}", b"{}x", b"{}\0", b"\0{}", b'"\n"'),
    *(b'"\\x41"', b'"\\u12"', b'"\\u{1f98a}"', b'"\\', b'"\x01"', b'"a', b"<a/>", b"a=b&c=d"),
)

NOT_UTF8: Final = {
    "ff": b'"\xff"',
    "a continuation alone": b'"\x80"',
    "cut short": b'"\xe2\x82"',
    "overlong": b'"\xc0\x80"',
    "an encoded surrogate": b'"\xed\xa0\x80"',
    "beyond U+10FFFF": b'"\xf4\x90\x80\x80"',
    "Latin-1": '"é"'.encode("latin-1"),
    "a key": b'{"\xff":1}',
    "a high half": b'"\\ud800"',
    "a low half": b'"\\udc00"',
    "a low half first": b'"\\udc00\\ud800"',
    "two high halves": b'"\\ud83e\\ud83e"',
    "half in a key": b'{"\\ud800":1}',
    "a half before text": b'"\\ud83ex"',
}


def _not_json() -> Iterator[Row]:
    for raw in BROKEN:
        body = with_metadata(b'{"k":%b}' % raw)
        yield Row(f"metadata.k is {raw!r}", body, 400, "invalid_json", "")
    for name, raw in NOT_UTF8.items():
        body = with_metadata(b'{"k":%b}' % raw)
        yield Row(f"not UTF-8: {name}", body, 400, "invalid_unicode", "")
    whole = text()
    for name, body, code in (
        ("a byte order mark", b"\xef\xbb\xbf" + whole, "invalid_json"),
        ("UTF-16", whole.decode().encode("utf-16"), "invalid_json"),
        ("UTF-16, big end first", whole.decode().encode("utf-16-be"), "invalid_json"),
        ("UTF-32", whole.decode().encode("utf-32-le"), "invalid_json"),
        ("two events", whole + whole, "invalid_json"),
        ("cut short", whole[:-1], "invalid_json"),
        ("white space", b" \t\r ", "invalid_json"),
        ("a NUL after it", whole + b"\0", "invalid_json"),
        (
            "a message in Latin-1",
            text(message="é").replace(b"\xc3\xa9", b"\xe9"),
            "invalid_unicode",
        ),
        ("random bytes", bytes(range(1, 10)) + bytes(range(11, 256)), "invalid_json"),
    ):
        yield Row(name, body, 400, code, "")


def _nested(depth: int, opening: bytes, closing: bytes, core: bytes = b"1") -> bytes:
    return opening * depth + core + closing * depth


def _too_much() -> Iterator[Row]:
    for name, opening, closing in (("arrays", b"[", b"]"), ("objects", b'{"a":', b"}")):
        deep = _nested(32, opening, closing)
        yield Row(f"33 {name}", with_metadata(b'{"k":%b}' % deep), 422, "too_deep", "")
        deep = _nested(10_000, opening, closing)
        yield Row(f"10,000 {name}", with_metadata(b'{"k":%b}' % deep), 422, "too_deep", "")
        yield Row(f"10,000 open {name}", opening * 10_000, 422, "too_deep", "")
    deep = _nested(10_000, b'[{"":', b"}]")
    yield Row("20,000 of both", with_metadata(b'{"k":%b}' % deep), 413, "event_too_large", "")
    for digits in (1_001, 5_000, 65_000):
        body = with_metadata(b'{"a":[0,%b]}' % (b"9" * digits))
        yield Row(f"{digits:,} digits", body, 422, "integer_too_long", "metadata.a[1]")
    body = with_metadata(b'{"a":-1%b}' % (b"0" * 1_000))
    yield Row("1,001 digits below zero", body, 422, "integer_too_long", "metadata.a")
    for number in (b"1e309", b"-1e999", b"9" * 400 + b".5"):
        body = with_metadata(b'{"a":%b}' % number)
        yield Row(f"the number {number[:20]!r}", body, 422, "number_out_of_range", "metadata[...]")
    for name, key in (("letters", "k" * 1_025), ("emoji", "🦊" * 257)):
        yield Row(
            f"a key of too many {name}",
            text(metadata={"a": {key: 1}}),
            422,
            "key_too_long",
            "metadata.a",
        )
        yield Row(
            f"a changed key of too many {name}",
            text(changes={"after": [{key: 1}]}),
            422,
            "key_too_long",
            "changes.after[0]",
        )
    keys = {f"k{number}": 1 for number in range(2_001)}
    yield Row("2,001 keys", text(metadata=keys), 422, "too_many_keys", "metadata")
    halves = [{f"k{n}": 1 for n in range(1_001)}] * 2
    body = text(changes={"before": halves[0], "after": halves[1]})
    yield Row("2,002 keys in two halves", body, 422, "too_many_keys", "changes.after")
    for field in ("message", "metadata"):
        value: Any = "x" * 65_500
        body = text(**{field: value if field == "message" else {"k": value}})
        yield Row(f"a {field} of 64 KiB", body, 413, "event_too_large", "")
    padded = text()[:-1] + b" " * 65_536 + b"}"
    yield Row("64 KiB of blanks within", padded, 413, "event_too_large", "")


def single_rows() -> list[Row]:
    """Events sent to `POST /logs`."""
    sources = (
        _wrong_types,
        _lengths,
        _missing,
        _unknown,
        _values,
        _not_json,
        _too_much,
    )
    return [row for source in sources for row in source()]


def line_rows() -> list[Row]:
    """The same events as the only line of a bulk request: the problem has the same error inside."""
    return [
        row._replace(
            name=f"as a line: {row.name}",
            url=BULK,
            status=422,
            headers={"Content-Type": NDJSON},
            inside=True,
        )
        for row in single_rows()
        if b"\n" not in row.body and row.body.strip()
    ]
