"""Both backends give the same events in the same order, and what a naive reading of them gives."""

import asyncio
import json
import random
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ocelot_api.search.filters import (
    Filter,
    Match,
    Times,
    Word,
    all_of,
)
from ocelot_api.search.query import Position, SearchQuery, Sort, read_cursor, write_cursor
from ocelot_common.event import accept_event
from ocelot_common.event_limits import EventLimits
from ocelot_common.ids import format_id
from ocelot_common.registry.model import Isolation
from ocelot_common.stored import answer_json
from ocelot_common.text_tokens import tokens_of_text
from ocelot_common.timestamps import format_rfc3339, now_ms
from searchdata.reference import Data, conditions, expected

pytestmark = [pytest.mark.mongodb, pytest.mark.sqs, pytest.mark.opensearch]

LOGS = "/api/v1/logs"
NAMES = ("action", "actor.id", "targets.id", "request_id")


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
        cursor = write_cursor(query, page.items[-1].position)
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
            cursor = write_cursor(query, page.items[-1].position)
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
        query = msgspec.structs.replace(query, after=page.items[-1].position)
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


@pytest.mark.usefixtures("jobs_stopped")
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
    for _ in range(300):
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
    await running.set_tenant(access.tenant, purged_before=cutoff)

    for http, name in ((running.http, "opensearch"), (mongo_only, "mongodb")):
        for _ in range(300):
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
