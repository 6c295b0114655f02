"""Random requests: good ones, and what a few changes make of them, by a seed."""

import gzip
import json
import uuid
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import zstandard

LOGS: Final = "/api/v1/logs"
BULK: Final = "/api/v1/logs/bulk"


class Sending(NamedTuple):
    """One request over one connection.

    Attributes:
        head: request line and headers, with the blank line.
        body: as it goes over the wire.
        plain: the body before it was encoded and cut into chunks; None where it was mutated then,
            and may have become another text.
        tenant: number of the tenant whose token it has.
        wild: the head or the framing was mutated: no answer but the connection's end is fine.
        method: of the request, as far as it has one.
    """

    head: bytes
    body: bytes
    plain: bytes | None
    tenant: int
    wild: bool
    method: str


NUMBERS: Final = (
    *(
        0,
        -1,
        1,
        2**31,
        2**53 + 1,
        2**63,
        -(2**63) - 1,
        2**64,
        10**100,
        10**999,
        10**1_000,
        -(10**4_400),
    ),
    *(0.0, -0.0, 1.0, 1.5, 1e308, 5e-324, 1e16),
)
STRINGS: Final = (
    *("", " ", "x", "\0", "\n", "\uffff", "\U0010ffff", "🦊", "é", "e\u0301", "\u202e", "\ufeff"),
    *("null", "true", "0", "*", "a*", "$ne", "__proto__", "a.b", ".", "..", "ocelot.x", "ocelot"),
    *("success", "INFO", "warning", "1.2.3.4", "::1", "1.2.3", "2026-01-01T00:00:00Z"),
    *("2026-01-01", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+23:59", "0000-01-01T00:00:00Z"),
    *("00000000-0000-0000-0000-000000000000", "x" * 256, "x" * 257, "x" * 1_024, "x" * 1_025),
    *("🦊" * 256, "🦊" * 1_024, "y" * 20_000, "a" + "\u0301" * 3_000, "{", "[" * 40, '"', "\\"),
)
TOKENS: Final = (
    *(
        b"NaN",
        b"Infinity",
        b"-",
        b"1e999",
        b"1e-999",
        b"\\ud800",
        b"\\ud83e\\udd8a",
        b"\xff",
        b"\xc0\x80",
    ),
    *(b"\xed\xa0\x80", b"\0", b"\\u0000", b"[" * 33, b'{"a":' * 40, b"]", b"}", b",", b":", b'"'),
    *(b"\n", b"\r\n", b" ", b"null", b"9" * 1_001, b"//", b"\xef\xbb\xbf", b"true", b"[" * 10_000),
)
FIELDS: Final = (
    *(
        "id",
        "action",
        "actor",
        "occurred_at",
        "targets",
        "outcome",
        "severity",
        "message",
        "changes",
    ),
    *(
        "source",
        "request_id",
        "trace_id",
        "tags",
        "metadata",
        "type",
        "name",
        "email",
        "ip",
        "before",
    ),
    *("after", "service", "tenant_id", "seq", "writer", "received_at", "", "a.b", "$set", "\0"),
)


class Generator:
    """Makes requests.

    Args:
        seed: decides, together with a request's number, all of it.
        events: valid ones, as JSON texts.
        tokens: good ones by tenant: writer, reader, admin.
        bad_tokens: others.
        known_ids: grows with what was stored.
    """

    def __init__(
        self,
        seed: int,
        *,
        events: Sequence[bytes],
        tokens: Sequence[dict[str, str]],
        bad_tokens: Sequence[list[tuple[str, str]]],
        known_ids: list[str],
    ) -> None:
        self._seed = seed
        self._events = events
        self._tokens = tokens
        self._bad_tokens = bad_tokens
        self._known_ids = known_ids

    def request(self, number: int) -> Sending:
        """The request of this number."""
        random = Random(f"{self._seed}/{number}")
        tenant = random.randrange(len(self._tokens))
        kind = random.choices(
            (self._single, self._bulk, self._search, self._by_id, self._elsewhere),
            (40, 20, 25, 10, 5),
        )[0]
        method, url, headers, plain = kind(random)
        headers += self._authorization(random, tenant, method)
        headers += _odd_headers(random)
        body, encoding, mutated = _encoded(random, plain)
        headers += encoding
        random.shuffle(headers)
        head, body, wild = _framed(random, method, url, headers, body)
        return Sending(head, body, None if mutated or wild else plain, tenant, wild, method)

    def _single(self, random: Random) -> tuple[str, str, list[tuple[str, str]], bytes]:
        url = LOGS if random.random() < 0.95 else f"{LOGS}?{_query(random, self._known_ids)}"
        return "POST", url, [("Content-Type", "application/json")], self._event(random)

    def _bulk(self, random: Random) -> tuple[str, str, list[tuple[str, str]], bytes]:
        events = [self._event(random) for _ in range(random.choice((1, 2, 3, 10, 40)))]
        form = random.randrange(3)
        if form == 0:
            kind, plain = "application/x-ndjson", b"\n".join(events)
        elif form == 1:
            kind, plain = "application/json", b"[" + b",".join(events) + b"]"
        else:
            kind, plain = "application/json", b'{"logs":[' + b",".join(events) + b"]}"
        if random.random() < 0.1:
            plain = mutated_bytes(random, plain)
        url = random.choices(
            (BULK, f"{BULK}?atomic=true", f"{BULK}?{_query(random, [])}"), (85, 10, 5)
        )[0]
        return "POST", url, [("Content-Type", kind)], plain

    def _search(self, random: Random) -> tuple[str, str, list[tuple[str, str]], bytes]:
        url = f"{LOGS}?{_query(random, self._known_ids)}"
        return random.choices(("GET", "HEAD"), (95, 5))[0], url, [], b""

    def _by_id(self, random: Random) -> tuple[str, str, list[tuple[str, str]], bytes]:
        known = self._known_ids or ["x"]
        text = random.choice(known[-1_000:]) if random.random() < 0.6 else random.choice(STRINGS)
        if random.random() < 0.3:
            text = mutated_text(random, text)
        url = f"{LOGS}/{quote(text.encode(errors='replace'), safe='')[:6_000]}"
        return random.choices(("GET", "HEAD"), (90, 10))[0], url, [], b""

    def _elsewhere(self, random: Random) -> tuple[str, str, list[tuple[str, str]], bytes]:
        method = random.choice(
            ("GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "HEAD")
        )
        url = random.choice(
            (LOGS, BULK, "/", "/healthz", "/readyz", "/metrics", "/.well-known/jwks.json", "//",
             "/api/v1/openapi.json", "/api/v1/docs", f"{LOGS}/", "/api", f"{LOGS}/a/b", "/%00")
        )  # fmt: skip
        return method, url, [], self._event(random) if random.random() < 0.3 else b""

    def _event(self, random: Random) -> bytes:
        """Half of them are good, and some of the others after all."""
        raw = random.choice(self._events)
        if random.random() < 0.2:  # of few ids, so that they meet again, with other content too
            given = uuid.UUID(int=random.randrange(1, 500))
            raw = b'{"id":"%b",%b' % (str(given).encode(), raw.lstrip()[1:])
        dice = random.random()
        if dice < 0.5:
            return raw
        if dice < 0.8:
            document = json.loads(raw)
            for _ in range(random.choice((1, 1, 1, 2, 5))):
                document = mutated_json(random, document)
            raw = json.dumps(document, ensure_ascii=random.random() < 0.5).encode(errors="replace")
            return raw.replace(b"\n", b" ")
        return mutated_bytes(random, raw)

    def _authorization(self, random: Random, tenant: int, method: str) -> list[tuple[str, str]]:
        tokens = self._tokens[tenant]
        dice = random.random()
        if dice < 0.85:
            role = "writer" if method == "POST" else "reader"
            return [("Authorization", tokens[role if random.random() < 0.9 else "admin"])]
        if dice < 0.90:
            return list(random.choice(self._bad_tokens))
        if dice < 0.97:
            return [("Authorization", mutated_text(random, tokens["admin"]))]
        if dice < 0.98:
            return [("Authorization", tokens["writer"])] * 2
        return []


def mutated_text(random: Random, text: str) -> str:
    """A few characters changed."""
    for _ in range(random.choice((1, 1, 2, 8))):
        at = random.randrange(len(text) + 1)
        text = text[:at] + random.choice(("", "A", ".", "=", " ", "é", "%", "-")) + text[at + 1 :]
    return text


def mutated_bytes(random: Random, raw: bytes) -> bytes:
    """A few bytes changed, taken away, doubled, or something put in."""
    data = bytearray(raw)
    for _ in range(random.choice((1, 1, 1, 2, 4, 16))):
        at = random.randrange(len(data) + 1)
        match random.randrange(7):
            case 0 if at < len(data):
                data[at] ^= 1 << random.randrange(8)
            case 1 if at < len(data):
                data[at] = random.randrange(256)
            case 2:
                del data[at : at + random.choice((1, 1, 4, 64))]
            case 3:
                data[at:at] = data[at : at + random.choice((1, 8, 64))]
            case 4:
                data[at:at] = random.choice(TOKENS)
            case 5:
                data[at:at] = random.randbytes(random.choice((1, 3, 20)))
            case _ if random.random() < 0.3:
                del data[at:]
    return bytes(data)


def _value(random: Random, depth: int = 0) -> Any:
    kinds: tuple[Callable[[], Any], ...] = (
        lambda: random.choice(STRINGS),
        lambda: random.choice(NUMBERS),
        lambda: random.choice((None, True, False, [], {})),
        lambda: _deep(random),
        lambda: {f"{random.choice(FIELDS)}{n}": n for n in range(random.choice((10, 500, 2_100)))},
        lambda: [_value(random, depth + 1) for _ in range(random.randrange(5))],
        lambda: {_key(random): _value(random, depth + 1) for _ in range(random.randrange(5))},
    )
    return random.choices(kinds, (45, 20, 10, 5, 3, 9, 8) if depth < 4 else (6, 3, 1, 0, 0, 0, 0))[
        0
    ]()


def _deep(random: Random) -> Any:
    deep: Any = 1
    for _ in range(random.choice((5, 29, 30, 31, 40, 300))):
        deep = [deep] if random.random() < 0.5 else {random.choice(FIELDS): deep}
    return deep


def _key(random: Random) -> str:
    if random.random() < 0.7:
        return random.choice(FIELDS)
    return random.choice((*STRINGS, "k" * 1_024, "k" * 1_025))


def mutated_json(random: Random, document: Any) -> Any:
    """One place of a document changed."""
    if isinstance(document, dict) and document and random.random() < 0.8:
        name = random.choice(list(document))
        document[name] = mutated_json(random, document[name])
        return document
    if isinstance(document, list) and document and random.random() < 0.8:
        at = random.randrange(len(document))
        document[at] = mutated_json(random, document[at])
        return document
    if isinstance(document, dict) and random.random() < 0.8:
        if document and random.random() < 0.3:
            del document[random.choice(list(document))]
        else:
            document[_key(random)] = _value(random)
        return document
    if isinstance(document, list) and random.random() < 0.7:
        return [*document, *[_value(random)] * random.choice((1, 2, 50))]
    return _value(random)


def _query(random: Random, known_ids: list[str]) -> str:
    names = (
        *(
            "action",
            "actor.id",
            "target.id",
            "outcome",
            "severity",
            "request_id",
            "from",
            "to",
            "q",
        ),
        *("sort", "limit", "cursor", "atomic", "x", "actor", "\0"),
    )
    values: tuple[Callable[[], str], ...] = (
        lambda: random.choice(STRINGS)[:1_100],
        lambda: random.choice(
            ("document.update", "user-1*", "a*", "success", "info", "-occurred_at")
        ),
        lambda: random.choice(("2025-01-01T00:00:00Z", "2026-11-24T12:00:00+02:00", "1", "1000")),
        lambda: random.choice(known_ids or ["x"]),
        lambda: str(random.choice(NUMBERS[:10])),
        lambda: str(uuid.UUID(int=random.getrandbits(128))),
    )
    parts = []
    for _ in range(random.choice((0, 1, 1, 2, 2, 3, 6, 60))):
        name, value = random.choice(names), random.choice(values)()
        raw = value.encode() if random.random() < 0.9 else mutated_bytes(random, value.encode())
        parts.append(f"{quote(name)}={quote(raw)}")
    return "&".join(parts)[:12_000]


def _odd_headers(random: Random) -> list[tuple[str, str]]:
    if random.random() < 0.7:
        return []
    choices = (
        ("X-Request-ID", random.choice(("r-1", "a b", "x" * 200, "é"))),
        ("Idempotency-Key", random.choice(("k", f"k{random.randrange(50)}", "", "x" * 256, "é"))),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("traceparent", random.choice(STRINGS[:12]).replace("\n", "").replace("\0", "")),
        ("X-Tenant-ID", random.choice(("fuzz-0", "fuzz-1", "fuzz-2", "acme", "*", "é"))),
        ("Content-Type", random.choice(("text/plain", "application/json", "application/x-ndjson"))),
        ("Content-Encoding", random.choice(("br", "gzip", "zstd", "identity", "gzip, zstd"))),
        ("Accept", "text/html"),
        ("Accept-Encoding", "gzip"),
        ("Expect", "100-continue"),
        ("Connection", random.choice(("close", "keep-alive", "upgrade", "x"))),
        ("Upgrade", random.choice(("websocket", "h2c"))),
        ("Range", "bytes=0-1"),
        ("If-None-Match", "*"),
        ("Origin", "https://evil.example"),
        ("Cookie", "a=b; " * random.choice((1, 100))),
    )
    return random.sample(choices, random.choice((1, 1, 2, 5)))


def _encoded(random: Random, plain: bytes) -> tuple[bytes, list[tuple[str, str]], bool]:
    """The body, its headers, and whether it was mutated after all: zstd has no checksum."""
    dice = random.random()
    if not plain or dice < 0.75:
        return plain, [], False
    name = random.choice(("gzip", "zstd"))
    raw = gzip.compress(plain, 1) if name == "gzip" else zstandard.compress(plain, 1)
    if dice > 0.92:
        raw = mutated_bytes(random, raw)
    return raw, [("Content-Encoding", name)], dice > 0.92


def _framed(
    random: Random, method: str, url: str, headers: list[tuple[str, str]], body: bytes
) -> tuple[bytes, bytes, bool]:
    """Head and body as they go over the wire, and whether they are wild."""
    wild = False
    if body and random.random() < 0.15:
        headers = [*headers, ("Transfer-Encoding", "chunked")]
        body = _chunked(random, body)
        if random.random() < 0.1:
            body, wild = mutated_bytes(random, body), True
    elif body or method == "POST":
        size = len(body)
        if random.random() < 0.02:
            size, wild = max(0, size + random.choice((-1, 1, 1_000, -1_000))), True
        headers = [*headers, ("Content-Length", str(size))]
    lines = [f"{method} {url} HTTP/1.1", "Host: fuzz", *(f"{n}: {v}" for n, v in headers), "", ""]
    head = "\r\n".join(lines).encode()
    if random.random() < 0.03:
        head, wild = mutated_bytes(random, head), True
    return head, body, wild


def _chunked(random: Random, body: bytes) -> bytes:
    chunks = []
    at = 0
    while at < len(body):
        chunk = body[at : at + random.choice((1, 7, 100, 5_000, 70_000))]
        chunks.append(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        at += len(chunk)
    return b"".join([*chunks, b"0\r\n\r\n"])
