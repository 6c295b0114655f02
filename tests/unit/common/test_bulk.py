"""`_bulk` bodies and what is made of the answers."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Histogram

from ocelot_common.bulk import BulkWriter, Candidate
from ocelot_common.ids import format_id, new_id
from ocelot_common.registry.model import Home, IndexRange, Isolation, Space, Tenant, TenantState
from ocelot_common.stored import StoredEvent

UID = "0123456789abcdef"
INDEX = "logs_acme_2026-11_000001"
NEXT = "logs_acme_2026-11_000002"


def home(isolation: Isolation = Isolation.DEDICATED) -> Home:
    return Home(
        Tenant(
            uid=UID,
            id="acme",
            version=1,
            display_name="Acme",
            owner="cli",
            isolation=isolation,
            state=TenantState.ACTIVE,
            space="logs_acme",
            created_at=datetime.now(UTC),
        ),
        Space(
            name="logs_acme",
            version=1,
            key="k",
            collection="logs_acme",
            search_enabled=True,
            alias="logs_acme",
        ),
    )


def candidate(
    text: str = '{"action":"a","actor":{"id":"u"}}',
    *,
    isolation: Isolation = Isolation.DEDICATED,
    rev: int = 1,
) -> Candidate:
    stored = StoredEvent(
        id=new_id(), uid=UID, received_at=1, occurred_at=1, seq=1, writer="w", rev=rev, text=text
    )
    return Candidate(home(isolation), stored, written(INDEX))


def written(index: str, *, beside: str | None = None) -> IndexRange:
    return IndexRange(
        start=datetime(2026, 11, 1, tzinfo=UTC),
        end=datetime(2026, 12, 1, tzinfo=UTC),
        alias="logs_acme_2026-11",
        index=index,
        beside=beside,
    )


class FakeOpenSearch:
    def __init__(self, *answers: dict[str, Any]) -> None:
        self.answers = list(answers)
        self.bodies: list[bytes] = []
        self.params: list[dict[str, str]] = []

    async def bulk(self, *, body: bytes, params: dict[str, str]) -> dict[str, Any]:
        self.bodies.append(body)
        self.params.append(params)
        if self.answers:
            return self.answers.pop(0)
        return {"errors": False, "items": [{"index": {"status": 201}}] * (body.count(b"\n") // 2)}


def writer(search: FakeOpenSearch, *, bulk_bytes: int = 1_000_000) -> BulkWriter[Candidate]:
    fake: Any = search
    seconds = Histogram("bulk_seconds", "Time of a request", registry=CollectorRegistry())
    return BulkWriter(fake, seconds, bulk_bytes=bulk_bytes)


async def test_an_action_names_alias_id_and_revision():
    search = FakeOpenSearch()
    one = candidate(rev=3)
    await writer(search).write([one])
    action, document = search.bodies[0].splitlines()
    assert json.loads(action) == {
        "index": {
            "_index": f"{INDEX}_w",
            "_id": format_id(one.stored.id),
            "version": 3,
            "version_type": "external",
        }
    }
    assert json.loads(document)["event"] == {"action": "a", "actor": {"id": "u"}}
    assert search.params[0]["require_alias"] == "true"


async def test_a_shared_tenants_action_carries_uid_and_routing():
    search = FakeOpenSearch()
    one = candidate(isolation=Isolation.SHARED)
    await writer(search).write([one])
    action = json.loads(search.bodies[0].splitlines()[0])["index"]
    assert action["_id"] == f"{UID}:{format_id(one.stored.id)}"
    assert action["routing"] == UID


async def test_requests_are_cut_by_size():
    search = FakeOpenSearch()
    many = [candidate() for _ in range(10)]
    result = await writer(search, bulk_bytes=1_000).write(many)
    assert len(search.bodies) > 1
    assert all(len(body) <= 1_000 for body in search.bodies)
    assert result.indexed == many


@pytest.mark.parametrize(
    ("status", "error", "where"),
    [
        (201, None, "indexed"),
        (200, None, "indexed"),
        (409, "version_conflict_engine_exception", "indexed"),
        (429, "rejected_execution_exception", "busy"),
        (503, "unavailable_shards_exception", "busy"),
        (404, "index_not_found_exception", "homeless"),
        (400, "mapper_parsing_exception", "refused"),
    ],
)
async def test_each_item_is_judged_by_itself(status: int, error: str | None, where: str):
    item: dict[str, Any] = {"status": status}
    if error:
        item["error"] = {"type": error, "reason": "because"}
    search = FakeOpenSearch(
        {"errors": True, "items": [{"index": item}, {"index": {"status": 201}}]}
    )
    first, second = candidate(), candidate()
    result = await writer(search).write([first, second])
    found = getattr(result, where)
    assert first in ([each for each, _ in found] if where == "refused" else found)
    assert second in result.indexed


async def test_a_stored_text_that_is_no_event_is_refused_and_the_others_are_sent():
    search = FakeOpenSearch()
    bad, good = candidate('{"actor":{"id":"u"}}'), candidate()
    result = await writer(search).write([bad, good])
    assert [each for each, _ in result.refused] == [bad]
    assert result.indexed == [good]


async def test_an_event_of_a_range_with_two_indices_goes_into_both():
    search = FakeOpenSearch()
    one = candidate()
    one.range = written(INDEX, beside=NEXT)
    result = await writer(search).write([one])
    first, document, second, same = search.bodies[0].splitlines()
    assert [json.loads(line)["index"]["_index"] for line in (first, second)] == [
        f"{INDEX}_w",
        f"{NEXT}_w",
    ]
    assert document == same
    assert result.indexed == [one]


@pytest.mark.parametrize(
    ("first", "second", "where"),
    [
        (201, 201, "indexed"),
        (409, 201, "indexed"),
        (201, 429, "busy"),
        (429, 201, "busy"),
        (404, 201, "homeless"),
        (201, 404, "indexed"),  # a second index that is gone is never searched
        (400, 400, "refused"),
    ],
)
async def test_an_event_counts_as_indexed_when_both_indices_have_it(
    first: int, second: int, where: str
):
    error = {"type": "mapper_parsing_exception", "reason": "because"}
    items = [
        {"index": {"status": status} | ({"error": error} if status >= 400 else {})}
        for status in (201, first, second, 201)
    ]
    search = FakeOpenSearch({"errors": True, "items": items})
    before, one, after = candidate(), candidate(), candidate()
    one.range = written(INDEX, beside=NEXT)
    result = await writer(search).write([before, one, after])
    found = {
        "indexed": result.indexed,
        "busy": result.busy,
        "homeless": result.homeless,
        "refused": [each for each, _ in result.refused],
    }
    assert [name for name, each in found.items() if one in each] == [where]
    assert before in result.indexed
    assert after in result.indexed


@pytest.mark.parametrize("byte", [*range(0x20)], ids=hex)
async def test_a_stored_text_with_a_control_byte_is_refused_wherever_it_stands(byte: int):
    """A line break would end the document, and begin an action of whoever wrote the text."""
    char = chr(byte)
    texts = [
        f'{{"action":"a",{char}"actor":{{"id":"u"}}}}',
        f'{{"action":"a","actor":{{"id":"u"}}}}{char}',
        f'{{"action":"a","actor":{{"id":"u"}},"metadata":{{"k":{char}1}}}}',
        f'{{"action":"a","actor":{{"id":"u"}},"metadata":{{"k":"x{char}"}}}}',
        f'{{"action":"a","actor":{{"id":"u"}},"message":"x{char}y"}}',
    ]
    search = FakeOpenSearch()
    good = candidate()
    bad = [candidate(text) for text in texts]
    result = await writer(search).write([*bad[:2], good, *bad[2:]])
    assert [each for each, _ in result.refused] == bad
    assert result.indexed == [good]
    [body] = search.bodies
    assert body.count(b"\n") == 2


UNCLEAR: dict[str, Any] = {
    "an item more": {"errors": True, "items": [{"index": {"status": 201}}] * 4},
    "an item less": {"errors": False, "items": [{"index": {"status": 201}}] * 2},
    "no items": {"errors": False},
    "items that are text": {"errors": True, "items": ["a", "b", "c"]},
    "items without a status": {"errors": True, "items": [{"index": {}}] * 3},
    "items that are empty": {"errors": True, "items": [{}] * 3},
    "another shape": [],
}


@pytest.mark.parametrize("answer", UNCLEAR.values(), ids=UNCLEAR)
async def test_after_an_answer_without_a_verdict_per_document_each_is_sent_alone(answer: Any):
    refused = {
        "errors": True,
        "items": [{"index": {"status": 400, "error": {"type": "t", "reason": "because"}}}],
    }
    good = {"errors": False, "items": [{"index": {"status": 201}}]}
    search = FakeOpenSearch(answer, good, refused, answer)
    first, second, third = candidate(), candidate(), candidate()
    result = await writer(search).write([first, second, third])
    assert len(search.bodies) == 4
    assert result.indexed == [first]
    assert [each for each, _ in result.refused] == [second]
    assert result.busy == [third]  # and is sent again: no verdict is no refusal
