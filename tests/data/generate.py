"""Makes valid Ocelot events of the kinds that the real files beside the checkout lack.

    python tests/data/generate.py --count 1000 --seed 7 > events.ndjson
    python tests/data/generate.py --count 1000 --seed 7 --kind login --kind export

The same count, seed and kinds give the same bytes on every machine. Lines are JSON text made by
hand where a JSON library could not write them: keys given twice, `1E2`, integers of 1,000 digits.
"""

import argparse
import json
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

_START: Final = datetime(2024, 1, 1, tzinfo=UTC)
_YEAR_SECONDS: Final = 366 * 24 * 3600
#: Depth of the deepest event, itself counted (design §3).
MAX_DEPTH: Final = 32
MAX_KEYS: Final = 2_000
MAX_INTEGER_DIGITS: Final = 1_000
#: A keyword of Lucene ends here; one string has to be longer.
LUCENE_TERM_BYTES: Final = 32_766

_NAMES = (
    "Ada Lovelace",
    "Zoë Müller",
    "Łukasz Żółć",
    "François l'Hôpital",
    "王小明",
    "山田 花子",
    "김민준",
    "محمد عبد الله",
    "דוד כהן",
    "สมชาย ใจดี",
    "Nguyễn Thị Ánh",
    "Иван Петров",
)
_COUNTRIES = ("Germany", "Japan", "Brazil", "Kenya", "Canada", "日本", "مصر")
_AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126 Safari/537",
    "curl/8.5.0",
    "ocelot-sdk-python/0.1.0",
)
_SEVERITIES = ("debug", "info", "notice", "warning", "error", "critical")
_ROLES = ("viewer", "editor", "billing", "admin", "owner")
_PLANS = ("free", "pro", "enterprise")
_WORDS = (
    *("quarterly", "report", "budget", "forecast", "contract", "invoice", "draft", "review"),
    *("approval", "archive", "customer", "account", "payment", "refund", "schedule", "meeting"),
    *("summary", "project", "milestone", "release"),
)
# Right to left with an embedded Latin word and explicit marks, CJK outside the BMP, joined and
# toned emoji, flags, stacked combining marks, the same letter in two normal forms, a zero width
# space, and characters at the borders of what JSON must escape.
_TEXTS = (
    "تم تحديث العقد ABC-123 بواسطة المدير",
    "\u202bהמסמך נמחק\u202c document.delete \u200f!",
    "文件已更新：第三季度报告（草案）",
    "契約書を更新しました。承認者：山田",
    "𠮷野家で𩸽を食べた",
    "👩\u200d👩\u200d👧\u200d👦 invited 🧑🏽\u200d💻 to 🏳\ufe0f\u200d🌈 and 🇯🇵🇩🇪",
    "Z\u0338\u0321\u031ba\u0337\u0322l\u0335\u0328g\u0336\u0316o\u0338\u031f cafe\u0301 caf\u00e9",
    "zero\u200bwidth and soft\u00adhyphen and \ufeffBOM",
    'quote " backslash \\ slash / tab \t line \n return \r',
    "\u0001\u001f\u007f\u0080\ufffd\uffff\U0010ffff",
    "İstanbul ıssız ẞtraße ŉ ǆ ﬃ Ⅷ ㍿ ½",
)

Generator = Callable[[random.Random], str]


def generate(
    count: int, seed: int, kinds: Sequence[str] | None = None, *, with_equal_lines: bool = True
) -> Iterator[bytes]:
    """Events of all kinds in turn, or of those given, as lines of JSON without line ends.

    Args:
        count: of lines.
        seed: of everything random.
        kinds: keys of `KINDS`; all by default.
        with_equal_lines: now and then a line comes twice: equal, and yet two events.

    Raises:
        KeyError: there is no such kind.
    """
    # Random numbers of a test's data, of which nothing is secret.
    rng = random.Random(seed)
    makers = [KINDS[kind] for kind in kinds or KINDS]
    made = 0
    while made < count:
        line = makers[made % len(makers)](rng).encode()
        yield line
        made += 1
        if with_equal_lines and made < count and rng.random() < 0.03:
            yield line
            made += 1


def mixed(count: int, seed: int, odd_share: float = 0.1) -> Iterator[bytes]:
    """Mostly ordinary events of about 580 bytes, and a share of odd ones, of every kind."""
    rng = random.Random(seed)
    odd = generate(count, seed + 1, ODD_KINDS, with_equal_lines=False)
    last = b""
    for _ in range(count):
        draw = rng.random()
        if last and draw < 0.01:
            yield last
            continue
        last = next(odd) if draw < 0.01 + odd_share else ORDINARY(rng).encode()
        yield last


def _encode(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _event(rng: random.Random, action: str, **fields: object) -> dict[str, object]:
    moment = _START + timedelta(
        seconds=rng.randrange(_YEAR_SECONDS), microseconds=rng.randrange(10**6)
    )
    return {
        "action": action,
        "occurred_at": _moment(rng, moment),
        "actor": _actor(rng),
        "source": {"ip": _address(rng), "user_agent": rng.choice(_AGENTS)},
        "request_id": f"req-{rng.getrandbits(64):016x}",
        **fields,
    }


def _moment(rng: random.Random, moment: datetime) -> str:
    text = moment.replace(tzinfo=None).isoformat(
        timespec=rng.choice(("seconds", "milliseconds", "microseconds"))
    )
    return text + rng.choice(("Z", "+00:00", "+02:00", "-08:00", "+05:45"))


def _user_id(number: int) -> str:
    return f"user-{number:04d}"


def _actor(rng: random.Random) -> dict[str, str]:
    number = rng.randrange(500)
    return {
        "id": _user_id(number),
        "type": "user",
        "name": _NAMES[number % len(_NAMES)],
        "email": f"user{number}@example.com",
        "session_id": f"s-{rng.getrandbits(48):012x}",
    }


def _address(rng: random.Random) -> str:
    if rng.random() < 0.3:
        return f"2001:db8:{rng.getrandbits(16):x}::{rng.getrandbits(16):x}"
    return f"203.0.113.{rng.randrange(256)}"


def _title(rng: random.Random) -> str:
    return " ".join(rng.choice(_WORDS) for _ in range(rng.randrange(2, 6)))


def _login(rng: random.Random) -> str:
    outcome = rng.choices(("success", "failure", "denied"), (8, 2, 1))[0]
    event = _event(
        rng,
        "user.login",
        outcome=outcome,
        severity="info" if outcome == "success" else "warning",
        message=f"login by {rng.choice(('password', 'passkey', 'SAML'))}: {outcome}",
        tags=["auth"],
        metadata={"mfa": rng.random() < 0.5, "attempt": rng.randrange(1, 5)},
    )
    source = event["source"]
    if isinstance(source, dict):
        source["location"] = rng.choice(_COUNTRIES)
    return _encode(event)


def _document_change(rng: random.Random) -> str:
    before = {"title": _title(rng), "pages": rng.randrange(1, 90), "labels": [rng.choice(_WORDS)]}
    after = before | {"title": _title(rng), "pages": rng.randrange(1, 90)}
    number = rng.randrange(5000)
    return _encode(
        _event(
            rng,
            rng.choice(("document.update", "document.create", "document.delete")),
            targets=[{"type": "document", "id": f"doc-{number}", "name": before["title"]}],
            outcome="success",
            changes={"before": before, "after": after},
            metadata={"plan": rng.choice(_PLANS), "workspace": f"ws-{number % 40}"},
        )
    )


def _role_change(rng: random.Random) -> str:
    before, after = rng.sample(_ROLES, 2)
    return _encode(
        _event(
            rng,
            "role.change",
            targets=[
                {
                    "type": "user",
                    "id": _user_id(rng.randrange(500)),
                    "name": rng.choice(_NAMES),
                },
                {"type": "role", "id": after},
            ],
            outcome="success",
            severity="critical" if after in {"admin", "owner"} else "notice",
            changes={"before": {"role": before}, "after": {"role": after}},
            tags=["rbac", f"role:{after}"],
        )
    )


def _export(rng: random.Random) -> str:
    return _encode(
        _event(
            rng,
            "report.export",
            targets=[
                {"type": "document", "id": f"doc-{rng.randrange(5000)}"}
                for _ in range(rng.randrange(13))
            ],
            outcome=rng.choice(("success", "failure", "unknown")),
            severity=rng.choice(_SEVERITIES),
            trace_id=f"{rng.getrandbits(128):032x}",
            metadata={"format": rng.choice(("csv", "pdf")), "rows": rng.randrange(10**7)},
        )
    )


def _ordinary(rng: random.Random) -> str:
    return rng.choice((_login, _document_change, _document_change, _role_change, _export))(rng)


def _scripts(rng: random.Random) -> str:
    first, second = rng.choice(_TEXTS), rng.choice(_TEXTS)
    return _encode(
        _event(
            rng,
            "note.write",
            message=first,
            targets=[{"type": "note", "id": f"n-{rng.randrange(99)}", "name": second}],
            tags=[rng.choice(_TEXTS)],
            metadata={first: second, "text": second, "again": first},
        )
    )


def _nul(rng: random.Random) -> str:
    text = f"before\0after {rng.randrange(99)}"
    return _encode(_event(rng, "nul.write", message=text, metadata={"value": text, "nul\0key": 1}))


def _odd_keys(rng: random.Random) -> str:
    value = rng.randrange(100)
    return _encode(
        _event(
            rng,
            "keys.odd",
            metadata={
                "": value,
                "a.b": {"c.d": value, "": {"": None}},
                "a": {"b": value},
                "$set": {"$where": "1"},
                "$enc": "no ciphertext",
                "_id": value,
                "+1": True,
                "authorization.k8s.io/decision": "allow",
                "http://schemas.example.com/claims/name": "x",
                " leading space": 1,
                "tag": 1,
                "Tag": ["x"],
                "__proto__": {},
                "0": [[]],
                "k" * 1024: value,
            },
        )
    )


def _repeated_keys(rng: random.Random) -> str:
    event = _event(rng, "keys.repeated", message="the last one counts")
    text = _encode(event)[:-1]
    value = rng.randrange(100)
    metadata = f'{{"a":{value},"b":1,"a":{value + 1},"a":"last"}}'
    return f'{text},"message":"last {value}","metadata":{metadata}}}'


def _numbers(rng: random.Random) -> str:
    digits = rng.choice((20, 39, 309, MAX_INTEGER_DIGITS))
    huge = str(rng.randrange(1, 10)) + "".join(rng.choices("0123456789", k=digits - 1))
    text = _encode(_event(rng, "numbers.write"))[:-1]
    return (
        f'{text},"metadata":{{"past_2_53":{2**53 + 1},"keywords":-9214364837600034816,'
        f'"past_2_64":{2**64 + rng.randrange(10**6)},"below":-{2**63 + 1},"huge":{huge},'
        f'"negative":-{huge},"whole":1.0,"exponent":1E2,"small":1e-7,"third":0.1,"minus_zero":-0.0,'
        '"largest":1.7976931348623157e308,"denormal":5e-324,"digits":0.30000000000000004,'
        '"one":1,"text":"1.0"}}'
    )


def _long_text(rng: random.Random) -> str:
    length = rng.choice((LUCENE_TERM_BYTES + 1, 40_000, 60_000))
    unit = rng.choice(("x", "word ", "日本語", "é"))
    text = (unit * (length // len(unit.encode()) + 1)).encode()[:length].decode(errors="ignore")
    return _encode(_event(rng, "text.long", message="a long text", metadata={"text": text + "!"}))


def _longest_keywords(rng: random.Random) -> str:
    longest = rng.choice(("k", "語", "🦊")) * 1024
    return _encode(
        _event(
            rng,
            "a" * 256,
            actor={"id": longest, "name": longest},
            targets=[{"type": "x", "id": longest, "name": longest}],
            tags=[longest],
        )
    )


def _deep(rng: random.Random) -> str:
    # The event and metadata are two of the levels.
    value: object = rng.randrange(100)
    for level in range(MAX_DEPTH - 2):
        value = [value] if level % 2 else {"d": value}
    return _encode(_event(rng, "nesting.deep", metadata={"deep": value}))


def _many_keys(rng: random.Random) -> str:
    return _encode(
        _event(
            rng,
            "keys.many",
            metadata={f"key{number:04d}": rng.randrange(100) for number in range(MAX_KEYS)},
        )
    )


def _types(rng: random.Random) -> str:
    option: object = rng.choice((False, {"value": False}, "false", 0, None, [], [1, "1", {}]))
    return _encode(
        _event(
            rng,
            "types.mixed",
            outcome="unknown",
            targets=[],
            tags=[],
            message="",
            changes={"before": None, "after": option},
            metadata={"option": option, "nothing": None, "empty": "", "object": {}, "text": "null"},
        )
    )


def _smallest(rng: random.Random) -> str:
    return f'{{"action":"a","actor":{{"id":"{rng.randrange(10)}"}}}}'


def _spaced(rng: random.Random) -> str:
    escaped = json.dumps(_event(rng, "space.\u00e9", message=rng.choice(_TEXTS)), indent=1)
    return " " + escaped.replace("\n", "\t") + " "


ORDINARY: Final[Generator] = _ordinary
KINDS: Final[dict[str, Generator]] = {
    "login": _login,
    "document-change": _document_change,
    "role-change": _role_change,
    "export": _export,
    "scripts": _scripts,
    "nul": _nul,
    "odd-keys": _odd_keys,
    "repeated-keys": _repeated_keys,
    "numbers": _numbers,
    "long-text": _long_text,
    "longest-keywords": _longest_keywords,
    "deep": _deep,
    "many-keys": _many_keys,
    "types": _types,
    "smallest": _smallest,
    "spaced": _spaced,
}
ODD_KINDS: Final = tuple(list(KINDS)[4:])


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the events that the command line asks for to standard output."""
    parser = argparse.ArgumentParser(description="Make Ocelot events as NDJSON.")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--kind", action="append", choices=[*KINDS], help="default: all; repeatable"
    )
    parser.add_argument("--mixed", action="store_true", help="mostly ordinary events")
    options = parser.parse_args(arguments)
    if options.mixed and options.kind:
        parser.error("--mixed has all kinds; leave out --kind")
    lines = (
        mixed(options.count, options.seed)
        if options.mixed
        else generate(options.count, options.seed, options.kind)
    )
    for line in lines:
        sys.stdout.buffer.write(line + b"\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
