"""What workers read and write at once is bounded by bytes, on a real MongoDB."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from sys import getsizeof
from typing import Any, NamedTuple

import bson
import pytest
import pytest_asyncio
from bson import Binary, Timestamp
from bson.datetime_ms import DatetimeMS
from bson.raw_bson import RawBSONDocument
from prometheus_client import CollectorRegistry
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase

from ocelot_common import mongo
from ocelot_common.dead_letters import DeadLetter, DeadLetterStore, Reason, Stage
from ocelot_common.ids import new_id
from ocelot_common.mongo import events_of
from ocelot_common.reading import MAX_TEXT_BYTES, Unreadable, read_document, read_projection
from ocelot_common.registry.model import Isolation
from ocelot_common.stored_steps import STEP_BYTES, read_steps
from ocelot_common.timestamps import now_ms
from ocelot_consumer.metrics import ConsumerMetrics
from ocelot_consumer.storing import EventStore, StoreResult
from ocelot_consumer.work import Arrival, Outcome

pytestmark = pytest.mark.mongodb

MIB = 1024 * 1024
SMALL = '{"action":"a","actor":{"id":"u"}}'


def large(filler: str = "x") -> str:
    """A text of record of about 64 KiB."""
    return f'{{"action":"a","actor":{{"id":"u"}},"message":"{filler}{"x" * 65_000}"}}'


class _Of(NamedTuple):
    """What storing asks of a tenant and of its space."""

    uid: str = "0123456789abcdef"
    isolation: Isolation = Isolation.DEDICATED
    shared: bool = False
    collection: str = "events"
    search_enabled: bool = True


TENANT: Any = _Of()


class Place(NamedTuple):
    """An empty database."""

    database: AsyncDatabase[dict[str, Any]]
    events: AsyncCollection[dict[str, Any]]

    async def insert(self, *texts: str, writer: str = "w") -> None:
        """Store documents in an order that `_id` has, too."""
        documents = [
            {
                "_id": Binary(number.to_bytes(16, "big"), 4),
                "v": 1,
                "rev": 1,
                "t": TENANT.uid,
                "seq": Timestamp(0, 0),
                "received_at": DatetimeMS(number),
                "occurred_at": DatetimeMS(number),
                "writer": writer,
                "event": text,
            }
            for number, text in enumerate(texts)
        ]
        await self.events.insert_many(documents)

    async def read(self, **more: Any) -> list[list[dict[str, Any]]]:
        """Read everything in steps."""
        more = {"projection": read_projection(TENANT)} | more
        steps = read_steps(self.events, {}, sort=[("_id", 1)], **more)
        async with aclosing(steps):
            return [step async for step in steps]


@pytest_asyncio.fixture(loop_scope="session")
async def place(mongodb_url: str) -> AsyncIterator[Place]:
    client = mongo.connect(mongodb_url, app_name="tests")
    database = client[f"steps_{secrets.token_hex(4)}"]
    yield Place(database, events_of(database, "events"))
    await client.drop_database(database.name)
    await client.close()


async def test_small_events_are_one_step(place: Place):
    await place.insert(*[SMALL] * 3_000)
    [step] = await place.read()
    assert [int(document["received_at"]) for document in step] == list(range(3_000))
    assert {document["event"] for document in step} == {SMALL}


async def test_no_events_are_no_step(place: Place):
    assert await place.read() == []
    await place.insert(SMALL)
    assert await place.read(timeout_sec=10) != []


async def test_a_limit_is_kept(place: Place):
    await place.insert(*[SMALL] * 30)
    assert [len(step) for step in await place.read(limit=20)] == [20]


@pytest.mark.parametrize("filler", ["", "🦊"])
async def test_large_events_come_in_steps_that_are_bounded_as_objects(place: Place, filler: str):
    """An emoji makes Python hold a text in four times its bytes."""
    await place.insert(*[large(filler)] * 600)
    steps = await place.read()
    sizes = [sum(getsizeof(document["event"]) for document in step) for step in steps]
    assert max(sizes) <= STEP_BYTES
    assert len(steps) < 2 * sum(sizes) / STEP_BYTES + 3, "steps are not cut without need"
    found = [int(document["received_at"]) for step in steps for document in step]
    assert found == list(range(600))


async def test_long_writers_count_as_texts_do(place: Place):
    """No token has such a name, but whoever can write to MongoDB can store one."""
    writer = f"🦊{'w' * 9_000}"
    await place.insert(*[SMALL] * 1_000, writer=writer)
    steps = await place.read()
    sizes = [sum(getsizeof(document["writer"]) for document in step) for step in steps]
    assert max(sizes) <= STEP_BYTES < sum(sizes)
    assert sum(len(step) for step in steps) == 1_000


async def test_an_event_that_exceeds_a_step_is_a_step(place: Place):
    await place.insert(SMALL, "x" * (STEP_BYTES + 1), SMALL)
    whole = read_projection(TENANT, most_text_bytes=2 * STEP_BYTES)
    assert [len(step) for step in await place.read(projection=whole)] == [1, 1, 1]


async def test_what_is_left_out_takes_no_room_in_a_step_and_is_known_by_its_key(place: Place):
    fillers = ["x" * (MAX_TEXT_BYTES + 1)] * 20
    await place.insert(SMALL, *fillers, SMALL)
    [step] = await place.read()
    read = [read_document(document) for document in step]
    assert [each.received_at for each in read] == list(range(22))
    assert [isinstance(each, Unreadable) for each in read] == [False, *[True] * 20, False]
    assert all(each.id is not None for each in read)


async def test_who_leaves_early_leaves_no_cursor_open(place: Place):
    await place.insert(*[large()] * 600)

    async def open_cursors() -> int:
        pipeline: list[dict[str, Any]] = [
            {"$currentOp": {"idleCursors": True}},
            {"$match": {"type": "idleCursor", "ns": f"{place.database.name}.events"}},
            {"$project": {"ns": 1}},  # its query holds times that `datetime` cannot
        ]
        found = await place.database.client.admin.aggregate(pipeline)
        return len(await found.to_list())

    read = read_steps(place.events, {}, projection=read_projection(TENANT))
    async with aclosing(read) as steps:
        assert len(await anext(steps)) > 10
        assert await open_cursors() == 1
    assert await open_cursors() == 0


class Inserts:
    """The sizes of what is written to MongoDB, by request: (documents, bytes of text)."""

    def __init__(self) -> None:
        self.sizes: list[tuple[int, int]] = []

    def around(self, insert_many: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
        async def insert(collection: Any, documents: Any, **more: Any) -> Any:
            bytes_ = sum(len(document["event"].encode()) for document in documents)
            self.sizes.append((len(documents), bytes_))
            return await insert_many(collection, documents, **more)

        return insert


@pytest.fixture
def inserts(monkeypatch: pytest.MonkeyPatch) -> Inserts:
    spy = Inserts()
    around = spy.around(AsyncCollection.insert_many)
    monkeypatch.setattr(AsyncCollection, "insert_many", around)
    return spy


def arrivals(
    *texts: str, ids: list[bytes] | None = None, redelivered: bool = False
) -> list[Arrival]:
    return [
        Arrival(
            TENANT, TENANT, event_id, text.encode(), now_ms(), "w", "r", redelivered, internal=False
        )
        for event_id, text in zip(ids or [new_id() for _ in texts], texts, strict=True)
    ]


async def stored(place: Place, events: list[Arrival]) -> StoreResult:
    metrics = ConsumerMetrics(CollectorRegistry())
    return await EventStore(place.database, metrics, max_documents=4_000).store(events)


async def test_small_events_are_inserted_together(place: Place, inserts: Inserts):
    result = await stored(place, arrivals(*[SMALL] * 4_500))
    assert [number for number, _ in inserts.sizes] == [4_000, 500]
    assert result.counts == {Outcome.STORED: 4_500}


async def test_an_insert_is_bounded_by_bytes(place: Place, inserts: Inserts):
    result = await stored(place, arrivals(*[large("🦊")] * 300))
    assert max(bytes_ for _, bytes_ in inserts.sizes) <= 4 * MIB
    assert sum(number for number, _ in inserts.sizes) == 300
    assert len(inserts.sizes) < 10
    assert len(result.stored) == len(result.indexable) == 300


@pytest.mark.parametrize("redelivered", [False, True])
async def test_large_events_that_are_stored_already_are_told_from_others(
    place: Place, redelivered: bool
):
    ids = [new_id() for _ in range(300)]
    await stored(place, arrivals(*[large()] * 300, ids=ids))
    texts = [large("🦊") if number % 3 == 0 else large() for number in range(300)]
    again = arrivals(*texts, ids=ids, redelivered=redelivered)
    fresh = arrivals(SMALL, redelivered=redelivered)
    result = await stored(place, [*again, *fresh, again[1]])
    assert result.counts == {Outcome.STORED: 1, Outcome.DUPLICATE: 201, Outcome.CONFLICT: 100}
    assert [arrival.id for arrival in result.stored] == [fresh[0].id]
    assert {letter.event_id for letter in result.letters} == set(ids[::3])


@pytest.mark.parametrize("redelivered", [False, True])
async def test_a_stored_text_that_is_not_utf8_equals_that_of_no_event(
    place: Place, redelivered: bool
):
    """A document of somebody else must not pass for the acknowledged event."""
    [event] = arrivals(SMALL.replace("u", "?"), redelivered=redelivered)
    raw = bson.encode({"_id": Binary(event.id, 4), "event": event.text.decode()})
    planted: Any = RawBSONDocument(raw.replace(b'"?"', b'"\xff"'))
    await place.events.insert_one(planted)
    result = await stored(place, [event])
    assert (result.counts.get(Outcome.CONFLICT), result.indexable) == (1, [])
    assert [letter.content for letter in result.letters] == [event.text]


async def test_dead_letters_are_written_in_requests_bounded_by_bytes(
    place: Place, monkeypatch: pytest.MonkeyPatch
):
    requests: list[int] = []
    bulk_write = AsyncCollection.bulk_write

    async def spy(collection: Any, letters: Any, **more: Any) -> Any:
        requests.append(len(letters))
        return await bulk_write(collection, letters, **more)

    monkeypatch.setattr(AsyncCollection, "bulk_write", spy)
    contents: list[str | bytes] = [large("🦊"), large("🦊").encode()] * 100
    letters = [
        DeadLetter(
            stage=Stage.STORE,
            reason=Reason.CONFLICT,
            uid="0123456789abcdef",
            event_id=new_id(),
            content=content,
            detail="the id is taken",
        )
        for content in contents
    ]
    store = DeadLetterStore(place.database)
    await store.put(letters)
    await store.put([])
    assert sum(requests) == 200
    assert max(requests) <= 4 * MIB // 65_000
    kept = [letter async for letter in store.find()]
    assert len(kept) == 200
    assert {letter["content"] for letter in kept} == {large("🦊")}
