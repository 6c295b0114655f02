"""Events that a search may get wrong: many scripts, odd values, equal times."""

import random
from typing import Any

from ocelot_common.event import ip_bytes

HAND_MADE: list[dict[str, Any]] = [
    {"action": "a.b", "message": "東京都の契約書を更新しました", "tags": ["重要"]},
    {"action": "a.b.c", "message": "京都", "metadata": {"x": "東京"}},
    {"action": "a.", "message": "تم تحديث العقد بواسطة المدير"},
    {"action": "a", "message": "cafe\u0301 and caf\u00e9 are one word"},
    {"action": "A.B", "message": "STRASSE, Straße, straße"},
    {"action": "a*b", "message": "İstanbul ıssız ΣΊΣΥΦΟΣ σίσυφος"},
    {"action": "a\\b", "message": "ﬃ Ⅷ ½ ㍿ x²"},
    {"action": "a\0b", "message": "NUL\0inside", "request_id": "r\0"},
    {"action": ".*", "message": "regular", "actor": {"id": "^u$"}},
    {"action": "[a-z]+", "message": "e-mail jane.doe@example.com 10.0.0.1"},
    {"action": "a b", "message": "word " * 50, "request_id": ""},
    {"action": "é", "message": "한국어 문서 ไทย हिन्दी", "request_id": "r-1"},
    {"action": "𠮷野家", "message": "𠮷野家で𩸽を食べた", "targets": [{"id": "𠮷"}, {"id": ""}]},
    {"action": "\uffff", "message": "\U0010ffff edge", "targets": [{"id": ""}]},
    {"action": "many", "targets": [{"id": f"t-{n}", "type": "x"} for n in range(30)]},
    {"action": "old", "occurred_at": "0001-01-01T00:00:00Z"},
    {"action": "old", "occurred_at": "0001-01-01T00:00:00+14:00"},
    {"action": "old", "occurred_at": "1969-12-31T23:59:59.999Z"},
    {"action": "late", "metadata": {"n": 10**300, "f": 1.5, "t": True, "z": None}},
    {"action": "t", "message": "x" * 300, "metadata": {"q": 'OR AND NOT -minus "quoted" *'}},
]
#: Many at one instant, so that ids decide.
SAME_TIME = [
    {"action": f"tie.{n % 3}", "occurred_at": "2025-05-05T05:05:05.123456Z"} for n in range(40)
]


WORDS = (
    "alpha", "Alpha", "beta", "ßeta", "γάμμα", "ΓΆΜΜΑ", "дом", "東京", "京都", "かな", "한국",
    "नमस्ते", "ﬁn", "e\u0301té", "été", "İx", "x\u0345", "𠮷", "10.0", "a-b", "a_b", "0", "١٢", "🦊",
    "a\u200db", "\u0301",
)  # fmt: skip
IPS = (
    "192.0.2.1", "192.0.2.255", "10.0.0.0", "255.255.255.255", "0.0.0.1", "::", "::1",
    "2001:db8::1", "2001:db8::ffff", "::ffff:192.0.2.1", "fe80::1",
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "", None,
)  # fmt: skip


ADDRESSES = [ip_bytes(ip) or bytes(16) for ip in IPS if ip]


def random_value(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.randrange(9 if depth < 3 else 7)
    if kind == 7:
        return [random_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    if kind == 8:
        return random_object(rng, depth + 1)
    return (
        " ".join(rng.choices(WORDS, k=rng.randrange(4))),
        rng.choice(WORDS),
        rng.choice([0, 1, -1, 10**20, 7]),
        rng.choice([0.0, -0.0, 1.5, 1e300, 1.0]),
        True,
        None,
        rng.choice(WORDS) * rng.choice([1, 200]),
    )[kind]


def random_object(rng: random.Random, depth: int = 0) -> dict[str, Any]:
    keys = ("k", "plan", "a.b", "é", "", "$x", "k=k")
    return {rng.choice(keys): random_value(rng, depth) for _ in range(rng.randrange(4))}


def random_events(number: int, seed: int) -> list[dict[str, Any]]:
    """Events of few words in many scripts, so that random conditions fit some of them."""
    rng = random.Random(seed)
    events = []
    for _ in range(number):
        given: dict[str, Any] = {
            "actor": {
                "id": rng.choice(WORDS),
                "type": rng.choice(["user", "robot", "", None]),
                "email": rng.choice(["a@x.org", "A@X.org", None]),
            },
            "targets": [
                {"type": rng.choice(["doc", "", None]), "id": rng.choice(WORDS)}
                for _ in range(rng.randrange(3))
            ],
            "occurred_at": f"2026-0{rng.randrange(1, 4)}-01T00:00:0{rng.randrange(3)}Z",
            "outcome": rng.choice(["success", "failure", "denied", "unknown", None]),
            "severity": rng.choice(["debug", "warning", "critical", None]),
            "message": " ".join(rng.choices(WORDS, k=rng.randrange(6))),
            "changes": rng.choice(
                [None, {"before": random_value(rng)}, {"after": random_object(rng)}]
            ),
            "source": {"ip": rng.choice(IPS), "service": rng.choice(["docs", "web", "", None])},
            "trace_id": rng.choice(["t1", "t2", None]),
            "tags": rng.choices(WORDS, k=rng.randrange(3)),
            "metadata": random_object(rng),
        }
        chosen = {name: value for name, value in given.items() if rng.random() < 0.7}
        events.append({"action": rng.choice(WORDS), "actor": {"id": "u"}} | chosen)
    return events
