"""What is odd and valid comes back as it went in, and is found, in bounded memory."""

import json
from typing import Any, NamedTuple

import httpx
import pytest
import pytest_asyncio

from badinput.memory import Peak
from badinput.oddities import ACTIONS, IDS, Oddity, attrs_bomb, oddities
from badinput.rows import LOGS, text
from badinput.sending import accepted
from ocelot_common.ids import format_id
from ocelot_common.registry.model import Isolation

pytestmark = [pytest.mark.mongodb, pytest.mark.sqs, pytest.mark.opensearch]

ROWS = [
    *((f"odd.{number}", row) for number, row in enumerate(oddities())),
    *((action, Oddity(f"action {action!r:.20}", {})) for action in ACTIONS),
    *((f"odd.id.{given}", Oddity(f"id {given}", {"id": given})) for given in IDS),
]
#: 100 events of 50 KB, which take 6 GB if their paths are written out.
BOMBS = 100
BOMBS_GROWTH_BYTES = 128 * 1024 * 1024
SERVER = ("id", "tenant_id", "received_at", "writer", "seq")


class Sent(NamedTuple):
    """The rows after they were sent, by name: the event's id and its text."""

    access: Any
    ids: dict[str, str]
    raws: dict[str, bytes]


@pytest_asyncio.fixture(
    scope="module",
    loop_scope="session",
    params=[Isolation.DEDICATED, Isolation.SHARED],
    ids=lambda isolation: isolation.value,
)
async def sent(request: pytest.FixtureRequest, running: Any) -> Sent:
    access = await running.tenant(isolation=request.param)
    ids, raws = {}, {}
    for number, (action, row) in enumerate(ROWS):
        raw = raws[row.name] = row.raw(action)
        answer = await accepted(
            running.http, raw, access.writer | {"Idempotency-Key": f"odd-{number}"}
        )
        ids[row.name] = answer.json()["id"]
    await running.until_stored(access.tenant, len(ROWS))
    await running.until_indexed(access.tenant, len(ROWS))
    return Sent(access, ids, raws)


def normal(raw: str | bytes, *without: str) -> str:
    """Another reader's view of an event: `1` is not `1.0`, and `0.0` not `-0.0`."""
    document = json.loads(raw)
    kept = {name: value for name, value in document.items() if name not in without}
    return json.dumps(kept, sort_keys=True)


def test_there_are_many_and_all_are_distinct():
    assert len(ROWS) >= 100
    assert len({row.name for _, row in ROWS}) == len(ROWS)
    assert len({action for action, _ in ROWS}) == len(ROWS)


@pytest.mark.parametrize(("action", "row"), ROWS, ids=[row.name for _, row in ROWS])
async def test_an_odd_event_comes_back_as_it_went_in(
    sent: Sent, running: Any, mongo_only: httpx.AsyncClient, action: str, row: Oddity
):
    event_id, raw = sent.ids[row.name], sent.raws[row.name]
    wanted = normal(raw, "id")
    answer = await running.http.get(f"{LOGS}/{event_id}", headers=sent.access.reader)
    assert answer.status_code == 200
    assert normal(answer.content, *SERVER) == wanted
    # From the index, and from MongoDB alone.
    for http, backend in ((running.http, "opensearch"), (mongo_only, "mongodb")):
        for parameters in ({"action": action}, row.search | {"action": action}):
            found = await http.get(LOGS, params=parameters, headers=sent.access.reader)
            assert found.status_code == 200, found.text
            body = found.json()
            assert body["backend"] == backend
            assert [item["id"] for item in body["items"]] == [event_id]
            assert normal(json.dumps(body["items"][0])) == normal(answer.content)


@pytest.mark.parametrize("row", [row for _, row in ROWS if row.attrs], ids=lambda row: row.name)
async def test_its_attrs_can_be_asked_for(sent: Sent, running: Any, row: Oddity):
    space = await running.space_of(sent.access.tenant)
    for entry in row.attrs:
        query = [{"term": {"t": sent.access.tenant.uid}}, {"term": {"attrs": entry}}]
        body = {"query": {"bool": {"filter": query}}, "_source": ["id"], "size": 1_000}
        names = ",".join(part.index for part in space.indices)
        answer = await running.search.search(index=names, body=body)
        ids = [hit["_source"]["id"] for hit in answer["hits"]["hits"]]
        assert sent.ids[row.name] in ids, entry


async def test_nothing_of_it_became_a_dead_letter(sent: Sent, running: Any):
    stored = {format_id(event.id): event.text for event in await running.stored(sent.access.tenant)}
    assert sorted(stored) == sorted(sent.ids.values())
    for name, event_id in sent.ids.items():
        assert normal(stored[event_id]) == normal(sent.raws[name], "id")
    letters = running.database["dead_letters"]
    assert await letters.count_documents({"t": sent.access.tenant.uid}) == 0


async def test_attrs_bombs_are_stored_and_indexed_in_bounded_memory(running: Any):
    access = await running.tenant()
    lines = [text(metadata=attrs_bomb(number)) for number in range(BOMBS)]
    assert all(40_000 < len(line) < 65_536 for line in lines)
    services = running.stack.services[:3]
    assert {service.spec.name for service in services} == {"api", "consumer", "indexer"}
    peaks = {service.spec.name: Peak(service.pid) for service in services}
    for line in lines:
        await accepted(running.http, line, access.writer | {"Idempotency-Key": "bomb"})
    await running.until_indexed(access.tenant, BOMBS)
    for name, peak in peaks.items():
        assert peak.growth < BOMBS_GROWTH_BYTES, name
