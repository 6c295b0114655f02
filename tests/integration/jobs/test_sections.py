"""Copying and comparing at the borders of their windows."""

import asyncio
import random
from collections.abc import AsyncIterator
from sys import getsizeof
from typing import Any

import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry, Histogram

from ocelot_common import stored_steps
from ocelot_common.bulk import BulkWriter, Candidate
from ocelot_common.dead_letters import DeadLetterStore
from ocelot_common.ids import format_id, new_id
from ocelot_common.provisioning.indices import IndexMaker
from ocelot_common.registry.model import Home, IndexRange, Isolation
from ocelot_common.search_document import document_id
from ocelot_common.stored import build_document
from ocelot_common.timestamps import now_ms, to_datetime, to_ms
from ocelot_jobs import sections as module
from ocelot_jobs.metrics import JobsMetrics
from ocelot_jobs.sections import Done, IndexGoneError, Position, Section, Sections

pytestmark = [pytest.mark.mongodb, pytest.mark.sqs, pytest.mark.opensearch]

TEXT = b'{"action":"doc.read","actor":{"id":"u"}}'
#: Of an event, as `read_steps` counts it.
SIZE = getsizeof(TEXT.decode()) + getsizeof("w")
NUMBER = 60


@pytest.fixture
def sections(running: Any, monkeypatch: pytest.MonkeyPatch) -> Sections:
    """With windows of a few events."""
    monkeypatch.setattr(module, "_COPY_EVENTS", 5)
    monkeypatch.setattr(module, "_COMPARE_EVENTS", 7)
    registry = CollectorRegistry()
    writer: BulkWriter[Candidate] = BulkWriter(
        running.search, Histogram("bulk_seconds", "…", registry=registry), bulk_bytes=1_000_000
    )
    return Sections(
        database=running.database,
        opensearch=running.search,
        writer=writer,
        dead_letters=DeadLetterStore(running.database),
        metrics=JobsMetrics(registry),
    )


@pytest_asyncio.fixture(loop_scope="session", params=list(Isolation))
async def place(
    running: Any, request: pytest.FixtureRequest
) -> AsyncIterator[tuple[Section, IndexRange, list[bytes]]]:
    """Sixty events, many of one millisecond, and an empty index for them."""
    access = await running.tenant(isolation=request.param)
    space = await running.space_of(access.tenant)
    home = Home(access.tenant, space)
    now = now_ms()
    ids = [new_id() for _ in range(NUMBER)]
    rng = random.Random(1)
    rng.shuffle(ids)
    documents = [
        build_document(
            access.tenant,
            event_id,
            TEXT,
            received_at=now - rng.randrange(9),
            writer="w",
            with_attrs=False,
        )
        for event_id in ids
    ]
    await running.database[space.collection].insert_many(documents)
    entry = space.range_at(to_datetime(now))
    maker = IndexMaker(running.maker.store, running.search)
    index = f"{entry.index}_{access.tenant.uid}"
    await maker.make_next(space, index)
    into = IndexRange(start=entry.start, end=entry.end, alias=entry.alias, index=index)
    yield Section(home, to_ms(entry.start), to_ms(entry.end)), into, ids
    await maker.remove(index)


async def indexed(running: Any, into: IndexRange) -> set[str]:
    await running.search.indices.refresh(index=into.index)
    body = {"size": 1_000, "query": {"match_all": {}}}
    answer = await running.search.search(index=into.index, body=body)
    return {hit["_source"]["id"] for hit in answer["hits"]["hits"]}


class Steps:
    """What a walk reports."""

    def __init__(self) -> None:
        self.done: list[Done] = []

    async def __call__(self, done: Done) -> None:
        self.done.append(done)


async def test_a_copy_holds_everything_and_tells_where_it_stands(
    running: Any, sections: Sections, place: Any
):
    section, into, ids = place
    steps = Steps()
    await sections.copy(section, into, None, steps)
    assert await indexed(running, into) == set(map(format_id, ids))
    positions = [done.position for done in steps.done]
    assert positions == sorted(positions)
    assert sum(done.events for done in steps.done) == NUMBER == await sections.count(section)


async def test_a_copy_reads_and_writes_steps_of_bounded_bytes(
    running: Any, sections: Sections, place: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(stored_steps, "STEP_BYTES", 2 * SIZE)
    section, into, ids = place
    steps = Steps()
    await sections.copy(section, into, None, steps)
    assert await indexed(running, into) == set(map(format_id, ids))
    assert [done.events for done in steps.done] == [2, 2, 1] * (NUMBER // 5)
    positions = [done.position for done in steps.done]
    assert positions == sorted(positions)


async def test_events_that_are_asked_for_by_id_come_in_steps_of_bounded_bytes(
    running: Any, sections: Sections, place: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(stored_steps, "STEP_BYTES", 2 * SIZE)
    section, into, ids = place
    steps = Steps()
    await sections.compare(section, into, None, steps)
    assert await indexed(running, into) == set(map(format_id, ids))
    assert sum(done.added for done in steps.done) == NUMBER


async def test_copies_of_all_jobs_hold_four_steps_together(
    sections: Sections, place: Any, monkeypatch: pytest.MonkeyPatch
):
    section, into, _ = place
    copied = sections._copy_step
    under_way = most = 0

    async def spy(*arguments: Any) -> Done:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        try:
            await asyncio.sleep(0.01)
            return await copied(*arguments)
        finally:
            under_way -= 1

    monkeypatch.setattr(sections, "_copy_step", spy)
    all_steps = [Steps() for _ in range(6)]
    await asyncio.gather(*(sections.copy(section, into, None, steps) for steps in all_steps))
    assert most == module._STEPS_HELD
    for steps in all_steps:
        assert sum(done.events for done in steps.done) == NUMBER


async def test_a_copy_that_fails_leaves_room_for_others(
    running: Any, sections: Sections, place: Any, monkeypatch: pytest.MonkeyPatch
):
    section, into, ids = place

    async def fail(*_: Any) -> Done:
        raise KeyError("x")

    for _ in range(module._STEPS_HELD + 1):
        with monkeypatch.context() as patched:
            patched.setattr(sections, "_copy_step", fail)
            with pytest.raises(KeyError):
                await sections.copy(section, into, None, Steps())
    async with asyncio.timeout(120):
        await sections.copy(section, into, None, Steps())
    assert await indexed(running, into) == set(map(format_id, ids))


async def test_a_copy_goes_on_behind_a_position(running: Any, sections: Sections, place: Any):
    section, into, ids = place
    steps = Steps()
    await sections.copy(section, into, None, steps)
    for event_id in ids:
        await remove(running, section, into, event_id)
    half = steps.done[5].position
    again = Steps()
    await sections.copy(section, into, half, again)
    assert sum(done.events for done in again.done) == NUMBER - 30
    assert min(done.position for done in again.done) > half


async def remove(running: Any, section: Section, into: IndexRange, event_id: bytes) -> None:
    tenant = section.home.tenant
    params = {"routing": tenant.uid} if tenant.shared else {}
    await running.search.delete(index=into.index, id=document_id(tenant, event_id), params=params)


@pytest.mark.parametrize("way", ["compare", "confirm"])
async def test_a_comparison_adds_what_lacks_and_removes_what_nobody_stored(
    running: Any, sections: Sections, place: Any, way: str
):
    section, into, ids = place
    bring_even = getattr(sections, way)
    forget = {"index": {"gc_deletes": "0s"}}
    await running.search.indices.put_settings(index=into.index, body=forget)
    await sections.copy(section, into, None, Steps())
    tenant = section.home.tenant
    params = {"routing": tenant.uid} if tenant.shared else {}
    rng = random.Random(2)
    lost = set(rng.sample(ids, 17))
    sample = await running.search.get(
        index=into.index, id=document_id(tenant, ids[0]), params=params
    )
    for event_id in lost:
        await remove(running, section, into, event_id)
    await asyncio.sleep(2)  # OpenSearch's clock, by which it forgets, ticks five times a second
    strays = [new_id() for _ in range(20)]
    for stray in strays:
        source = sample["_source"] | {
            "id": format_id(stray),
            "received_at": sample["_source"]["received_at"] + rng.randrange(-20, 20),
        }
        await running.search.index(
            index=into.index, id=document_id(tenant, stray), body=source, params=params
        )
    assert len(await indexed(running, into)) == NUMBER - 17 + 20
    steps = Steps()
    await bring_even(section, into, None, steps)
    assert await indexed(running, into) == set(map(format_id, ids))
    assert sum(done.added for done in steps.done) == 17
    assert sum(done.removed for done in steps.done) == 20
    again = Steps()
    await bring_even(section, into, None, again)
    assert {(done.added, done.removed) for done in again.done} == {(0, 0)}


async def test_of_windows_that_count_alike_no_ids_are_compared(
    running: Any, sections: Sections, place: Any, monkeypatch: pytest.MonkeyPatch
):
    section, into, ids = place
    monkeypatch.setattr(module, "_CONFIRM_EVENTS", 11)
    await sections.copy(section, into, None, Steps())
    await running.search.indices.refresh(index=into.index)
    asked: list[dict[str, Any]] = []
    search = running.search.search

    async def spy(**arguments: Any) -> Any:
        asked.append(arguments)
        return await search(**arguments)

    monkeypatch.setattr(running.search, "search", spy)
    whole = Steps()
    await sections.confirm(section, into, None, whole)
    assert not asked
    assert [done.events for done in whole.done] == [11, 11, 11, 11, 11, 5]
    assert sum(done.added + done.removed for done in whole.done) == 0

    await running.search.indices.put_settings(
        index=into.index, body={"index": {"gc_deletes": "0s"}}
    )
    at = whole.done[2].position
    await remove(running, section, into, at.event_id)
    await asyncio.sleep(2)
    await running.search.indices.refresh(index=into.index)
    mended = Steps()
    await sections.confirm(section, into, whole.done[0].position, mended)
    assert {arguments["index"] for arguments in asked} == {into.index}
    assert sum(done.events for done in mended.done) == NUMBER - 11
    # Only the window that ends with it was looked into, in two parts.
    assert [done.events for done in mended.done] == [11, 7, 4, 11, 11, 5]
    assert [done.added for done in mended.done] == [0, 0, 1, 0, 0, 0]
    assert await indexed(running, into) == set(map(format_id, ids))


@pytest.mark.parametrize("after", [False, True])
async def test_counting_reads_an_index_and_no_event(
    running: Any, sections: Sections, place: Any, after: bool
):
    section, _, _ = place
    position = await sections._position_after(section, None, 11) if after else None
    assert await sections.count(section, position) == NUMBER - 11 * after
    collection = running.database[section.home.space.collection]
    pipeline = [{"$match": section.query_of_index(position)}, {"$group": {"_id": 1}}]
    counting = {"aggregate": collection.name, "pipeline": pipeline, "cursor": {}}
    finding = {
        "find": collection.name,
        "filter": section.query_of_index(position),
        "projection": {"received_at": 1},
        "sort": {"received_at": 1, "_id": 1},
        "skip": 3,
        "limit": 1,
    }
    for command in (counting, finding):
        plan = await running.database.command({"explain": command, "verbosity": "executionStats"})
        plan = plan.get("stages", [{}])[0].get("$cursor", plan)
        assert plan["executionStats"]["executionSuccess"]
        assert plan["executionStats"]["totalKeysExamined"] > 0
        assert plan["executionStats"]["totalDocsExamined"] == 0, plan["queryPlanner"]


async def test_an_index_that_is_gone_is_noticed(running: Any, sections: Sections, place: Any):
    section, into, _ = place
    await running.search.indices.delete(index=into.index)
    with pytest.raises(IndexGoneError):
        await sections.copy(section, into, None, Steps())
    with pytest.raises(IndexGoneError):
        await sections.compare(section, into, Position(0, b"\0" * 16), Steps())
    with pytest.raises(IndexGoneError):
        await sections.confirm(section, into, None, Steps())
