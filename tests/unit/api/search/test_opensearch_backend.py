"""What is asked of OpenSearch, and what is made of its answers."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from opensearchpy.exceptions import ConnectionError as OpenSearchConnectionError
from opensearchpy.exceptions import ConnectionTimeout, NotFoundError, TransportError

from ocelot_api.budget import Reservation
from ocelot_api.problems import Problem
from ocelot_api.search.backend import SearchUnavailableError
from ocelot_api.search.opensearch_backend import OpenSearchBackend
from ocelot_api.search.page import ITEM_BYTES
from ocelot_api.search.query import SearchQuery
from ocelot_common.ids import format_id
from ocelot_common.opensearch import MAX_ANSWER_BYTES, AnswerTooLargeError
from ocelot_common.registry.model import Home, Isolation

TEXT = '{"action":"a","actor":{"id":"u"},"metadata":{"f":1e300,"s":"\\u0000🦊","n":-0.0}}'

_HIT = (
    '{"_index":"i","_id":"x","_score":null,"_source":{"v":1,"id":"ID","t":"0123456789abcdef",'
    '"rev":1,"seq":7,"received_at":5,"occurred_at":-4,"writer":"w","text":"a u","event":TEXT},'
    '"sort":[1,"x"]}'
)

Answer = str | Exception


class FakeOpenSearch:
    """Answers every search alike, or one after the other, and remembers how it was asked."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked: dict[str, Any] = {}
        self.sizes: list[int] = []
        self.alive = True
        self.probes = 0

    async def search(self, **arguments: Any) -> str:
        self.asked = arguments
        self.sizes.append(arguments["body"].get("size"))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def ping(self, **options: Any) -> bool:
        self.probes += 1
        assert options["params"]["request_timeout"] <= 2
        await asyncio.sleep(0)
        return self.alive


def answer_of(*texts: str, timed_out: bool = False) -> str:
    """As OpenSearch writes it, with more than is read."""
    hits = [
        _HIT.replace("ID", format_id(bytes(15) + bytes([number + 1]))).replace("TEXT", text)
        for number, text in enumerate(texts)
    ]
    head = f'{{"took":1,"timed_out":{str(timed_out).lower()},"_shards":{{"total":1}},'
    total = f'{{"value":{len(hits)},"relation":"eq"}}'
    return f'{head}"hits":{{"total":{total},"max_score":null,"hits":[{",".join(hits)}]}}}}'


def backend(*answers: Answer) -> tuple[OpenSearchBackend, FakeOpenSearch]:
    client = FakeOpenSearch(*answers)
    return OpenSearchBackend(client, timeout_sec=2), client  # type: ignore[arg-type]


async def test_an_events_text_is_passed_on_byte_for_byte(home: Home, held: Reservation):
    searching, client = backend(answer_of(TEXT, TEXT))
    page = await searching.search(SearchQuery(home=home, limit=5), held)
    assert [item.json.endswith(TEXT[1:].encode()) for item in page.items] == [True, True]
    assert page.items[0].position == (-4, bytes(15) + b"\1")
    assert (page.more, page.total) == (False, (2, "eq"))
    # Either makes OpenSearch write the source anew.
    assert not {"filter_path", "_source", "_source_includes"} & {
        *client.asked["params"],
        *client.asked["body"],
    }


async def test_one_more_than_asked_for_tells_that_more_follow(home: Home, held: Reservation):
    searching, client = backend(answer_of(TEXT, TEXT, TEXT))
    page = await searching.search(SearchQuery(home=home, limit=2), held)
    assert (len(page.items), page.more) == (2, True)
    assert client.asked["body"]["size"] == 3


async def test_nothing_found_is_an_empty_page(home: Home, held: Reservation):
    page = await backend(answer_of())[0].search(SearchQuery(home=home), held)
    assert (page.items, page.more, page.total) == ([], False, (0, "eq"))


async def test_every_index_is_named_and_none_found_by_a_pattern(home: Home, held: Reservation):
    searching, client = backend(answer_of())
    await searching.search(SearchQuery(home=home), held)
    assert client.asked["index"].split(",") == [entry.index for entry in home.space.indices]
    assert "*" not in client.asked["index"]
    assert client.asked["params"]["allow_partial_search_results"] == "false"


async def test_time_is_bounded_on_the_server_and_a_little_later_here(home: Home, held: Reservation):
    searching, client = backend(answer_of())
    await searching.search(SearchQuery(home=home), held)
    assert client.asked["body"]["timeout"] == "2000ms"
    assert client.asked["params"]["request_timeout"] == 3


@pytest.mark.parametrize("isolation", list(Isolation))
async def test_a_shared_tenants_search_is_routed_by_its_uid(
    home: Home, held: Reservation, make_tenant: Callable[..., Any], isolation: Isolation
):
    tenant = make_tenant(isolation=isolation)
    searching, client = backend(answer_of())
    await searching.search(SearchQuery(home=Home(tenant, home.space)), held)
    routing = client.asked["params"].get("routing")
    assert routing == (tenant.uid if isolation is Isolation.SHARED else None)


async def test_an_answer_that_is_not_whole_is_504(home: Home, held: Reservation):
    with pytest.raises(Problem) as raised:
        await backend(answer_of(TEXT, timed_out=True))[0].search(SearchQuery(home=home), held)
    assert (raised.value.status, raised.value.code) == (504, "search_timeout")


REFUSED = OpenSearchConnectionError("N/A", "refused", OSError())
TIMED_OUT = ConnectionTimeout("TIMEOUT", "x", OSError())
GATEWAY = TransportError(503, "<html>no upstream</html>", None)
OWN = TransportError(503, "search_phase_execution_exception", {"error": {"type": "t"}})


@pytest.mark.parametrize(
    ("failure", "alive", "away"),
    [
        (REFUSED, False, True),
        (TIMED_OUT, False, True),
        (GATEWAY, False, True),
        (REFUSED, True, False),
        (GATEWAY, True, False),
        (NotFoundError(404, "index_not_found_exception", {}), True, False),
        (TransportError(429, "es_rejected_execution_exception", {}), True, False),
        (OWN, True, False),
    ],
    ids=repr,
)
async def test_a_failure_is_left_to_the_store(
    home: Home, held: Reservation, failure: Exception, alive: bool, away: bool
):
    searching, client = backend(failure)
    client.alive = alive
    with pytest.raises(SearchUnavailableError) as raised:
        await searching.search(SearchQuery(home=home), held)
    assert raised.value.away is away


@pytest.mark.parametrize("failure", [TIMED_OUT, TransportError(504, "<html>", None)], ids=repr)
async def test_a_slow_search_is_that_searchs_own_fault_while_opensearch_answers(
    home: Home, held: Reservation, failure: Exception
):
    searching, client = backend(failure)
    with pytest.raises(Problem) as raised:
        await searching.search(SearchQuery(home=home), held)
    assert (raised.value.status, raised.value.code) == (504, "search_timeout")
    assert client.probes == 1


async def test_searches_that_fail_together_share_one_probe(home: Home, held: Reservation):
    searching, client = backend(TIMED_OUT)
    query = SearchQuery(home=home)
    found = await asyncio.gather(
        *(searching.search(query, held) for _ in range(5)), return_exceptions=True
    )
    assert [getattr(error, "code", None) for error in found] == ["search_timeout"] * 5
    assert client.probes == 1


async def test_an_answer_that_is_too_large_is_asked_for_again_with_fewer_events(
    home: Home, held: Reservation
):
    large = AnswerTooLargeError(MAX_ANSWER_BYTES + 1)
    huge = AnswerTooLargeError(10 * MAX_ANSWER_BYTES)
    searching, client = backend(large, huge, answer_of(*[TEXT] * 5))
    page = await searching.search(SearchQuery(home=home, limit=100), held)
    assert client.sizes == [101, 50, 5]
    assert (len(page.items), page.more) == (4, True), "the fifth tells that more follow"
    assert held.size == sum(len(item.json) + ITEM_BYTES for item in page.items)


async def test_the_next_page_begins_with_what_could_be_read_and_grows_again(
    home: Home, held: Reservation
):
    large = AnswerTooLargeError(MAX_ANSWER_BYTES + 1)
    searching, client = backend(large, answer_of(TEXT))
    for _ in range(4):
        await searching.search(SearchQuery(home=home, limit=1_000), held)
    assert client.sizes == [1_001, 500, 1_000, 1_001, 1_001]
    await searching.search(SearchQuery(home=home, limit=10), held)
    assert client.sizes[-1] == 11


async def test_one_event_that_is_too_large_is_left_to_the_store(home: Home, held: Reservation):
    searching, client = backend(AnswerTooLargeError(MAX_ANSWER_BYTES + 1))
    with pytest.raises(SearchUnavailableError) as raised:
        await searching.search(SearchQuery(home=home, limit=5), held)
    assert raised.value.away is False
    assert client.sizes == [6, 3, 1]


async def test_a_page_ends_at_its_bytes_with_at_least_one_event(
    home: Home, held: Reservation, monkeypatch: pytest.MonkeyPatch
):
    query = SearchQuery(home=home, limit=5)
    page = await backend(answer_of(TEXT, TEXT, TEXT))[0].search(query, held)
    size = len(page.items[0].json)
    for limit, number in ((3 * size, 3), (3 * size - 1, 2), (size, 1), (1, 1)):
        monkeypatch.setattr("ocelot_api.search.page.MAX_PAGE_BYTES", limit)
        page = await backend(answer_of(TEXT, TEXT, TEXT))[0].search(query, held)
        assert (len(page.items), page.more) == (number, number < 3)


async def test_fields_count_as_they_are_answered(
    home: Home, held: Reservation, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("ocelot_api.search.page.MAX_PAGE_BYTES", 200)
    query = SearchQuery(home=home, limit=5, fields=("id",))
    page = await backend(answer_of(TEXT, TEXT, TEXT))[0].search(query, held)
    assert [len(item.json) for item in page.items] == [45] * 3


@pytest.mark.parametrize(
    "answer",
    ["", "[]", '{"hits":{}}', "<html>", answer_of(TEXT).replace('"seq":7', '"seq":"x"')],
    ids=["empty", "list", "no hits", "html", "another type"],
)
async def test_an_answer_that_cannot_be_read_is_left_to_the_store(
    home: Home, held: Reservation, answer: str
):
    with pytest.raises(SearchUnavailableError):
        await backend(answer)[0].search(SearchQuery(home=home), held)


async def test_an_index_that_is_being_built_is_not_asked(home: Home, held: Reservation):
    entries = home.space.indices
    building = msgspec.structs.replace(entries[0], building=True)
    space = msgspec.structs.replace(home.space, indices=[building, *entries[1:]])
    searching, client = backend(answer_of())
    with pytest.raises(SearchUnavailableError, match=entries[0].alias):
        await searching.search(SearchQuery(home=Home(home.tenant, space)), held)
    assert client.asked == {}
