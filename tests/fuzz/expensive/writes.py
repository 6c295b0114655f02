"""Recipes of writes that cost much: what a body holds, how often, and how it is sent."""

import gzip
import re
import zlib
from random import Random
from typing import Final, Self

import msgspec
import zstandard

from expensive.service import Sample

MAX_BODY_BYTES: Final = 16 * 1024 * 1024
MAX_EVENT_BYTES: Final = 65_536
MAX_EVENTS: Final = 10_000
#: These count as more bytes than they have (docs/adr/0024-bytes-of-the-cpu-bound.md).
_LONG_INTEGER: Final = re.compile(rb"(?<![\w.])[0-9]{300,}+(?![\w.])")
_EXPONENT: Final = re.compile(rb"(?<=[0-9])[eE](?:\+?[0-9]|-[0-9]{1,2}+)(?![0-9])")
EXPONENT_BYTES: Final = 8
_LONG_EXPONENT: Final = re.compile(rb"(?<=[0-9])[eE](?:\+?[0-9]{2,}+|-[0-9]{3,}+)")
LONG_EXPONENT_BYTES: Final = 32
_FRACTION: Final = re.compile(rb"[0-9]\.[0-9]")
FRACTION_BYTES: Final = 2

#: Fragments of JSON, valid as values. `%d` becomes a number that no other fragment has.
VALUES: Final = (
    *("0", "-1", "1.5", "0.1", "1e300", "-0.0", "5e-324", "1.7976931348623157e308", "123456789"),
    *("9e9", "-9e9", "1e-5", "1E2"),
    *("0.30000000000000004", "9007199254740993", "18446744073709551616", "9" * 40, "9" * 999),
    *("-" + "1" * 300, "1" + "0" * 400 + ".5", "0." + "3" * 400),
    *("null", "true", "false", "[]", "{}", "[[]]", "[{}]", '{"a":{}}', '{"a":[]}', "[0]"),
    *('""', '"a"', '"\\n"', '"\\u0000"', '"\\\\"', '"\\""', '"\\ud83e\\udd8a"', '"é"', '"🦊"'),
    *('"\\u00e9\\u00e9\\u00e9\\u00e9"', '"%d"', "%d", "%d.5", "1e%d", '{"k%d":0}', '{"%d":{}}'),
    '"' + "x" * 300 + '"',
    '"' + "\\u0001" * 100 + '"',
    '{"' + "k" * 1_000 + '":0}',
    '{"' + "é" * 400 + '":0}',
    "[" * 25 + "]" * 25,
    '{"a":' * 20 + "0" + "}" * 20,
    "[" * 400 + "]" * 400,
    " 0 ",
    "\\t",
)
#: Fragments that are no values, for bodies that are no events.
RAW: Final = (
    *("0", "{}", "[]", '""', "x", "{", "[", '"', "\\", "\\\\", '\\"', '"\\', ",", ":", " ", "\t"),
    *("null", '{"a":1}', '{"action":"a","actor":{"id":"u"}}', "\\ud800", "\\udc00\\ud800", "\xff"),
    *("[[[", "]]]", "{}{}", '"a":', "1.5", "-", "\n", "\r", "\0", '"\\u', "[" * 1_100),
)
#: What stands in an event beside its free-form part, `%d` as above.
MEMBERS: Final = (
    "",
    ',"message":"m"',
    ',"message":"' + "\\\\" * 2_000 + '"',
    ',"message":"' + "\\u00e9" * 2_000 + '"',
    ',"tags":["a","b"]',
    ',"tags":[' + ",".join(['""'] * 3_000) + "]",
    ',"targets":[' + ",".join(["{}"] * 3_000) + "]",
    ',"targets":[' + ",".join(['{"id":"a"}'] * 1_000) + "]",
    ',"source":{"ip":"10.%d.1.1"}',
    ',"source":{"ip":"1.2.3.4"}',
    ',"source":{"ip":"2001:db8::%d"}',
    ',"occurred_at":"2026-01-01T00:00:00Z"',
    ',"occurred_at":"2026-01-01T00:00:00.%d00000000000000000000Z"',
    ',"id":"00000000-0000-4000-8000-000000000001"',
    ',"id":null',
    ',"request_id":"%d"',
)
#: What makes an event wrong, at its end.
FAULTS: Final = (
    "",
    ',"nosuch":1',
    ',"outcome":"nosuch"',
    ',"source":{"ip":"nosuch%d"}',
    ',"occurred_at":"nosuch"',
    ',"occurred_at":"2199-01-01T00:00:00Z"',
    ',"id":"nosuch"',
    ',"request_id":1',
    ',"request_id":"' + "r" * 1_025 + '"',
    ',"action":"ocelot.x"',
    ',"changes":{"before":' + "9" * 1_001 + "}",
    ',"changes":{"before":' + "[" * 40 + "]" * 40 + "}",
    ',"changes":{"before":{"' + "k" * 1_025 + '":1}}',
    ',"changes":{"before":1e999}',
    ',"message":"\\ud800"',
    ',"message":"' + "\\ud83e" * 30 + '"',
    ',"message":"\xff"',
    ",",
    "\\",
    "]",
    ',"tags":[1]',
    ',"' + "n" * 2_000 + '":1',
)
_FORMS: Final = ("ndjson", "array", "logs")
_ENCODINGS: Final = ("identity", "gzip", "zstd", "gzip-members", "zstd-frames", "zstd-unsized")
_SIZES: Final = (1, 3, 10, 100, 1_000, 5_000, 20_000, 60_000, 65_000)


class Write(msgspec.Struct, frozen=True, kw_only=True):
    """One write.

    Attributes:
        single: to `POST /logs`; else to `POST /logs/bulk`.
        form: of a bulk body.
        encoding: of the body.
        events: how many items the body holds, at most.
        pattern: fragments that are repeated in turn.
        size: bytes of fragments in one item.
        behind: a fragment that stands once behind them.
        container: what holds the fragments: an array, an object with ever new keys or with one
            key, or nothing: then the fragments are the item.
        depth: arrays around the fragments.
        member: stands in each event beside them.
        fault: stands at the end of each event, or of the last one.
        fault_everywhere: it stands in each,
        fault_every: or in each of so many.
        keyed: an `Idempotency-Key` comes with the request.
    """

    single: bool = False
    form: str = "ndjson"
    encoding: str = "identity"
    events: int = 1_000
    pattern: tuple[str, ...] = ("0",)
    size: int = 100
    behind: str = ""
    container: str = "array"
    depth: int = 0
    member: str = ""
    fault: str = ""
    fault_everywhere: bool = False
    fault_every: int = 1
    keyed: bool = False

    def sample(self) -> Sample:
        """The request."""
        plain = self._body()
        headers = [(b"content-type", b"application/json")]
        if not self.single and self.form == "ndjson":
            headers = [(b"content-type", b"application/x-ndjson")]
        body, encoding = encoded(plain, self.encoding)
        if encoding:
            headers.append((b"content-encoding", encoding))
        if self.keyed:
            headers.append((b"idempotency-key", b"k-1"))
        path = "/api/v1/logs" if self.single else "/api/v1/logs/bulk"
        extra_bytes = sum(map(len, _LONG_INTEGER.findall(plain)))
        extra_bytes += EXPONENT_BYTES * len(_EXPONENT.findall(plain))
        extra_bytes += LONG_EXPONENT_BYTES * len(_LONG_EXPONENT.findall(plain))
        extra_bytes += FRACTION_BYTES * len(_FRACTION.findall(plain))
        return Sample("POST", path, b"", tuple(headers), body, len(plain), extra_bytes)

    def mutated(self, random: Random) -> Self:
        """Another write, which differs in one or two things."""
        changes: dict[str, object] = {}
        for _ in range(random.choice((1, 1, 2, 3))):
            changes |= self._mutation(random)
        return msgspec.structs.replace(self, **changes)

    def _mutation(self, random: Random) -> dict[str, object]:  # noqa: PLR0911 - one return a kind
        fragments = RAW if self.container == "none" else VALUES
        match random.randrange(11):
            case 0 | 1:
                pattern = list(self.pattern)
                at = random.randrange(len(pattern))
                match random.randrange(3):
                    case 0:
                        pattern[at] = random.choice(fragments)
                    case 1 if len(pattern) > 1:
                        del pattern[at]
                    case _:
                        pattern.insert(at, random.choice(fragments))
                return {"pattern": tuple(pattern[:5])}
            case 2 | 3:
                return {"size": random.choice((*_SIZES, self.size * 2, self.size // 2 + 1))}
            case 4:
                events = random.choice((1, 10, 100, 250, 1_000, 4_000, MAX_EVENTS, self.events * 2))
                return {"events": min(events, 200_000)}
            case 5:
                container = random.choice(("array", "object", "same", "none"))
                return {"container": container, "pattern": (random.choice(fragments),)}
            case 6:
                return {"depth": random.choice((0, 1, 5, 20, 27, 28, 29, 60))}
            case 7:
                return {"member": random.choice(MEMBERS)}
            case 8:
                return {
                    "fault": random.choice(FAULTS),
                    "fault_everywhere": random.random() < 0.7,
                    "fault_every": random.choice((1, 1, 2, 8, 10, 16, 100, 128)),
                }
            case 9:
                return {"form": random.choice(_FORMS), "encoding": random.choice(_ENCODINGS)}
            case _:
                return {"single": random.random() < 0.3, "keyed": random.random() < 0.5}

    def _body(self) -> bytes:
        limit = 2 * MAX_EVENT_BYTES if self.single else MAX_BODY_BYTES
        separator = b"\n" if self.form == "ndjson" else b","
        items = []
        size = 20
        made: dict[bool, bytes] = {}
        count = 1 if self.single else self.events
        numbered = "%d" in "".join((*self.pattern, self.member, self.fault))
        for number in range(count):
            last = number == count - 1
            faulty = last or (self.fault_everywhere and number % self.fault_every == 0)
            if numbered or faulty not in made:
                made[faulty] = self._item(number, faulty=faulty)
            item = made[faulty]
            size += len(item) + 1
            if size > limit:
                break
            items.append(item)
        joined = separator.join(items)
        if self.single or self.form == "ndjson":
            return joined
        return b"[" + joined + b"]" if self.form == "array" else b'{"logs":[' + joined + b"]}"

    def _item(self, number: int, *, faulty: bool) -> bytes:
        member = self.member.replace("%d", str(number % 250))
        fault = self.fault.replace("%d", str(number)) if faulty else ""
        if self.container == "none":
            text = self._fragments("", MAX_EVENT_BYTES * 4, number) + fault
            return text.encode("latin-1", "replace") if "\xff" in text else text.encode()
        begin, end = ("{", "}") if self.container in ("object", "same") else ("[", "]")
        inside = self._fragments(",", MAX_EVENT_BYTES - 200, number)
        value = "[" * self.depth + begin + inside + end + "]" * self.depth
        text = f'{{"action":"a","actor":{{"id":"u"}}{member},"metadata":{{"a":{value}}}{fault}}}'
        return text.encode("latin-1", "replace") if "\xff" in text else text.encode()

    def _fragments(self, separator: str, limit: int, seed: int) -> str:
        parts: list[str] = []
        size = 0
        wanted = min(self.size, limit)
        number = seed * 7
        while size < wanted:
            for fragment in self.pattern:
                if "%d" in fragment:
                    fragment = fragment.replace("%d", str(number))  # noqa: PLW2901
                if self.container == "object":
                    fragment = f'"{len(parts)}":{fragment}'  # noqa: PLW2901
                elif self.container == "same":
                    fragment = f'"k":{fragment}'  # noqa: PLW2901
                number += 1
                size += len(fragment) + len(separator)
                if size > limit and parts:
                    break
                parts.append(fragment)
        return separator.join([*parts, self.behind] if self.behind else parts)


def encoded(plain: bytes, encoding: str) -> tuple[bytes, bytes]:
    """A body as it is sent, and its `Content-Encoding`."""
    match encoding:
        case "gzip":
            return gzip.compress(plain, 1), b"gzip"
        case "zstd":
            return zstandard.ZstdCompressor(level=1).compress(plain), b"zstd"
        case "zstd-unsized":
            made = zstandard.ZstdCompressor(level=1).compressobj()
            return made.compress(plain) + made.flush(), b"zstd"
        case "gzip-members":
            return b"".join(_member(part) for part in _parts(plain)), b"gzip"
        case "zstd-frames":
            compress = zstandard.ZstdCompressor(level=1).compress
            return b"".join(compress(part) for part in _parts(plain)), b"zstd"
    return plain, b""


def _member(part: bytes) -> bytes:
    made = zlib.compressobj(1, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    return made.compress(part) + made.flush()


def _parts(plain: bytes) -> list[bytes]:
    step = max(1, len(plain) // 9_000)
    return [plain[at : at + step] for at in range(0, len(plain), step)]


def _seed(**options: object) -> Write:
    return msgspec.structs.replace(Write(), **options)


#: Requests that cost too much once, and likely ones.
SEEDS: Final[dict[str, Write]] = {
    "floats": _seed(pattern=("1.5",), size=60_000, events=16),
    "floats of a megabyte, each other": _seed(pattern=("%d.5",), size=60_000, events=16),
    "zeros in zstd": _seed(pattern=("0",), size=65_000, events=250, encoding="zstd"),
    "empty arrays in zstd": _seed(pattern=("[]",), size=65_000, events=250, encoding="zstd"),
    "empty objects in zstd": _seed(pattern=("{}",), size=65_000, events=250, encoding="zstd"),
    "empty strings in zstd": _seed(pattern=('""',), size=65_000, events=250, encoding="zstd"),
    "nested arrays": _seed(
        pattern=("[" * 25 + "]" * 25,), size=65_000, events=250, encoding="zstd"
    ),
    "nested objects": _seed(pattern=('{"a":' * 20 + "0" + "}" * 20,), size=20_000, events=250),
    "too deep": _seed(pattern=("[" * 400 + "]" * 400,), size=60_000, events=250, encoding="zstd"),
    "numbers that are stored in three times their bytes": _seed(
        pattern=("9e9",), size=16_000, events=1_000, form="array", encoding="zstd"
    ),
    "keys": _seed(pattern=("0",), container="object", size=18_000, events=800),
    "more keys than an event may have": _seed(
        pattern=('{"a":[]}', "0"), container="object", size=18_000, events=800, form="array"
    ),
    "the same key": _seed(pattern=("0",), container="same", size=60_000, events=250),
    "long keys": _seed(pattern=('{"' + "k" * 1_000 + '":0}',), size=60_000, events=250),
    "long keys of two bytes": _seed(pattern=('{"' + "é" * 400 + '":0}',), size=60_000, events=250),
    "long integers": _seed(pattern=("9" * 999,), size=60_000, events=250, encoding="zstd"),
    "integers of 40 digits": _seed(pattern=("9" * 40,), size=60_000, events=250, encoding="zstd"),
    "backslashes": _seed(pattern=('"\\\\"',), size=60_000, events=250, encoding="zstd"),
    "escapes": _seed(pattern=('"\\u0000"',), size=60_000, events=250, encoding="zstd"),
    "pairs of escapes": _seed(pattern=('"\\ud83e\\udd8a"',), size=60_000, events=250),
    "half a pair at the end": _seed(
        pattern=('"\\ud83e\\udd8a"',),
        size=60_000,
        events=250,
        fault=FAULTS[14],
        fault_everywhere=True,
    ),
    "unknown fields": _seed(size=1, events=10_000, fault=',"nosuch":1', fault_everywhere=True),
    "wrong addresses": _seed(
        size=1, events=10_000, fault=',"source":{"ip":"nosuch%d"}', fault_everywhere=True
    ),
    "a fault behind 60 KiB": _seed(
        pattern=("[]",),
        size=60_000,
        events=250,
        fault=',"tags":[1]',
        fault_everywhere=True,
        encoding="zstd",
    ),
    "changes too deep behind metadata that nest deep": _seed(
        pattern=('{"a":[]}', '{"a":' * 20 + "0" + "}" * 20),
        size=200,
        container="object",
        depth=29,
        events=10_000,
        fault=FAULTS[11],
        fault_everywhere=True,
        form="array",
        encoding="zstd",
    ),
    "more keys than an event may have, beside escapes": _seed(
        pattern=('"\\""', '{"a":[]}', "0"),
        container="object",
        size=65_000,
        depth=28,
        events=400,
        encoding="zstd",
    ),
    "a fault beside thousands of targets": _seed(
        single=True, pattern=("9" * 40,), size=9_000, member=MEMBERS[6], fault=FAULTS[13]
    ),
    "a long integer beside many objects": _seed(
        pattern=('{"a":{}}',),
        size=1_000,
        fault=FAULTS[10],
        fault_everywhere=True,
        form="array",
        encoding="zstd",
    ),
    "small events that are all refused": _seed(
        pattern=("1e300",),
        size=3,
        events=250,
        container="same",
        depth=28,
        member=',"id":null',
        fault=FAULTS[9],
        fault_everywhere=True,
        encoding="gzip",
    ),
    "a fault behind small events that take long to read": _seed(
        pattern=("1e300",), size=2, events=128, container="same", depth=3, fault=","
    ),
    "events of 230 bytes that nest deep": _seed(
        pattern=("%d.5", '"\\\\"'), size=120, container="same", depth=29, keyed=True
    ),
    "a wrong id behind events that nest deep": _seed(
        pattern=('"\\\\"',),
        events=100,
        container="same",
        depth=29,
        fault=FAULTS[6],
        encoding="zstd-unsized",
        keyed=True,
    ),
    "events of 1,100 bytes that nest deep beside strings that end with a backslash": _seed(
        pattern=('"\\\\"',),
        size=1_000,
        events=4_000,
        container="same",
        depth=29,
        form="logs",
        encoding="zstd-unsized",
        keyed=True,
    ),
    "a fault in each of sixteen small events": _seed(
        pattern=("0",),
        size=1,
        events=10_000,
        fault=FAULTS[13],
        fault_everywhere=True,
        fault_every=16,
    ),
    **{
        f"a fault in each of {number} small events that nest six levels": _seed(
            pattern=("[]", "-0.0", "%d.5", " 0 ", '{"%d":{}}'),
            size=40,
            events=5_000,
            container="object",
            depth=1,
            member=',"id":null',
            fault=',"tags":[1]',
            fault_everywhere=True,
            fault_every=number,
            keyed=True,
        )
        for number in (16, 100)
    },
    "a part with a fault in each of sixteen of the smallest events": _seed(
        pattern=("[0]", "0"),
        size=3,
        events=10_000,
        fault=',"changes":{"before":1e999}',
        fault_everywhere=True,
        fault_every=16,
        keyed=True,
    ),
    "a fault in each of eight events with numbers that take long to read": _seed(
        pattern=("1e300", '"' + "." * 98 + '"'),
        size=130,
        events=10_000,
        fault=FAULTS[13],
        fault_everywhere=True,
        fault_every=8,
    ),
    "numbers that take long to read beside dots": _seed(
        single=True, pattern=('"' + "." * 55 + '"', "1e300"), size=60_000
    ),
    "a long integer behind strings that nest deep": _seed(
        pattern=('"\\""',), size=55_000, behind="9" * 1_001, depth=27, events=100
    ),
    "a long key behind many values": _seed(
        pattern=("0",), size=60_000, behind='{"' + "k" * 1_025 + '":1}', events=250
    ),
    "a long string with quotes behind empty objects": _seed(
        pattern=("{}", "99"), size=60_000, behind='"\\"' + "[" * 1_100 + '"', events=250
    ),
    "events of 1,200 bytes with brackets behind a quote in a string, some of them faulty": _seed(
        pattern=("5e-324",),
        size=2,
        behind='"\\"' + "[" * 1_100 + '"',
        depth=5,
        events=10_000,
        member=',"occurred_at":"2026-01-01T00:00:00Z"',
        fault=FAULTS[12],
        fault_everywhere=True,
        fault_every=100,
        encoding="zstd-frames",
        keyed=True,
    ),
    "events of 215 bytes with fifteen arrays, ten keys and an address each": _seed(
        pattern=('"a"', '"\\\\"'),
        events=2_000,
        container="object",
        depth=15,
        member=',"source":{"ip":"10.%d.1.1"}',
        form="logs",
        keyed=True,
    ),
    "events of 2,000 bytes with objects in objects and strings of a backslash": _seed(
        pattern=('{"a":' * 20 + "0" + "}" * 20, *['"\\\\"'] * 28),
        size=2_000,
        container="object",
        events=5_000,
        form="logs",
        keyed=True,
    ),
    "events of 2,000 bytes with the most objects in objects": _seed(
        pattern=('{"a":' * 20 + "0" + "}" * 20,),
        size=2_000,
        container="object",
        events=5_000,
        form="logs",
        encoding="zstd-frames",
    ),
    "events that nest deep and are all refused": _seed(
        pattern=('"\\\\"',),
        events=100,
        container="same",
        depth=29,
        fault=FAULTS[13],
        fault_everywhere=True,
        form="logs",
        encoding="gzip",
    ),
    "values in 16 MiB of JSON": _seed(
        pattern=('{"a":{}}', "9e9"), size=16_000, form="array", encoding="zstd", keyed=True
    ),
    "small events": _seed(size=1, events=10_000),
    "small events in an array": _seed(size=1, events=10_000, form="array"),
    "small events under a key": _seed(size=1, events=10_000, keyed=True),
    "small events without an id, but with one of null": _seed(
        size=1, events=10_000, member=',"id":null', keyed=True
    ),
    "small events that nest deep": _seed(
        pattern=("[" * 25 + "]" * 25,), size=1, events=10_000, depth=1, keyed=True
    ),
    "small events that nest deep, twice": _seed(
        pattern=('"\\\\"', "[" * 25 + "]" * 25), size=60, events=4_000, depth=1, keyed=True
    ),
    "small events with a number that takes long to read": _seed(
        pattern=("5e-324", "0"), size=2, events=10_000, form="array", keyed=True
    ),
    "small events with four of them": _seed(
        pattern=("5e-324", "1e300", "5e-324", "1e300"), size=20, events=10_000, depth=1, keyed=True
    ),
    "long fractions that nest deep": _seed(
        pattern=("0." + "3" * 400,), size=1_200, events=5_000, depth=28
    ),
    "events with a long integer that nest deep": _seed(
        pattern=("9" * 999,), size=1, events=10_000, depth=28
    ),
    "arrays too deep in an array of 16 MiB": _seed(
        pattern=("[" * 400 + "]" * 400,), size=65_000, events=1_000, form="array"
    ),
    "one id": _seed(size=1, events=10_000, member=MEMBERS[13]),
    "one id, other texts": _seed(pattern=("%d",), size=1, events=10_000, member=MEMBERS[13]),
    "targets": _seed(size=1, events=1_000, member=MEMBERS[6]),
    "lines of one letter": _seed(pattern=("x",), size=1, events=10_000, container="none"),
    "blank lines": _seed(pattern=(" ",), size=1, events=40_000, container="none"),
    "objects without members": _seed(
        pattern=("{}",), size=1, events=10_000, container="none", form="array"
    ),
    "an array of numbers": _seed(
        pattern=("0",), size=1, events=200_000, container="none", form="array"
    ),
    "an open string": _seed(
        pattern=('"\\',), size=260_000, events=60, container="none", form="array"
    ),
    "backslashes outside of strings": _seed(
        pattern=("\\",), size=260_000, events=60, container="none", form="array"
    ),
    "half pairs, no JSON": _seed(
        pattern=("\\ud800",), size=260_000, events=60, container="none", form="array"
    ),
    "gzip members": _seed(size=100, events=1_000, encoding="gzip-members"),
    "zstd frames": _seed(size=100, events=1_000, encoding="zstd-frames"),
    "one event of floats": _seed(single=True, pattern=("1.5",), size=65_000),
    "one event of arrays": _seed(single=True, pattern=("[]",), size=65_000),
    "one event of zeros in zstd": _seed(single=True, pattern=("0",), size=65_000, encoding="zstd"),
}
