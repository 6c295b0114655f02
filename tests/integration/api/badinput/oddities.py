"""Events that are odd and valid: they come back as they went in, and can be found."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, NamedTuple


class Oddity(NamedTuple):
    """One event.

    Attributes:
        name: of the row.
        fields: that replace or join those of a usual event; JSON text stays as it is.
        search: parameters that find it; its action does anyway.
        attrs: entries that the index must hold for it.
    """

    name: str
    fields: dict[str, Any]
    search: Mapping[str, str] = MappingProxyType({})
    attrs: tuple[str, ...] = ()

    def raw(self, action: str) -> bytes:
        """The event as it is sent."""
        fields = {"action": action, "actor": {"id": "user-17"}} | self.fields
        parts = (
            f"{json.dumps(name)}:{value if isinstance(value, Text) else _json(value)}"
            for name, value in fields.items()
        )
        return ("{" + ",".join(parts) + "}").encode()


class Text(str):
    """JSON that no Python value stands for."""

    __slots__ = ()


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _metadata(name: str, raw: str, *attrs: str) -> Oddity:
    return Oddity(name, {"metadata": Text(raw)}, {}, attrs)


STRINGS = {
    "NUL": "a\0b",
    "controls": "".join(map(chr, range(0x20))) + "\x7f\x80\x9f",
    "U+FFFF": "\uffff\ufffe\ufffd",
    "the last character": "\U0010ffff",
    "emoji": "👩\u200d👩\u200d👧\u200d👦🦊🏳\ufe0f\u200d🌈",
    "right to left": "\u202eevil\u202c تم تحديث العقد \u2066x\u2069",
    "combining marks": "Z\u0351\u036b\u0343a\u0321\u034el\u0336g\u0322o\u031d",
    "NFD and NFC": "caf\u00e9 cafe\u0301",
    "a byte order mark": "\ufefftext\ufeff",
    "line separators": "a\u2028b\u2029c\x85d\r\ne",
    "private use": "\ue000\uf8ff\U000f0000",
    "blanks": " \t a\u00a0\u3000 ",
    "HTML": "<script>alert(1)</script>&amp;",
    "SQL": "'; DROP TABLE logs; --",
    "a query": '{"$ne": null}',
    "a format": "%s %n {0} ${jndi:ldap://x} $(id) `id`",
    "paths": "../../../etc/passwd\\..\\",
    "JSON": '{"a":[1,2,"\\u0000"]}\\',
    "header lines": "a\r\nSet-Cookie: x=1\r\n\r\n",
    "a word": "*",
    "Lucene": '+a -b "c d" e* f? g~ h^2 (i) [j TO k] {l} \\m && n || !o /p/',
}


def _strings() -> Iterator[Oddity]:
    for name, text in STRINGS.items():
        yield Oddity(
            f"strings: {name}",
            {
                "actor": {"id": text, "type": text, "name": text, "email": text},
                "targets": [{"id": text, "type": text, "name": text}],
                "source": {"user_agent": text, "service": text, "location": text},
                "message": text,
                "request_id": text,
                "trace_id": text,
                "tags": [text, text],
                "metadata": {text: text, "k": [text]},
                "changes": {"before": text, "after": {text: text}},
            },
            # A trailing asterisk asks for a prefix.
            {}
            if text.endswith("*")
            else dict.fromkeys(("actor.id", "target.id", "request_id"), text),
            (f"metadata.k={text}", f"changes.before={text}"),
        )
    for name, character in (("letters", "x"), ("emoji", "🦊"), ("U+FFFF", "\uffff"), ("NUL", "\0")):
        text = character * 1_024
        yield Oddity(
            f"1,024 {name} everywhere",
            {
                "actor": dict.fromkeys(("id", "type", "name", "email", "session_id"), text),
                "targets": [dict.fromkeys(("id", "type", "name"), text)],
                "source": dict.fromkeys(("user_agent", "service", "location"), text),
                "request_id": text,
                "trace_id": text,
                "tags": [text],
            }
            if character != "\0"  # six bytes each
            else {"actor": {"id": text}, "targets": [{"id": text}], "request_id": text},
            dict.fromkeys(("actor.id", "target.id", "request_id"), text),
        )


def _keys() -> Iterator[Oddity]:
    yield _metadata("empty keys", '{"":{"":{"":1}}}', "metadata...=1")
    yield _metadata("blank keys", '{" ":{"\\t":1},"\\n":2}', "metadata. .\t=1", "metadata.\n=2")
    yield _metadata(
        "keys with dots",
        '{"a.b":1,"a":{"b":2,".":3},".":4,"..":5,"a.":6}',
        *("metadata.a.b=1", "metadata.a.b=2", "metadata.a..=3", "metadata..=4", "metadata...=5"),
    )
    yield _metadata(
        "keys with dollars",
        '{"$set":{"x":1},"$where":"1","$":2,"a$b":3,"$ref":{"$id":1,"$db":"x"},"$date":1,"$oid":"x"}',
        *("metadata.$set.x=1", "metadata.$where=1", "metadata.$=2", "metadata.$ref.$id=1"),
    )
    yield _metadata(
        "keys of other languages",
        '{"__proto__":{"x":1},"constructor":{"prototype":1},"toString":2,"__class__":3,"_id":4,'
        '"_source":5,"_index":6}',
        *("metadata.__proto__.x=1", "metadata.constructor.prototype=1", "metadata._id=4"),
    )
    yield _metadata("keys with equals signs", '{"a=b":1,"a":"b=1"}', "metadata.a=b=1")
    yield _metadata("keys with NUL", '{"a\\u0000b":{"\\u0000":1}}', "metadata.a\0b.\0=1")
    yield _metadata("keys like ours", '{"metadata":{"action":1},"event":2}', "metadata.event=2")
    yield _metadata("a key twice", '{"a":1,"b":2,"a":3}', "metadata.a=3", "metadata.b=2")
    yield _metadata("a key twice in two spellings", '{"a":1,"\\u0061":2}', "metadata.a=2")
    yield _metadata("keys of two normal forms", '{"\u00e9":1,"e\u0301":2}', "metadata.e\u0301=2")
    for name, key in (("letters", "k" * 1_024), ("emoji", "🦊" * 256)):
        yield Oddity(f"a key of 1,024 bytes of {name}", {"metadata": {key: 1, "k": {key: 2}}})
        yield Oddity(f"changes by a key of 1,024 {name}", {"changes": {"after": [{key: "v"}]}})
    keys = {f"k{number}": number for number in range(2_000)}
    yield Oddity("2,000 keys", {"metadata": keys}, {}, ("metadata.k0=0", "metadata.k999=999"))
    keys = {f"{number:02}{'k' * 1_022}": 0 for number in range(60)}
    yield Oddity("60 keys of 1,024 bytes", {"metadata": keys})
    path = "metadata." + "k" * 247
    yield Oddity("a path of 256 bytes", {"metadata": {"k" * 247: 1}}, {}, (f"{path}=1",))


def _numbers() -> Iterator[Oddity]:
    digits = "1234567890" * 100
    yield _metadata(
        "1,000 digits",
        f'{{"n":{digits},"m":-{digits},"l":[{digits}]}}',
        f"metadata.n={digits[:512]}",
        f"metadata.m=-{digits[:511]}",
    )
    yield _metadata("ten to the 999", f'{{"n":1{"0" * 999}}}', f"metadata.n=1{'0' * 511}")
    for number in (2**31, 2**53 - 1, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 10**100):
        yield _metadata(f"the integer {number!s:.30}", f'{{"n":{number}}}', f"metadata.n={number}")
    for text, shown in (
        ("1e308", "1e308"),
        ("1.7976931348623157e308", "1.7976931348623157e308"),
        ("5e-324", "5e-324"),
        ("2.2250738585072014E-308", None),
        ("-0.0", "-0.0"),
        ("-0", "0"),
        ("0e0", "0.0"),
        ("1.0", "1.0"),
        ("1E2", "100.0"),
        ("0.1", "0.1"),
        ("1e23", None),
        ("1e-400", "0.0"),
        ("0.30000000000000004", "0.30000000000000004"),
        ("1e16", None),
        ("123456789012345678901234567890.5", None),
        ("1." + "0" * 2_000 + "1", "1.0"),
        ("0." + "0" * 400 + "1", "0.0"),
        ("1e0000000000000000000000000000308", "1e308"),
    ):
        attrs = () if shown is None else (f"metadata.n={shown}",)
        yield _metadata(f"the number {text:.40}", f'{{"n":{text}}}', *attrs)
    yield _metadata("one in three spellings", '{"n":[1,1.0,1e0]}', "metadata.n=1", "metadata.n=1.0")
    yield _metadata("60,000 digits in all", f'{{"n":[{",".join([digits] * 60)}]}}')


def _shapes() -> Iterator[Oddity]:
    # The event and metadata are two levels.
    deep = "[" * 30 + "1" + "]" * 30
    yield _metadata("32 levels of arrays", f'{{"n":{deep}}}', "metadata.n=1")
    deep = '{"a":' * 30 + "1" + "}" * 30
    yield _metadata("32 levels of objects", f'{{"a":{deep}}}', f"metadata.a{'.a' * 30}=1")
    yield _metadata("brackets in strings", json.dumps({"k": "[" * 10_000, "{" * 100: 1}))
    yield _metadata("empty containers", '{"a":{},"b":[],"c":[[],{}],"d":""}', "metadata.d=")
    yield _metadata("constants", '{"a":null,"b":[true,false,null]}', "metadata.a=null")
    yield Oddity(
        "nothing given", {"metadata": {}, "changes": {}, "targets": [], "tags": [], "source": {}}
    )
    nothing = dict.fromkeys(
        ("id", "occurred_at", "targets", "outcome", "severity", "message", "changes", "source",
         "request_id", "trace_id", "tags", "metadata")
    )  # fmt: skip
    yield Oddity("null everywhere", {**nothing, "actor": {"id": "u", "type": None, "name": None}})
    yield Oddity(
        "null within",
        {"targets": [{"id": None}], "source": {"ip": None}, "changes": {"before": None}},
    )
    empty = dict.fromkeys(("type", "name", "email", "session_id"), "")
    fields: dict[str, Any] = dict.fromkeys(("message", "request_id", "trace_id"), "")
    fields |= {"actor": {"id": "u", **empty}, "targets": [{"id": ""}]}
    yield Oddity("empty strings", {**fields, "source": {"ip": ""}, "tags": [""]})
    for value in (1, "x", True, [1, "x"], {"a": 1}, 1.5):
        yield Oddity(f"changed to {value!r}", {"changes": {"before": None, "after": value}})
    yield Oddity("5,000 targets", {"targets": [{"id": "x"}] * 5_000})
    yield Oddity("7,000 tags", {"tags": [f"t{n}" for n in range(7_000)]})
    yield Oddity(
        "10,000 metadata items", {"metadata": {"n": list(range(10_000))}}, {}, ("metadata.n=0",)
    )
    yield Oddity(
        "blanks between", {"metadata": Text(' { "a" :\n[ 1 ,\t2 ] }\r\n')}, {}, ("metadata.a=2",)
    )
    yield Oddity("escapes", {"message": Text('"\\u0041\\/\\ud83e\\udd8a\\u0000\\b\\f"')})


def _sizes() -> Iterator[Oddity]:
    # Their own text leaves room for the rest of the event.
    yield Oddity("a message of one word of 64 KB", {"message": "x" * 65_000})
    yield Oddity("a message of 13,000 words", {"message": "word " * 13_000}, {"q": "word"})
    yield Oddity("a message of emoji", {"message": "🦊" * 16_000})
    yield Oddity("a message of marks", {"message": "a" + "\u0301" * 32_000})
    yield Oddity("a message of kana", {"message": "漢字かな" * 5_000}, {"q": "漢字"})
    yield Oddity("a message of NUL", {"message": "\0" * 10_900})
    yield Oddity(
        "a value of 64 KB", {"metadata": {"k": "v" * 64_000}}, {}, (f"metadata.k={'v' * 512}",)
    )
    yield Oddity("a value cut within a character", {"metadata": {"k": "é" * 20_000}},
                 {}, (f"metadata.k={'é' * 256}",))  # fmt: skip


def attrs_bomb(number: int = 0) -> dict[str, Any]:
    """50 KB of metadata whose paths, written out, take 61 MB."""
    leaf = {f"{number}.{key}": "v" for key in range(1_960)}
    value: Any = leaf
    for level in range(28):
        value = {f"{level:02}{'k' * 1_020}": value}
    return {"first": number, "deep": value}


def _bombs() -> Iterator[Oddity]:
    yield Oddity("61 MB of attrs", {"metadata": attrs_bomb()}, {}, ("metadata.first=0",))
    yield Oddity("61 MB of changed attrs", {"changes": {"after": attrs_bomb()}})
    many = {f"{number}": "v" * 20 for number in range(1_999)}
    yield Oddity("2,000 attrs", {"metadata": many}, {}, ("metadata.0=" + "v" * 20,))


def _times() -> Iterator[Oddity]:
    now = datetime.now(UTC)
    ahead = (now + timedelta(hours=23, minutes=50)).isoformat(timespec="microseconds")
    for text in (
        "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "0001-01-01T00:00:00-23:59",
        "0001-12-31T23:59:59.999999999Z", "1582-10-10T00:00:00Z", "1969-12-31T23:59:59.999999Z",
        "1970-01-01T00:00:00Z", "2000-02-29T23:59:59-12:00", "2024-02-29T00:00:00+14:00",
        "2026-01-01t00:00:00z", "2026-01-01T00:00:00-00:00", "2026-01-01 00:00:00Z",
        "2026-01-01T00:00:00." + "9" * 1_000 + "Z", ahead,
    ):  # fmt: skip
        yield Oddity(f"time {text:.40}", {"occurred_at": text})


def _addresses() -> Iterator[Oddity]:
    for text in (
        *("0.0.0.0", "255.255.255.255", "::", "::1", "FE80::1", "::ffff:1.2.3.4", "1::"),  # noqa: S104
        *("2001:0db8:0000:0000:0000:0000:0000:0001", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ):
        yield Oddity(f"ip {text}", {"source": {"ip": text}})


def oddities() -> list[Oddity]:
    """All of them."""
    sources = (_strings, _keys, _numbers, _shapes, _sizes, _bombs, _times, _addresses)
    return [row for source in sources for row in source()]


#: Valid actions, which stand for themselves.
ACTIONS = (
    *("ocelot", "Ocelot.x", "ocelotx.y", ".ocelot.", " ocelot.", "a", "\0", "🦊" * 256, "a\nb"),
    *("\u202eabc", "$set", "a*b", ".", "%2e", "&action=x", "é", "e\u0301"),
)
#: Valid ids in the form that was sent.
IDS = (
    *("ffffffff-ffff-ffff-ffff-ffffffffffff", "00000000-0000-0000-0000-000000000001"),
    *("C232AB00-9414-11EC-B3C8-9F6BDECED846", "01234567-89ab-0cde-0f01-23456789abcd"),
)
