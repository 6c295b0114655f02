"""What is asked of OpenSearch, and what is made of its answers."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from opensearchpy.exceptions import ConnectionError as OpenSearchConnectionError
from opensearchpy.exceptions import ConnectionTimeout, NotFoundError, TransportError

from ocelot_api.problems import Problem
from ocelot_api.search.backend import SearchUnavailableError
from ocelot_api.search.opensearch_backend import OpenSearchBackend
from ocelot_api.search.query import SearchQuery
from ocelot_common.ids import format_id
from ocelot_common.registry.model import Home, Isolation

TEXT = '{"action":"a","actor":{"id":"u"},"metadata":{"f":1e300,"s":"\\u0000🦊","n":-0.0}}'

_HIT = (
    '{"_index":"i","_id":"x","_score":null,"_source":{"v":1,"id":"ID","t":"0123456789abcdef",'
    '"rev":1,"seq":7,"received_at":5,"occurred_at":-4,"writer":"w","text":"a u","event":TEXT},'
    '"sort":[1,"x"]}'
)


class FakeOpenSearch:
    """Answers every search alike, and remembers how it was asked."""

    def __init__(self, answer: str | Exception) -> None:
        self.answer = answer
        self.asked: dict[str, Any] = {}

    async def search(self, **arguments: Any) -> str:
        self.asked = arguments
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def answer_of(*texts: str, timed_out: bool = False) -> str:
    """As OpenSearch writes it, with more than is read."""
    hits = [
        _HIT.replace("ID", format_id(bytes(15) + bytes([number + 1]))).replace("TEXT", text)
        for number, text in enumerate(texts)
    ]
    head = f'{{"took":1,"timed_out":{str(timed_out).lower()},"_shards":{{"total":1}},'
    total = f'{{"value":{len(hits)},"relation":"eq"}}'
    return f'{head}"hits":{{"total":{total},"max_score":null,"hits":[{",".join(hits)}]}}}}'


def backend(answer: str | Exception) -> tuple[OpenSearchBackend, FakeOpenSearch]:
    client = FakeOpenSearch(answer)
    return OpenSearchBackend(client, timeout_sec=2), client  # type: ignore[arg-type]


async def test_an_events_text_is_passed_on_byte_for_byte(home: Home):
    searching, client = backend(answer_of(TEXT, TEXT))
    page = await searching.search(SearchQuery(home=home, limit=5))
    assert [event.text for event in page.items] == [TEXT, TEXT]
    assert page.items[0].occurred_at == -4
    assert (page.more, page.total) == (False, (2, "eq"))
    # Either makes OpenSearch write the source anew.
    assert not {"filter_path", "_source", "_source_includes"} & {
        *client.asked["params"],
        *client.asked["body"],
    }


async def test_one_more_than_asked_for_tells_that_more_follow(home: Home):
    searching, client = backend(answer_of(TEXT, TEXT, TEXT))
    page = await searching.search(SearchQuery(home=home, limit=2))
    assert (len(page.items), page.more) == (2, True)
    assert client.asked["body"]["size"] == 3


async def test_nothing_found_is_an_empty_page(home: Home):
    page = await backend(answer_of())[0].search(SearchQuery(home=home))
    assert (page.items, page.more, page.total) == ([], False, (0, "eq"))


async def test_every_index_is_named_and_none_found_by_a_pattern(home: Home):
    searching, client = backend(answer_of())
    await searching.search(SearchQuery(home=home))
    assert client.asked["index"].split(",") == [entry.index for entry in home.space.indices]
    assert "*" not in client.asked["index"]
    assert client.asked["params"]["allow_partial_search_results"] == "false"


async def test_time_is_bounded_on_the_server_and_a_little_later_here(home: Home):
    searching, client = backend(answer_of())
    await searching.search(SearchQuery(home=home))
    assert client.asked["body"]["timeout"] == "2000ms"
    assert client.asked["params"]["request_timeout"] == 3


@pytest.mark.parametrize("isolation", list(Isolation))
async def test_a_shared_tenants_search_is_routed_by_its_uid(
    home: Home, make_tenant: Callable[..., Any], isolation: Isolation
):
    tenant = make_tenant(isolation=isolation)
    searching, client = backend(answer_of())
    await searching.search(SearchQuery(home=Home(tenant, home.space)))
    routing = client.asked["params"].get("routing")
    assert routing == (tenant.uid if isolation is Isolation.SHARED else None)


async def test_an_answer_that_is_not_whole_is_504(home: Home):
    with pytest.raises(Problem) as raised:
        await backend(answer_of(TEXT, timed_out=True))[0].search(SearchQuery(home=home))
    assert (raised.value.status, raised.value.code) == (504, "search_timeout")


@pytest.mark.parametrize(
    ("failure", "away"),
    [
        (OpenSearchConnectionError("N/A", "refused", OSError()), True),
        (ConnectionTimeout("TIMEOUT", "x", OSError()), True),
        (NotFoundError(404, "index_not_found_exception", {}), False),
        (TransportError(429, "es_rejected_execution_exception", {}), False),
        (TransportError(503, "search_phase_execution_exception", {"error": {"type": "t"}}), False),
    ],
    ids=repr,
)
async def test_a_failure_is_left_to_the_store(home: Home, failure: Exception, away: bool):
    with pytest.raises(SearchUnavailableError) as raised:
        await backend(failure)[0].search(SearchQuery(home=home))
    assert raised.value.away is away


@pytest.mark.parametrize(
    "answer",
    ["", "[]", '{"hits":{}}', "<html>", answer_of(TEXT).replace('"seq":7', '"seq":"x"')],
    ids=["empty", "list", "no hits", "html", "another type"],
)
async def test_an_answer_that_cannot_be_read_is_left_to_the_store(home: Home, answer: str):
    with pytest.raises(SearchUnavailableError):
        await backend(answer)[0].search(SearchQuery(home=home))


async def test_an_index_that_is_being_built_is_not_asked(home: Home):
    entries = home.space.indices
    building = msgspec.structs.replace(entries[0], building=True)
    space = msgspec.structs.replace(home.space, indices=[building, *entries[1:]])
    searching, client = backend(answer_of())
    with pytest.raises(SearchUnavailableError, match=entries[0].alias):
        await searching.search(SearchQuery(home=Home(home.tenant, space)))
    assert client.asked == {}
