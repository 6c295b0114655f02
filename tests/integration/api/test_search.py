"""Both backends give the same events in the same order, and what a naive reading of them gives."""

import asyncio
import ipaddress
import json
import random
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from types import ModuleType
from typing import Any, NamedTuple

import httpx
import msgspec
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ocelot_api.search.filters import (
    MATCH_FIELDS,
    Addresses,
    AllOf,
    AnyOf,
    Filter,
    Match,
    Not,
    Phrase,
    Times,
    Word,
    WordPrefix,
    all_of,
)
from ocelot_api.search.query import Position, SearchQuery, Sort, read_cursor, write_cursor
from ocelot_common.attrs import attrs_of
from ocelot_common.event import accept_event, decode_event, ip_bytes
from ocelot_common.event_limits import EventLimits
from ocelot_common.ids import format_id
from ocelot_common.registry.model import Home, Isolation
from ocelot_common.stored import StoredEvent, answer_json
from ocelot_common.text_tokens import tokens_of_event, tokens_of_text
from ocelot_common.timestamps import format_rfc3339, now_ms

pytestmark = [pytest.mark.mongodb, pytest.mark.sqs, pytest.mark.opensearch]

LOGS = "/api/v1/logs"
NAMES = ("action", "actor.id", "targets.id", "request_id")

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


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def lines(generate: ModuleType) -> list[bytes]:
    base = {"actor": {"id": "user-1"}}
    events = HAND_MADE + SAME_TIME + random_events(200, 7)
    made = [json.dumps(base | each, ensure_ascii=False).encode() for each in events]
    return [*made, *generate.generate(160, 11), *generate.mixed(120, 5)]


@pytest_asyncio.fixture(
    scope="module",
    loop_scope="session",
    params=[Isolation.DEDICATED, Isolation.SHARED],
    ids=lambda isolation: isolation.value,
)
async def data(
    request: pytest.FixtureRequest, running: Any, lines: list[bytes], home_of: Any
) -> "Data":
    access = await running.tenant(isolation=request.param)
    other = await running.tenant(isolation=request.param)
    third = len(lines) // 3
    for at in range(0, len(lines), third):  # several times of arrival
        answer = await running.post_lines(access, lines[at : at + third])
        assert answer.json()["rejected"] == 0, answer.text[:300]
        await running.post_lines(other, lines[at : at + third])
    await running.until_indexed(access.tenant, len(lines))
    await running.until_indexed(other.tenant, len(lines))
    events = await running.stored(access.tenant)
    return Data(access, await home_of(access.tenant), events, list(map(Reference, events)))


class Reference:
    """A search as plainly as it can be said, over an event's text."""

    def __init__(self, event: StoredEvent) -> None:
        self.event = event
        plain = json.loads(event.text)
        actor, source = plain["actor"], plain.get("source") or {}
        targets = plain.get("targets") or []
        several: dict[str, list[Any]] = {
            "action": [plain["action"]],
            "actor.id": [actor["id"]],
            "actor.type": [actor.get("type")],
            "actor.email": [actor.get("email")],
            "targets.id": [target.get("id") for target in targets],
            "targets.type": [target.get("type") for target in targets],
            "request_id": [plain.get("request_id")],
            "trace_id": [plain.get("trace_id")],
            "tags": plain.get("tags") or [],
            "source.service": [source.get("service")],
            "outcome": [plain.get("outcome") or "unknown"],
            "severity": [plain.get("severity") or "info"],
            "attrs": attrs_of(
                plain.get("metadata"),
                (plain.get("changes") or {}).get("before"),
                (plain.get("changes") or {}).get("after"),
            ).entries,
        }
        self.values = {
            field: [value for value in values if value] for field, values in several.items()
        }
        ip = source.get("ip")
        self.address = ipaddress.ip_address(ip) if ip else None
        self.sequence = tokens_of_event(decode_event(event.text.encode()))
        self.tokens = set(self.sequence)

    def fits(self, query: SearchQuery) -> bool:
        return self.event.received_at >= query.cutoff and self.holds(query.filter)

    def holds(self, condition: Filter) -> bool:  # noqa: PLR0911 - one return a condition
        match condition:
            case Match(field, exact, prefixes):
                return any(
                    value in exact or any(value.startswith(prefix) for prefix in prefixes)
                    for value in self.values[field]
                )
            case Times(field, start, end):
                time = getattr(self.event, field)
                return (start is None or start <= time) and (end is None or time < end)
            case Addresses(first, last):
                if self.address is None:
                    return False
                mapped = self.address
                if mapped.version == 4:
                    mapped = ipaddress.IPv6Address(f"::ffff:{self.address}")
                return int.from_bytes(first) <= int(mapped) <= int.from_bytes(last)
            case Word(token):
                return token in self.tokens
            case WordPrefix(beginning):
                return any(token.startswith(beginning) for token in self.tokens)
            case Phrase(tokens):
                text, wanted = "\n".join(self.sequence), "\n".join(tokens)
                return f"\n{wanted}\n" in f"\n{text}\n"
            case AllOf(items):
                return all(map(self.holds, items))
            case AnyOf(items):
                return any(map(self.holds, items))
            case Not(item):
                return not self.holds(item)

    def key(self, sort: Sort) -> tuple[int, bytes]:
        time = self.event.occurred_at if sort.field == "occurred_at" else self.event.received_at
        return time, self.event.id


FIELDS = [field for field in MATCH_FIELDS if field != "attrs"]


@st.composite
def conditions(  # noqa: PLR0911 - one return a condition
    draw: st.DrawFn, data: "Data", depth: int = 0
) -> Filter:
    """A tree of conditions over what the events hold, and a little beside it."""
    kinds = ["match", "attrs", "times", "addresses", "word", "prefix", "phrase"]
    operators = ["all", "any", "not"] * (3 - depth)
    kind = draw(st.sampled_from([*operators, *kinds]))
    reference = draw(st.sampled_from(data.references))
    match kind:
        case "match" | "attrs":
            field = "attrs" if kind == "attrs" else draw(st.sampled_from(FIELDS))
            values = reference.values[field] or ["nothing"]
            exact = draw(st.lists(st.sampled_from(values), max_size=2))
            begun = draw(st.lists(st.sampled_from(values), min_size=not exact, max_size=2))
            prefixes = tuple(value[: draw(st.integers(0, len(value)))] for value in begun)
            return Match(field, tuple(exact), prefixes)
        case "times":
            field = draw(st.sampled_from(["occurred_at", "received_at"]))
            time = getattr(reference.event, field) + draw(st.integers(-1, 1))
            end = draw(st.none() | st.integers(time, time + 10**10))
            return Times(field, draw(st.sampled_from([time, None])), end)
        case "addresses":
            ends = sorted(draw(st.lists(st.sampled_from(ADDRESSES), min_size=2, max_size=2)))
            return Addresses(ends[0], ends[1])
        case "word" | "prefix":
            word = draw(st.sampled_from(reference.sequence))
            if kind == "word":
                return Word(word)
            return WordPrefix(word[: draw(st.integers(1, len(word)))])
        case "phrase":
            start = draw(st.integers(0, len(reference.sequence) - 1))
            tokens = reference.sequence[start : start + draw(st.integers(2, 4))]
            return Phrase(tuple(draw(st.permutations(tokens)) if draw(st.booleans()) else tokens))
    inner = conditions(data, depth + 1)
    if kind == "not":
        return Not(draw(inner))
    items = tuple(draw(st.lists(inner, min_size=1, max_size=3)))
    return AllOf(items) if kind == "all" else AnyOf(items)


class Data(NamedTuple):
    """A tenant's stored events, and a plain reading of each."""

    access: Any
    home: Home
    events: list[StoredEvent]
    references: list[Reference]


def expected(data: Data, query: SearchQuery) -> list[bytes]:
    found = [ref for ref in data.references if ref.fits(query)]
    found.sort(key=lambda ref: ref.key(query.sort), reverse=query.sort.descending)
    return [ref.event.id for ref in found]


async def assert_same(
    data: Data, both: Any, *conditions: Filter, sort: Sort = Sort.OCCURRED_DESC
) -> int:
    """Ask both backends and the reference; how many events they found."""
    query = SearchQuery(home=data.home, limit=1_000, filter=all_of(list(conditions)), sort=sort)
    wanted = expected(data, query)
    pages = [await backend.search(query) for backend in both]
    for name, page in zip(("mongodb", "opensearch"), pages, strict=True):
        assert [event.id for event in page.items] == wanted, (name, query.filter)
        assert page.total == (len(wanted), "eq"), (name, query.filter)
        assert not page.more
    assert pages[0].items == pages[1].items
    return len(wanted)


def values_of(data: Data, field: str) -> list[str]:
    return sorted({value for ref in data.references for value in ref.values[field] if value})


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(draw=st.data())
async def test_random_searches_give_the_same_on_both_and_as_they_read(
    data: Data, both: Any, draw: st.DataObject
):
    query = SearchQuery(
        home=data.home,
        filter=draw.draw(conditions(data)),
        sort=draw.draw(st.sampled_from(Sort)),
        limit=draw.draw(st.sampled_from([3, 50, 1_000])),
    )
    wanted = expected(data, query)
    for backend in both:
        page = await backend.search(query)
        assert [event.id for event in page.items] == wanted[: query.limit]
        assert page.total.value <= len(wanted)
        assert page.total.relation == "gte" or page.total.value == len(wanted)
    seen: list[bytes] = []
    turn = draw.draw(st.integers(0, 1))
    while True:
        page = await both[turn % 2].search(query)
        seen += [event.id for event in page.items]
        if not page.more or len(seen) > 4 * query.limit:
            break
        turn += 1
        cursor = write_cursor(query, page.items[-1])
        query = msgspec.structs.replace(query, after=read_cursor(cursor, query))
    assert seen == wanted[: len(seen)]
    assert page.more or len(seen) == len(wanted)


@pytest.mark.parametrize("sort", Sort)
async def test_everything_in_every_order(data: Data, both: Any, lines: list[bytes], sort: Sort):
    assert await assert_same(data, both, sort=sort) == len(lines)


@pytest.mark.parametrize("field", NAMES)
async def test_every_value_of_every_field(data: Data, both: Any, field: str):
    values = values_of(data, field)
    # All odd values, and a sample of the many alike.
    odd = [value for value in values if not value.isascii() or not value.isprintable()]
    sample = random.Random(1).sample(values, min(25, len(values)))
    for value in dict.fromkeys([*odd[:25], *sample]):
        assert await assert_same(data, both, Match(field, (value,))) > 0
    assert await assert_same(data, both, Match(field, ("no such value",))) == 0
    assert await assert_same(data, both, Match(field, tuple(values[:40]))) > 0


@pytest.mark.parametrize("field", NAMES)
async def test_every_kind_of_prefix(data: Data, both: Any, field: str):
    values = values_of(data, field)
    rng = random.Random(2)
    prefixes = {value[: rng.randint(1, 3)] for value in rng.sample(values, min(15, len(values)))}
    prefixes |= {"", "a", "a.", "A", "a*", "a\\", "a\0", ".", "[", "^", "a b", "é", "\uffff", "𠮷"}
    prefixes |= {"t-1", "r", "r\0", "user", "k" * 1_000}
    for prefix in sorted(prefixes):
        await assert_same(data, both, Match(field, (), (prefix,)))
    assert await assert_same(data, both, Match(field, (), (values[0][:1],))) > 0
    either = Match(field, (values[-1],), (values[0][:1],))
    assert await assert_same(data, both, either) > 0


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("outcome", ("success", "failure", "denied", "unknown")),
        ("severity", ("debug", "info", "notice", "warning", "error", "critical")),
    ],
)
async def test_enumerated_fields_and_their_defaults(
    data: Data, both: Any, field: str, values: tuple[str, ...]
):
    found = [await assert_same(data, both, Match(field, (v,))) for v in values]
    assert sum(found) == len(data.events)
    assert await assert_same(data, both, Match(field, values)) == len(data.events)


async def test_filters_together(data: Data, both: Any):
    rng = random.Random(3)
    for ref in rng.sample(data.references, 30):
        fields = rng.sample(
            [n for n in (*NAMES, "outcome") if ref.values[n] and ref.values[n][0]], 2
        )
        matches = [Match(field, (ref.values[field][0],)) for field in fields]
        time = ref.event.occurred_at
        words = map(Word, rng.sample(sorted(ref.tokens), min(2, len(ref.tokens))))
        sort = rng.choice(list(Sort))
        assert await assert_same(data, both, *matches, *words, sort=sort) > 0
        instant = Times("occurred_at", time, time + 1)
        assert await assert_same(data, both, *matches, instant, sort=sort) > 0


async def test_ranges_of_time_include_the_first_and_not_the_last_instant(data: Data, both: Any):
    times = sorted({event.occurred_at for event in data.events})
    rng = random.Random(4)
    for _ in range(25):
        first, last = sorted(rng.sample(times, 2))
        await assert_same(data, both, Times("occurred_at", first, last))
        await assert_same(data, both, Times("occurred_at", first + 1))
        await assert_same(data, both, Times("occurred_at", None, first))
    assert await assert_same(data, both, Times("occurred_at", times[0])) == len(data.events)
    assert await assert_same(data, both, Times("occurred_at", times[5], times[5])) == 0
    assert await assert_same(data, both, Times("occurred_at", -62_135_683_200_000)) == len(
        data.events
    )
    assert await assert_same(data, both, Times("occurred_at", None, 253_402_387_140_000)) == len(
        data.events
    )


async def test_every_word_of_some_events(data: Data, both: Any):
    rng = random.Random(5)
    tokens = sorted({token for ref in data.references for token in ref.tokens})
    odd = [token for token in tokens if not token.isascii()]
    for word in [*rng.sample(odd, min(15, len(odd))), *rng.sample(tokens, 10)]:
        assert await assert_same(data, both, Word(word)) > 0


@pytest.mark.parametrize(
    ("q", "finds"),
    [
        ("東京", "東京都の契約書"),
        ("契約", "東京都の契約書"),
        ("重要", "東京都の契約書"),
        ("العقد", "تم تحديث"),
        ("CAFÉ", "cafe\u0301"),
        ("cafe\u0301", "cafe\u0301"),
        ("strasse", "STRASSE"),
        ("STRAẞE", "STRASSE"),
        ("ΣΊΣΥΦΟΣ", "İstanbul"),
        ("σίσυφος", "İstanbul"),
        ("ffi viii", "ﬃ Ⅷ"),
        ("株式会社", "ﬃ Ⅷ"),
        ("𩸽", "𠮷野家で"),
        ("한국어 ไทย", "한국어"),
        ("jane.doe@example.com", "e-mail jane"),
        ("10.0.0.1", "e-mail jane"),
        ("x" * 250, "x" * 300),
        ("NUL inside", "NUL"),
    ],
)
async def test_words_of_every_script_over_http_on_both(
    data: Data, running: Any, mongo_only: httpx.AsyncClient, q: str, finds: str
):
    for http, name in ((running.http, "opensearch"), (mongo_only, "mongodb")):
        answer = await http.get(LOGS, params={"q": q}, headers=data.access.reader)
        body = answer.json()
        assert body["backend"] == name
        assert any(item.get("message", "").startswith(finds) for item in body["items"]), body
    assert tokens_of_text(q)


@pytest.mark.parametrize("limit", [1, 7, 1_000])
@pytest.mark.parametrize("sort", Sort)
async def test_paging_gives_each_event_once_in_order_and_changes_backend_on_the_way(
    data: Data, both: Any, sort: Sort, limit: int
):
    query = SearchQuery(home=data.home, sort=sort, limit=limit)
    if limit == 1:  # a page an event: those of one instant
        query = msgspec.structs.replace(query, filter=Match("action", (), ("tie.",)))
    wanted = expected(data, query)
    for backends in (both[:1], both[1:], both):
        seen: list[bytes] = []
        page, turn = await backends[0].search(query), 0
        while True:
            assert page.total == (len(wanted), "eq")
            seen += [event.id for event in page.items]
            if not page.more:
                break
            assert len(page.items) == limit
            cursor = write_cursor(query, page.items[-1])
            turn += 1
            following = msgspec.structs.replace(query, after=read_cursor(cursor, query))
            page = await backends[turn % len(backends)].search(following)
        assert seen == wanted


async def test_words_are_paged_on_both(data: Data, both: Any):
    query = SearchQuery(home=data.home, filter=Word("user"), limit=9)
    wanted = expected(data, query)
    assert len(wanted) > 30
    seen: list[bytes] = []
    for turn in range(100):
        page = await both[turn % 2].search(query)
        seen += [event.id for event in page.items]
        if not page.more:
            break
        last = page.items[-1]
        query = msgspec.structs.replace(query, after=Position(last.occurred_at, last.id))
    assert seen == wanted


@pytest.mark.parametrize("limit", [7, 100])
async def test_a_cursor_over_http_works_on_either_api(
    data: Data, running: Any, mongo_only: httpx.AsyncClient, limit: int
):
    wanted = [format_id(each) for each in expected(data, SearchQuery(home=data.home))]
    seen: list[str] = []
    params: dict[str, Any] = {"limit": limit}
    clients = (running.http, mongo_only)
    for turn in range(200):
        answer = await clients[turn % 2].get(LOGS, params=params, headers=data.access.reader)
        body = answer.json()
        assert body["backend"] == ("opensearch", "mongodb")[turn % 2]
        seen += [item["id"] for item in body["items"]]
        if body["next_cursor"] is None:
            break
        params["cursor"] = body["next_cursor"]
    assert seen == wanted


async def test_positions_at_the_ends_of_the_calendar_are_taken_by_both(data: Data, both: Any):
    for sort in Sort:
        for time in (-(2**48), 2**48):
            query = SearchQuery(
                home=data.home, sort=sort, limit=1_000, after=Position(time, b"\xff" * 16)
            )
            counts = [len((await backend.search(query)).items) for backend in both]
            all_follow = (time > 0) is sort.descending
            assert counts == [len(data.events) if all_follow else 0] * 2


async def test_events_come_back_as_their_text_of_record_from_search_and_by_id(
    data: Data, running: Any, mongo_only: httpx.AsyncClient, lines: list[bytes]
):
    limits = EventLimits()
    sent = sorted(accept_event(line, now_ms=now_ms(), limits=limits).text for line in lines)
    assert sorted(event.text.encode() for event in data.events) == sent
    by_id = {event.id: event for event in data.events}
    for http in (running.http, mongo_only):
        answer = await http.get(LOGS, params={"limit": 1_000}, headers=data.access.reader)
        order = expected(data, SearchQuery(home=data.home))
        items = b",".join(answer_json(by_id[each], data.access.tenant.id) for each in order)
        # Byte for byte: numbers, escapes and the order of keys too.
        assert answer.content.startswith(b'{"items":[' + items + b'],"next_cursor":null')
    for event in data.events[::5]:
        answer = await running.http.get(f"{LOGS}/{format_id(event.id)}", headers=data.access.reader)
        assert answer.content == answer_json(event, data.access.tenant.id)


async def test_over_http_filters_reach_both_backends_alike(
    data: Data, running: Any, mongo_only: httpx.AsyncClient
):
    first = format_rfc3339(sorted(event.occurred_at for event in data.events)[50])
    for params in (
        {"action": "tie.*"},
        {"action": ["tie.0", "tie.1"], "outcome": "unknown"},
        {"actor.id": "user-1", "sort": "occurred_at"},
        {"target.id": "t-1*", "limit": "5"},
        {"severity": ["critical", "error"], "sort": "-received_at"},
        {"request_id": "req-*", "from": first},
        {"to": first},
        {"action": "a\0*"},
        {"request_id": "*", "limit": "1000"},
    ):
        bodies = [
            (await http.get(LOGS, params=params, headers=data.access.reader)).json()
            for http in (running.http, mongo_only)
        ]
        assert [body.pop("backend") for body in bodies] == ["opensearch", "mongodb"]
        assert bodies[0] == bodies[1]
        assert bodies[0]["items"], params


TREES: list[dict[str, Any]] = [
    {"not": {"action": "tie.*"}},
    {"or": [{"action": "tie.0"}, {"q": "word"}, {"target.id": "t-1*"}]},
    {"and": [{"not": {"q": '"one word"'}}, {"or": [{"actor.id": "user-1"}, {"tag": "*"}]}]},
    {"source.ip": ["192.0.2.0/24", "2001:db8::/32"]},
    {
        "not": {"source.ip": "0.0.0.0/0"},
    },
    {"metadata.plan": "*"},
    {
        "not": {
            "or": [{"metadata.plan": "*"}, {"changes.after.plan": "*"}, {"severity.gte": "info"}]
        }
    },
    {"q": "alph* OR -beta", "received_from": "2020-01-01T00:00:00Z"},
    {},
]


@pytest.mark.parametrize("tree", TREES, ids=str)
async def test_over_http_trees_reach_both_backends_alike(
    data: Data, running: Any, mongo_only: httpx.AsyncClient, tree: dict[str, Any]
):
    search = {"filter": tree, "sort": "occurred_at", "limit": 60}
    seen = []
    for _ in range(3):
        answers = [
            await http.post(f"{LOGS}/search", json=search, headers=data.access.reader)
            for http in (running.http, mongo_only)
        ]
        assert [answer.status_code for answer in answers] == [200, 200], answers[0].text
        bodies = [answer.json() for answer in answers]
        assert [body.pop("backend") for body in bodies] == ["opensearch", "mongodb"]
        totals = [body.pop("total") for body in bodies]
        assert totals[0]["value"] == totals[1]["value"] or totals[1]["relation"] == "gte"
        assert bodies[0] == bodies[1]
        seen += bodies[0]["items"]
        if bodies[0]["next_cursor"] is None:
            break
        search["cursor"] = bodies[0]["next_cursor"]
    assert seen


async def test_fields_leave_out_the_rest_on_both(
    data: Data, running: Any, mongo_only: httpx.AsyncClient
):
    params = {"fields": "action,targets.id", "action": "many"}
    for http in (running.http, mongo_only):
        answer = await http.get(LOGS, params=params, headers=data.access.reader)
        (item,) = answer.json()["items"]
        assert item.pop("id")
        assert item == {"action": "many", "targets": [{"id": f"t-{n}"} for n in range(30)]}


class TestNeverFewerEventsInSilence:
    @pytest.fixture
    async def access(self, running: Any) -> Any:
        made = await running.tenant()
        lines = [json.dumps({"action": "a", "actor": {"id": str(n)}}).encode() for n in range(20)]
        await running.post_lines(made, lines)
        await running.until_indexed(made.tenant, 20)
        return made

    async def search(self, running: Any, access: Any, **params: str) -> Any:
        answer = await running.http.get(LOGS, params=params, headers=access.reader)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def test_an_index_deleted_behind_the_services_back(self, running: Any, access: Any):
        bystander = await running.tenant()
        space = await running.space_of(access.tenant)
        for entry in space.indices:
            await running.search.indices.delete(index=entry.index)
        for _ in range(5):
            body = await self.search(running, access)
            assert (body["backend"], body["total"]["value"]) == ("mongodb", 20)
            await eventually_backend(running, bystander, "opensearch")
        # The indexer makes it again for what comes now; it lacks what came before.
        await running.post_lines(access, [b'{"action":"b","actor":{"id":"u"}}'])
        await running.until_stored(access.tenant, 21)
        for _ in range(30):
            body = await self.search(running, access)
            assert (body["backend"], body["total"]["value"]) == ("mongodb", 21)
            await asyncio.sleep(0.1)
        space = await running.space_of(access.tenant)
        assert any(entry.building for entry in space.indices)

    async def test_one_of_two_indices_deleted(self, running: Any, access: Any):
        space = await running.space_of(access.tenant)
        assert len(space.indices) == 2
        await running.search.indices.delete(index=space.indices[1].index)
        # An api that read the registry between the records of the two does not ask the second yet.
        await eventually_backend(running, access, "mongodb")
        body = await self.search(running, access)
        assert (body["backend"], body["total"]["value"]) == ("mongodb", 20)

    async def test_an_index_that_is_being_built(self, running: Any, access: Any):
        space = await running.space_of(access.tenant)
        entry = space.indices[0]
        building = msgspec.structs.replace(entry, building=True)
        await self.record(running, space, [building, *space.indices[1:]])
        # An index that holds nothing of it: were it asked, events would be missing.
        await running.search.delete_by_query(
            index=entry.alias, body={"query": {"match_all": {}}}, params={"refresh": "true"}
        )
        await eventually_backend(running, access, "mongodb")
        body = await self.search(running, access)
        assert (body["backend"], body["total"]["value"]) == ("mongodb", 20)

    async def test_no_index_at_all(self, running: Any, access: Any):
        space = await running.space_of(access.tenant)
        await self.record(running, space, [])
        await eventually_backend(running, access, "mongodb")
        assert (await self.search(running, access))["total"]["value"] == 20

    async def test_a_closed_index(self, running: Any, access: Any):
        space = await running.space_of(access.tenant)
        await running.search.indices.close(index=space.indices[0].index)
        body = await self.search(running, access)
        assert (body["backend"], body["total"]["value"]) == ("mongodb", 20)

    @staticmethod
    async def record(running: Any, space: Any, indices: list[Any]) -> None:
        async def work(transaction: Any) -> None:
            await transaction.replace(msgspec.structs.replace(space, indices=indices))

        await running.maker.store.write(work)


async def eventually_backend(running: Any, access: Any, name: str) -> None:
    for _ in range(50):
        answer = await running.http.get(LOGS, headers=access.reader)
        if answer.json()["backend"] == name:
            return
        await asyncio.sleep(0.1)
    pytest.fail(f"{name} did not answer within 5 s")


@pytest.mark.parametrize("isolation", list(Isolation))
async def test_events_older_than_the_cutoff_are_hidden_from_search_and_by_id_on_both(
    running: Any, mongo_only: httpx.AsyncClient, isolation: Isolation
):
    access = await running.tenant(isolation=isolation)
    line = b'{"action":"a","actor":{"id":"u"},"message":"word"}'
    old = (await running.post_lines(access, [line] * 3)).json()["ids"]
    await running.until_indexed(access.tenant, 3)
    await asyncio.sleep(0.05)
    cutoff = datetime.now(UTC)
    await asyncio.sleep(0.05)
    new = (await running.post_lines(access, [line] * 2)).json()["ids"]
    await running.until_indexed(access.tenant, 5)
    await running.maker.provisioner._update(access.tenant.uid, purged_before=cutoff)

    for http, name in ((running.http, "opensearch"), (mongo_only, "mongodb")):
        for _ in range(50):
            if (await http.get(f"{LOGS}/{old[0]}", headers=access.reader)).status_code == 404:
                break
            await asyncio.sleep(0.1)
        for params in ({}, {"q": "word"}, {"action": "a*"}, {"sort": "received_at"}):
            answer = await http.get(LOGS, params=params, headers=access.reader)
            body = answer.json()
            assert body["backend"] == name
            assert sorted(item["id"] for item in body["items"]) == sorted(new)
            assert body["total"] == {"value": 2, "relation": "eq"}
        for event_id in old:
            answer = await http.get(f"{LOGS}/{event_id}", headers=access.reader)
            assert (answer.status_code, answer.json()["code"]) == (404, "event_not_found")
        for event_id in new:
            answer = await http.get(f"{LOGS}/{event_id}", headers=access.reader)
            assert answer.status_code == 200
    assert len(await running.stored(access.tenant)) == 5


async def test_a_shared_tenants_searches_go_to_its_own_shard(
    running: Any, home_of: Callable[..., Any]
):
    access = await running.tenant(isolation=Isolation.SHARED)
    lines = [b'{"action":"a","actor":{"id":"u"},"message":"%d"}' % n for n in range(5)]
    await running.post_lines(access, lines)
    await running.until_indexed(access.tenant, 5)
    home = await home_of(access.tenant)
    entry = home.space.range_at(datetime.now(UTC))
    hits = await running.search.search(
        index=entry.alias, body={"query": {"term": {"t": access.tenant.uid}}}
    )
    assert {hit["_routing"] for hit in hits["hits"]["hits"]} == {access.tenant.uid}
    assert all(hit["_id"].startswith(f"{access.tenant.uid}:") for hit in hits["hits"]["hits"])
    answer = await running.http.get(LOGS, headers=access.reader)
    assert answer.json()["total"]["value"] == 5


async def test_totals_over_ten_thousand_are_at_least_that_on_both(
    running: Any, mongo_only: httpx.AsyncClient
):
    access = await running.tenant()
    lines = [b'{"action":"a","actor":{"id":"%d"}}' % (n % 2) for n in range(10_000)]
    await running.post_lines(access, lines)
    await running.post_lines(access, lines[:1])
    await running.until_indexed(access.tenant, 10_001)
    for http in (running.http, mongo_only):
        answer = await http.get(LOGS, params={"limit": 1}, headers=access.reader)
        assert answer.json()["total"] == {"value": 10_000, "relation": "gte"}
        answer = await http.get(LOGS, params={"actor.id": "1"}, headers=access.reader)
        assert answer.json()["total"] == {"value": 5_000, "relation": "eq"}


async def test_an_id_is_found_as_soon_as_it_is_stored_whatever_the_index_does(running: Any):
    access = await running.tenant()
    given = str(uuid.uuid4())
    line = json.dumps({"id": given, "action": "a", "actor": {"id": "u"}}).encode()
    await running.post_lines(access, [line])
    await running.until_stored(access.tenant, 1)
    answer = await running.http.get(f"{LOGS}/{given}", headers=access.reader)
    assert answer.status_code == 200
