"""Documents that are no events stop no reader: what is around them is read as if alone."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, NamedTuple

import httpx
import msgspec
import pytest
import pytest_asyncio

from ocelot_common.dead_letters import DeadLetterStore
from ocelot_common.ids import format_id, new_id, parse_id
from ocelot_common.queue.sending import Outgoing, send_all
from ocelot_common.registry.model import Isolation, Tenant
from ocelot_common.stored import build_document
from ocelot_common.timestamps import format_rfc3339, now_ms, to_datetime
from ocelot_devstack.queues import open_sqs
from poisonkit.kinds import EVENT, ODD, UNREADABLE, poisoned, stuffed
from queuekit.signing import index_texts, key_of

pytestmark = [pytest.mark.mongodb, pytest.mark.sqs, pytest.mark.opensearch]

LOGS: Final = "/api/v1/logs"
SORTS: Final = ("occurred_at", "-occurred_at", "received_at", "-received_at")
DAY_MS: Final = 24 * 3600 * 1000
#: Of a process (docs/operations/guarantees.md).
MAX_MEMORY_BYTES: Final = 400 * 1024 * 1024
STUFFED: Final = ("text", "writer", "objects", "foreign", "event of objects")


class Place(NamedTuple):
    """A tenant with poisoned documents between good ones.

    Attributes:
        access: to the tenant.
        http: of an api that knows no OpenSearch.
        good: ids of events, in the order of both times.
        odd: ids of events that MongoDB finds odd, by kind.
        bad: ids of documents that are no events, by kind; of those with a key of the tenant's form.
    """

    access: Any
    http: httpx.AsyncClient
    good: list[str]
    odd: dict[str, str]
    bad: dict[str, str]

    @property
    def events(self) -> set[str]:
        return {*self.good, *self.odd.values()}


def good_document(tenant: Tenant, time_ms: int) -> dict[str, Any]:
    text = json.dumps(EVENT | {"occurred_at": format_rfc3339(time_ms), "tags": ["a"]}).encode()
    return build_document(tenant, new_id(), text, received_at=time_ms, writer="w", with_attrs=True)


def id_of(document: Mapping[str, Any]) -> str:
    return format_id(bytes(document["_id"])[-16:])


async def poison(running: Any, access: Any, http: httpx.AsyncClient, *, since_ms: int) -> Place:
    """Store one document of each kind, and a good one before and behind each."""
    tenant = access.tenant
    place = Place(access, http, [], {}, {})
    documents: list[Any] = []
    for name, changes in {**UNREADABLE, **ODD}.items():
        good, base = [good_document(tenant, since_ms + len(documents) + n) for n in range(2)]
        place.good.append(id_of(good))
        if name in ODD:
            place.odd[name] = id_of(base)
        elif not name.startswith("key "):
            place.bad[name] = id_of(base)
        documents += [good, poisoned(base, changes)]
    last = good_document(tenant, since_ms + len(documents))
    place.good.append(id_of(last))
    space = await running.space_of(tenant)
    await running.database[space.collection].insert_many([*documents, last])
    return place


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def mongo_only(running: Any) -> AsyncIterator[httpx.AsyncClient]:
    process = await running.stack.start_service("api", extra_env={"OPENSEARCH_URL": ""})
    await process.wait_ready(180)
    async with httpx.AsyncClient(base_url=process.url, timeout=120) as http:
        yield http
    await process.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=list(Isolation))
async def place(running: Any, mongo_only: httpx.AsyncClient, request: Any) -> Place:
    access = await running.tenant(isolation=request.param)
    made = await poison(running, access, mongo_only, since_ms=now_ms() - 10_000)
    await index(running, access.tenant, [*made.good, *made.odd.values(), *made.bad.values()])
    return made


async def index(running: Any, tenant: Tenant, ids: Sequence[str]) -> None:
    """Have the indexer told of documents, good and bad ones in one message."""
    bodies = index_texts(tenant.uid, [parse_id(each) for each in ids], key_of(running.stack))
    stack = running.stack
    async with open_sqs(stack.sqs_endpoint_url, stack.settings.aws_env()) as sqs:
        await send_all(sqs, stack.queues.index, [Outgoing(body, tenant.uid) for body in bodies])


def without_place(sort: str) -> set[str]:
    field = sort.lstrip("-")
    return {name for name in UNREADABLE if name.startswith((f"{field} ", "key "))}


async def get(place: Place, path: str, **params: Any) -> Any:
    answer = await place.http.get(path, params=params, headers=place.access.reader)
    assert answer.status_code == 200, (path, params, answer.text)
    return answer.json()


async def letters_of(running: Any, tenant: Tenant) -> dict[str, str]:
    """Details of dead letters by event id; of documents without one, under an empty id."""
    found = DeadLetterStore(running.database).find(uid=tenant.uid)
    return {letter.get("event_id", ""): letter["detail"] async for letter in found}


async def until_letters(running: Any, place: Place) -> dict[str, str]:
    async def there() -> dict[str, str] | None:
        letters = await letters_of(running, place.access.tenant)
        return letters if set(place.bad.values()) <= letters.keys() else None

    letters: dict[str, str] = await running.eventually(there, timeout_sec=300, what="letters")
    return letters


async def test_the_indexer_keeps_a_letter_of_each_and_indexes_all_others(
    running: Any, place: Place
):
    letters = await until_letters(running, place)
    assert not place.events & letters.keys()

    async def indexed() -> bool:
        return set(await running.indexed_ids(place.access.tenant)) == place.events

    await running.eventually(indexed, timeout_sec=300, what="the good events in the index")


async def test_a_read_by_id_says_that_a_document_is_no_event(place: Place):
    for name, event_id in place.bad.items():
        answer = await place.http.get(f"{LOGS}/{event_id}", headers=place.access.reader)
        assert (answer.status_code, answer.json()["code"]) == (409, "event_unreadable"), name
    for event_id in (place.good[0], *place.odd.values()):
        assert (await get(place, f"{LOGS}/{event_id}"))["id"] == event_id


@pytest.mark.parametrize("limit", [1, 7, 1_000])
@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("params", [{}, {"q": "needle"}], ids=["all", "words"])
async def test_pages_show_every_event_and_every_document_that_has_a_place(
    place: Place, sort: str, limit: int, params: dict[str, str]
):
    items: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    for _ in range(400):
        page = await get(place, LOGS, sort=sort, limit=limit, **params, **cursor)
        items += page["items"]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    else:
        pytest.fail("the pages have no end")
    check_items(place, items, sort)


def check_items(place: Place, items: list[dict[str, Any]], sort: str) -> None:
    good = place.good[::-1] if sort.startswith("-") else place.good
    assert [item["id"] for item in items if item["id"] in set(good)] == good
    shown = {item["id"]: item for item in items}
    assert len(shown) == len(items), "each once"
    for name, event_id in place.odd.items():
        assert shown[event_id]["action"] == EVENT["action"], name
    expected = {place.bad[name] for name in place.bad.keys() - without_place(sort)}
    unreadable = {event_id for event_id, item in shown.items() if "unreadable" in item}
    assert unreadable == expected
    assert all("action" not in shown[event_id] for event_id in unreadable)


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("params", [{}, {"q": "needle"}, {"limit": 10_000}], ids=str)
async def test_an_export_has_every_event_and_a_line_of_every_other_document(
    running: Any, place: Place, sort: str, params: dict[str, Any]
):
    auditor = running.bearer(place.access.tenant, "auditor")
    path, query = f"{LOGS}/export", {"sort": sort, **params}
    answer = await place.http.get(path, params=query, headers=auditor)
    assert answer.status_code == 200, answer.text
    *items, last = map(json.loads, answer.content.splitlines())
    trailer = last["export"]
    assert trailer["complete"], trailer
    displaced = items.pop()
    assert displaced.keys() == {"tenant_id", "unreadable"}
    check_items(place, items, sort)
    assert trailer["events"] == len(items) + 1
    assert trailer["unreadable"] == len([item for item in items if "unreadable" in item]) + 1

    array = await place.http.get(path, params={**query, "format": "json"}, headers=auditor)
    assert array.json() == [*items, displaced]
    table = await place.http.get(
        path, params={**query, "format": "csv", "columns": "action,id"}, headers=auditor
    )
    rows = table.text.splitlines()[1:]
    assert len(rows) == len(items) + 1
    assert sum("unreadable: " in row for row in rows) == trailer["unreadable"]


async def test_an_export_goes_on_behind_any_line(running: Any, place: Place):
    auditor = running.bearer(place.access.tenant, "auditor")
    whole = await place.http.get(f"{LOGS}/export", headers=auditor)
    lines = whole.content.splitlines()[:-1]
    assert len(lines) > len(place.events)
    for at in range(0, len(lines) - 1, 5):
        after = json.loads(lines[at])["id"]
        rest = await place.http.get(f"{LOGS}/export", params={"after": after}, headers=auditor)
        assert rest.content.splitlines()[:-1] == lines[at + 1 :]


@pytest.mark.parametrize(
    "field",
    [
        "action", "actor.id", "actor.type", "target.id", "outcome", "severity", "source.ip",
        "tag", "writer", "request_id", "metadata.plan",
    ],
)  # fmt: skip
async def test_statistics_count_the_events(place: Place, field: str):
    narrow = {"from": "2020-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"}
    for params in (
        {"group_by": field, "interval": "1y", **narrow},
        {"group_by": field, "top": 50},
        {"distinct": field},
        {"interval": "auto"},
        {"group_by": field, "q": "needle", "interval": "1y", **narrow},
    ):
        stats = await get(place, f"{LOGS}/stats", **params)
        assert stats["total"] >= len(place.events)
        values = {
            each["value"]: each["count"] for each in stats.get("groups", {}).get("values", [])
        }
        wanted = {"action": "note.read", "actor.id": "poison", "tag": "a", "writer": "w"}
        if "group_by" in params and field in wanted:
            assert values[wanted[field]] >= len(place.good)


async def test_filters_on_odd_fields_are_answered(place: Place):
    for params in (
        {"action": "note.*"}, {"actor.id": "poison"}, {"tag": "a"}, {"source.ip": "10.0.0.0/8"},
        {"target.id": "x*"}, {"outcome": "unknown"}, {"severity.gte": "debug"},
    ):  # fmt: skip
        await get(place, LOGS, limit=1_000, **params)


async def test_a_rebuild_ends_and_the_index_holds_exactly_the_events(running: Any, place: Place):
    await until_letters(running, place)
    headers = place.access.admin
    for body in ({"all": True}, {"ids": [*place.bad.values(), place.good[0]]}):
        asked = await running.http.post(f"{LOGS}/index/bulk", json=body, headers=headers)
        assert asked.status_code == 202, asked.text
        path = asked.headers["Location"]

        async def ended(path: str = path) -> Any:
            job = (await running.http.get(path, headers=headers)).json()
            return job if job["state"] not in ("queued", "running") else None

        job = await running.eventually(ended, timeout_sec=400, what="the rebuild")
        assert job["state"] == "succeeded", job
        assert job["progress"]["refused"] >= 40
        assert set(await running.indexed_ids(place.access.tenant)) == place.events


@pytest.mark.parametrize("isolation", list(Isolation))
async def test_a_purge_deletes_what_is_old_whatever_it_is(
    running: Any, mongo_only: httpx.AsyncClient, isolation: Isolation
):
    access = await running.tenant(isolation=isolation)
    made = await poison(running, access, mongo_only, since_ms=now_ms() - 40 * DAY_MS)

    async def work(transaction: Any) -> None:
        present = await transaction.get(Tenant, access.tenant.uid)
        await transaction.replace(msgspec.structs.replace(present, retention_days=30))

    await running.maker.store.write(work)
    space = await running.space_of(access.tenant)
    collection = running.database[space.collection]
    mine = {"t": access.tenant.uid}
    now = to_datetime(now_ms())

    async def purged() -> bool:
        old = {**mine, "received_at": {"$lt": now - timedelta(days=31)}}
        return await collection.count_documents(old) == 0

    await running.eventually(purged, timeout_sec=300, what="the purge")
    left = {name for name in UNREADABLE if name.startswith("received_at ")}
    assert await collection.count_documents(mine) <= len(left)
    stats = await mongo_only.get(f"{LOGS}/stats", headers=access.reader)
    assert stats.status_code == 200
    read = await mongo_only.get(f"{LOGS}/{made.good[0]}", headers=access.reader)
    assert read.status_code == 404


async def test_documents_of_15_mib_cost_no_reader_more_than_its_memory(running: Any):
    """Each is larger than what a process may hold is divided by their number."""
    access = await running.tenant()
    space = await running.space_of(access.tenant)
    # MongoDB itself has to read them all.
    env = {"OPENSEARCH_URL": "", "OCELOT_SEARCH_TIMEOUT_SEC": "60"}
    process = await running.stack.start_service("api", extra_env=env)
    await process.wait_ready(180)
    workers = [each for each in running.stack.services if each.spec.name in ("indexer", "jobs")]
    pids = {each.spec.name: each.pid for each in workers}
    good, bad = [], []
    since = now_ms() - 10_000
    collection = running.database[space.collection]
    for _ in range(6):
        for name in STUFFED:
            between = good_document(access.tenant, since + 2 * len(bad))
            large = good_document(access.tenant, since + 2 * len(bad) + 1)
            good.append(id_of(between))
            (good if name == "foreign" else bad).append(id_of(large))
            await collection.insert_many([between, stuffed(name, large)])
    await index(running, access.tenant, [*good, *bad])
    async with httpx.AsyncClient(base_url=process.url, timeout=120) as http:
        place = Place(access, http, good, {}, {str(n): each for n, each in enumerate(bad)})
        page = await get(place, LOGS, limit=1_000)
        words = await get(place, LOGS, limit=1_000, q="needle")
        for found in (page, words):
            shown = {item["id"] for item in found["items"] if "unreadable" not in item}
            assert shown == set(good)
        auditor = running.bearer(access.tenant, "auditor")
        export = await http.get(f"{LOGS}/export", headers=auditor)
        assert json.loads(export.content.splitlines()[-1])["export"]["unreadable"] == len(bad)
        for event_id in bad:
            answer = await http.get(f"{LOGS}/{event_id}", headers=access.reader)
            assert answer.status_code == 409
        await get(place, f"{LOGS}/stats", group_by="writer")
    await until_letters(running, place)
    asked = await running.http.post(f"{LOGS}/index/bulk", json={"all": True}, headers=access.admin)

    async def ended() -> Any:
        path = asked.headers["Location"]
        job = (await running.http.get(path, headers=access.admin)).json()
        return job if job["state"] not in ("queued", "running") else None

    job = await running.eventually(ended, timeout_sec=400, what="the rebuild")
    assert job["state"] == "succeeded", job
    assert set(await running.indexed_ids(access.tenant)) == set(good)
    peaks = {"api": peak_bytes(process.pid), **{n: peak_bytes(pid) for n, pid in pids.items()}}

    assert {each.spec.name: each.pid for each in workers} == pids, "none ended"
    assert all(peak < MAX_MEMORY_BYTES for peak in peaks.values()), peaks
    await process.stop()
    await collection.delete_many({})


def peak_bytes(pid: int) -> int:
    with open(f"/proc/{pid}/status") as status:  # noqa: PTH123
        [line] = [line for line in status if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024
