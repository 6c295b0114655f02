"""Bounds on what a search in MongoDB costs, with a handwritten collection."""

import asyncio
import json
from typing import Any, Self

import pytest
from bson import Binary, Timestamp
from bson.datetime_ms import DatetimeMS
from pymongo.errors import ExecutionTimeout

from ocelot_api.budget import Reservation
from ocelot_api.problems import Problem
from ocelot_api.search import mongo_backend
from ocelot_api.search.filters import AllOf, Word
from ocelot_api.search.mongo_backend import MongoBackend
from ocelot_api.search.mongo_reading import STEP_BYTES
from ocelot_api.search.page import ITEM_BYTES, MAX_PAGE_BYTES
from ocelot_api.search.query import Position, SearchQuery
from ocelot_common.registry.model import Home


def document(number: int, message: str = "word") -> dict[str, Any]:
    event = {"action": "a", "actor": {"id": "u"}, "message": message}
    return {
        "_id": Binary(number.to_bytes(16), 4),
        "t": "0123456789abcdef",
        "v": 1,
        "rev": 1,
        "seq": Timestamp(1, number),
        "received_at": DatetimeMS(number),
        "occurred_at": DatetimeMS(number),
        "writer": "w",
        "event": json.dumps(event),
    }


def _shown(found: dict[str, Any], most: int) -> dict[str, Any]:
    size = len(found["event"])
    return found | {"text_bytes": size, "event": found["event"] if size <= most else None}


class Cursor:
    """As MongoDB's, with its projection of a text's size and of texts that are small."""

    def __init__(self, collection: "Collection", projection: Any, keys: Any) -> None:
        self._collection = collection
        self._left = list(collection.documents)
        if keys is not None:
            self._left = [found for found in self._left if found["_id"] in keys]
            collection.fetched.append(sum(len(found["event"]) for found in self._left))
        elif isinstance(projection["event"], dict):
            most = projection["event"]["$cond"][0]["$and"][1]["$lte"][1]
            self._left = [_shown(found, most) for found in self._left]

    def __aiter__(self) -> "Cursor":
        return self

    async def __anext__(self) -> Any:
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop(0)

    async def __aenter__(self) -> Self:
        self._collection.open_cursors += 1
        return self

    async def __aexit__(self, *error: object) -> None:
        self._collection.open_cursors -= 1

    def sort(self, order: Any) -> "Cursor":
        return self

    def limit(self, number: int) -> "Cursor":
        self._left = self._left[:number]
        return self

    def batch_size(self, number: int) -> "Cursor":
        return self

    def max_time_ms(self, number: int) -> "Cursor":
        self._collection.time_ms.append(number)
        return self

    async def to_list(self, length: int | None = None) -> list[Any]:
        if self._collection.hang:
            await asyncio.Event().wait()
        if self._collection.slow_sec:
            await asyncio.sleep(self._collection.slow_sec)
        size = len(self._left) if length is None else length
        batch, self._left = self._left[:size], self._left[size:]
        return batch


class Collection:
    """Holds documents, in order; a database that is itself all of its collections."""

    def __init__(self) -> None:
        self.documents: list[dict[str, Any]] = []
        self.counts = 0
        self.count_error: Exception | None = None
        self.hang = False
        self.slow_sec = 0.0
        self.open_cursors = 0
        self.fetched: list[int] = []
        self.time_ms: list[int] = []

    def __getitem__(self, name: str) -> "Collection":
        return self

    def with_options(self, **options: Any) -> "Collection":
        return self

    def find(self, conditions: Any, projection: Any) -> Cursor:
        keys = conditions.get("_id", {}).get("$in") if "_id" in conditions else None
        return Cursor(self, projection, keys)

    async def count_documents(self, conditions: Any, *, limit: int, maxTimeMS: int) -> int:  # noqa: N803
        self.counts += 1
        self.time_ms.append(maxTimeMS)
        if self.count_error:
            raise self.count_error
        return min(limit, len(self.documents))


@pytest.fixture
def collection() -> Collection:
    return Collection()


def backend_on(collection: Collection, timeout_sec: float = 5) -> MongoBackend:
    database: Any = collection
    return MongoBackend(database, timeout_sec=timeout_sec)


async def test_a_page_that_is_not_full_is_its_own_total(
    collection: Collection, home: Home, held: Reservation
):
    collection.documents = [document(number) for number in range(1, 6)]
    page = await backend_on(collection).search(SearchQuery(home=home, limit=5), held)
    assert (len(page.items), page.more, page.total) == (5, False, (5, "eq"))
    assert collection.counts == 0


async def test_a_full_page_is_counted_and_so_is_one_that_is_not_the_first(
    collection: Collection, home: Home, held: Reservation
):
    collection.documents = [document(number) for number in range(1, 12)]
    page = await backend_on(collection).search(SearchQuery(home=home, limit=10), held)
    assert (len(page.items), page.more, page.total) == (10, True, (11, "eq"))
    later = SearchQuery(home=home, limit=100, after=Position(1, bytes(16)))
    assert (await backend_on(collection).search(later, held)).total == (11, "eq")
    assert collection.counts == 2


async def test_totals_are_exact_up_to_ten_thousand(
    collection: Collection, home: Home, held: Reservation
):
    for number, total in ((10_000, (10_000, "eq")), (10_001, (10_000, "gte"))):
        collection.documents = [document(n) for n in range(1, number + 1)]
        page = await backend_on(collection).search(SearchQuery(home=home, limit=10), held)
        assert page.total == total


async def test_a_count_that_takes_too_long_costs_a_second_and_no_page(
    collection: Collection, home: Home, held: Reservation
):
    collection.documents = [document(number) for number in range(1, 12)]
    collection.count_error = ExecutionTimeout("slow")
    page = await backend_on(collection).search(SearchQuery(home=home, limit=10), held)
    assert (len(page.items), page.total) == (10, (11, "gte"))
    assert collection.time_ms == [5_000, 1_000]


async def test_a_server_that_does_not_answer_is_waited_for_a_bounded_time(
    collection: Collection, home: Home, held: Reservation, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(mongo_backend, "_GRACE_SEC", 0.05)
    collection.hang = True
    for condition in (AllOf(), Word("word")):
        with pytest.raises(Problem) as caught:
            await backend_on(collection, 0.05).search(
                SearchQuery(home=home, filter=condition), held
            )
        assert (caught.value.status, caught.value.code) == (504, "search_timeout")


class TestWords:
    async def test_only_events_with_every_word_are_found(
        self, collection: Collection, home: Home, held: Reservation
    ):
        collection.documents = [document(1, "Red car"), document(2, "red"), document(3, "car RED")]
        page = await backend_on(collection).search(
            SearchQuery(home=home, filter=AllOf((Word("car"), Word("red")))), held
        )
        assert [item.position.time_ms for item in page.items] == [1, 3]
        assert page.total == (2, "eq")

    async def test_reading_ends_once_the_page_is_full(
        self, collection: Collection, home: Home, held: Reservation
    ):
        collection.documents = [document(number) for number in range(1, 3_001)]
        query = SearchQuery(home=home, filter=Word("word"), limit=10)
        page = await backend_on(collection).search(query, held)
        assert (len(page.items), page.more, page.total.relation) == (10, True, "gte")
        assert collection.open_cursors == 0  # the server keeps nothing of it

    async def test_twenty_thousand_events_are_compared_and_no_more(
        self, collection: Collection, home: Home, held: Reservation, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr(mongo_backend, "MAX_SCANNED", 1_000)
        query = SearchQuery(home=home, filter=Word("other"))
        collection.documents = [document(number) for number in range(1, 1_001)]
        assert (await backend_on(collection).search(query, held)).total == (0, "eq")
        collection.documents.append(document(2_000))
        with pytest.raises(Problem) as caught:
            await backend_on(collection).search(query, held)
        assert (caught.value.status, caught.value.code) == (503, "search_too_broad")
        assert caught.value.headers["Retry-After"]

    async def test_comparing_ends_in_time(
        self, collection: Collection, home: Home, held: Reservation
    ):
        collection.documents = [document(number) for number in range(1, 3_001)]
        collection.slow_sec = 0.1
        with pytest.raises(Problem) as caught:
            await backend_on(collection, 0.2).search(
                SearchQuery(home=home, filter=Word("other")), held
            )
        assert caught.value.code == "search_too_broad"


class TestLargeEvents:
    async def test_they_are_fetched_in_steps_of_two_mebibytes_until_the_page_is_full(
        self, collection: Collection, home: Home, held: Reservation
    ):
        sizes = [10, 250_000, 10, *[250_000] * 60, 10]
        collection.documents = [
            document(number, "x" * size) for number, size in enumerate(sizes, start=1)
        ]
        query = SearchQuery(home=home, limit=1_000)
        page = await backend_on(collection).search(query, held)
        assert max(collection.fetched) <= STEP_BYTES
        assert sum(collection.fetched) <= MAX_PAGE_BYTES + STEP_BYTES
        assert [item.position.time_ms for item in page.items] == list(range(1, 36))
        assert page.more
        assert sum(len(item.json) for item in page.items) <= MAX_PAGE_BYTES
        assert held.size == sum(len(item.json) + ITEM_BYTES for item in page.items)

    async def test_one_that_was_deleted_meanwhile_is_left_out_and_nothing_else(
        self, collection: Collection, home: Home, held: Reservation
    ):
        collection.documents = [document(number, "x" * 9_000) for number in range(1, 1_200)]
        query = SearchQuery(home=home, limit=1_500)
        real = collection.find

        def find(conditions: Any, projection: Any) -> Cursor:
            if "_id" in conditions:
                conditions = {"_id": {"$in": [k for k in conditions["_id"]["$in"] if k[-1] != 7]}}
            return real(conditions, projection)

        collection.find = find  # type: ignore[method-assign]
        stretch = await backend_on(collection).follow(query, stored_until=2**62)
        assert stretch.end is not None, "two mebibytes end a part"
        times = [item.position.time_ms for item in stretch.items]
        assert times == [time for time in range(1, stretch.end.time_ms + 1) if time % 256 != 7]
