"""Query parameters, read as the framework reads them."""

from typing import Any
from urllib.parse import quote

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError

from ocelot_api.app import _answer_problem, _answer_validation_error
from ocelot_api.problems import Problem
from ocelot_api.search.parameters import Parameters, refuse_repeated, to_query
from ocelot_api.search.query import Match, SearchQuery, Sort
from ocelot_common.registry.model import Home
from ocelot_common.timestamps import parse_rfc3339

NOON = parse_rfc3339("2026-03-01T12:00:00Z")


@pytest.fixture(scope="session")
def app(home: Home) -> FastAPI:
    """One route that reads the parameters as `GET /logs` does, and keeps the search."""
    made = FastAPI()

    @made.get("/")
    async def search(request: Request, parameters: Parameters) -> dict[str, Any]:
        refuse_repeated(request.query_params)
        made.state.query = to_query(parameters, home)
        return {}

    @made.middleware("http")
    async def name(request: Request, call_next: Any) -> Any:
        request.state.request_id = "r"
        return await call_next(request)

    made.add_exception_handler(Problem, _answer_problem)
    made.add_exception_handler(RequestValidationError, _answer_validation_error)
    return made


async def get(app: FastAPI, query: str) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://t") as http:
        return await http.get(f"/?{query}")


async def read(app: FastAPI, query: str) -> SearchQuery:
    answer = await get(app, query)
    assert answer.status_code == 200, answer.text
    query_read: SearchQuery = app.state.query
    return query_read


async def fault(app: FastAPI, query: str) -> tuple[int, str, str]:
    answer = await get(app, query)
    body = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, body["code"], body["path"]


async def test_without_parameters_everything_is_searched_the_latest_first(app: FastAPI, home: Home):
    assert await read(app, "") == SearchQuery(home=home)


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("action", "action"),
        ("actor.id", "actor.id"),
        ("target.id", "targets.id"),
        ("request_id", "request_id"),
    ],
)
async def test_text_filters_take_values_and_prefixes(app: FastAPI, name: str, field: str):
    query = await read(app, f"{name}=b&{name}=a&{name}=c*&{name}=a")
    assert query.matches == (Match(field, ("a", "b"), ("c",)),)
    assert (await read(app, f"{name}=*")).matches == (Match(field, (), ("",)),)
    assert (await read(app, f"{name}=%00%22%C3%A9")).matches == (Match(field, ('\0"é',)),)
    for wrong in (f"{name}=", f"{name}=a&{name}=", f"{name}={'x' * 1025}"):
        assert await fault(app, wrong) == (400, "invalid_parameter", name)
    many = "&".join(f"{name}={number}" for number in range(51))
    assert await fault(app, many) == (400, "invalid_parameter", name)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("outcome", ("success", "failure", "denied", "unknown")),
        ("severity", ("debug", "info", "notice", "warning", "error", "critical")),
    ],
)
async def test_enumerated_filters_take_what_there_is(
    app: FastAPI, name: str, values: tuple[str, ...]
):
    for value in values:
        assert (await read(app, f"{name}={value}")).matches == (Match(name, (value,)),)
    several = await read(app, "&".join(f"{name}={value}" for value in values))
    assert several.matches == (Match(name, tuple(sorted(values))),)
    for wrong in ("", "Success", "INFO", "succ*", "*", "success,failure"):
        assert await fault(app, f"{name}={quote(wrong)}") == (400, "invalid_parameter", name)


@pytest.mark.parametrize("name", ["from", "to"])
@pytest.mark.parametrize(
    "text",
    [
        "2026-03-01T12:00:00Z",
        "2026-03-01t12:00:00z",
        "2026-03-01T12:00:00.000Z",
        "2026-03-01T12:00:00.0009999Z",
        "2026-03-01T14:00:00%2B02:00",
        "2026-03-01T14:00:00+02:00",
        "2026-03-01t14:00:00+02:00",
        "2026-03-01+14:00:00+02:00",
        "2026-03-01%2014:00:00%2B02:00",
        "2026-03-01T06:15:00-05:45",
    ],
)
async def test_times_are_rfc_3339_with_the_plus_encoded_or_not(app: FastAPI, name: str, text: str):
    query = await read(app, f"{name}={text}")
    assert (query.occurred_from if name == "from" else query.occurred_to) == NOON


@pytest.mark.parametrize("name", ["from", "to"])
@pytest.mark.parametrize(
    "text",
    ["", "now", "2026-03-01", "2026-03-01T12:00:00", "1772366400000", "2026-02-30T00:00:00Z"],
)
async def test_what_is_no_time_is_refused(app: FastAPI, name: str, text: str):
    assert await fault(app, f"{name}={text}") == (400, "invalid_parameter", name)


async def test_times_at_the_ends_of_the_calendar_are_taken(app: FastAPI):
    query = await read(app, "from=0001-01-01T00:00:00%2B14:00&to=9999-12-31T23:59:59-12:00")
    assert query.occurred_from is not None
    assert query.occurred_to is not None
    assert query.occurred_from < 0 < query.occurred_to


@pytest.mark.parametrize(
    ("q", "words"),
    [
        ("Jane renamed", ("jane", "renamed")),
        ("jane JANE Jane", ("jane",)),
        ("straße", ("strasse",)),
        ("a+b", ("a", "b")),
        ('"exact" -minus OR *', ("exact", "minus", "or")),
        ("東京", ("京", "東")),
        ("x" * 300, ("x" * 200,)),
    ],
)
async def test_q_is_the_tokens_that_events_are_cut_into(
    app: FastAPI, q: str, words: tuple[str, ...]
):
    assert (await read(app, f"q={quote(q)}")).words == words


@pytest.mark.parametrize("q", ["", " ", "!!!", "x" * 2049, " ".join(map(str, range(51)))])
async def test_a_q_without_a_word_or_with_too_many_is_refused(app: FastAPI, q: str):
    assert await fault(app, f"q={quote(q)}") == (400, "invalid_parameter", "q")


async def test_every_sort_is_taken(app: FastAPI):
    for sort in Sort:
        assert (await read(app, f"sort={sort.value}")).sort is sort
    for wrong in ("", "id", "-id", "occurred_at,id", "+occurred_at", "OCCURRED_AT"):
        assert await fault(app, f"sort={quote(wrong)}") == (400, "invalid_parameter", "sort")


async def test_limit_is_from_1_to_1000(app: FastAPI):
    assert [(await read(app, f"limit={n}")).limit for n in (1, 7, 1000)] == [1, 7, 1000]
    for wrong in ("0", "-1", "1001", "9" * 30, "9" * 5_000, "1.5", "x", "", "1e3", "0x10", "NaN"):
        assert await fault(app, f"limit={wrong}") == (400, "invalid_parameter", "limit")


@pytest.mark.parametrize(
    "name",
    ["tenant", "tenant_id", "t", "Action", "actor_id", "actor[id]", "page", "from_", "x" * 99],
)
async def test_a_parameter_that_does_not_exist_is_refused_by_name(app: FastAPI, name: str):
    assert await fault(app, f"{name}=1") == (400, "unknown_parameter", name)
    assert await fault(app, f"action=a&{name}=") == (400, "unknown_parameter", name)


async def test_the_name_of_an_unknown_parameter_is_told_up_to_100_characters(app: FastAPI):
    assert await fault(app, f"{'x' * 5_000}=1") == (400, "unknown_parameter", "x" * 100)


@pytest.mark.parametrize("name", ["from", "to", "q", "sort", "limit", "cursor"])
async def test_what_cannot_be_or_is_refused_when_given_twice(app: FastAPI, name: str):
    good = {"sort": "occurred_at", "limit": "5", "q": "a"}.get(name, "2026-01-01T00:00:00Z")
    assert await fault(app, f"{name}={good}&{name}={good}") == (400, "invalid_parameter", name)


@pytest.mark.parametrize("name", ["action", "actor.id", "target.id", "request_id"])
async def test_a_repeated_filter_is_or(app: FastAPI, name: str):
    assert (await read(app, f"{name}=b&{name}=a&{name}=b")).matches[0].exact == ("a", "b")


@pytest.mark.parametrize(
    "cursor", ["", "x", "AAAA", "é", "=" * 10, "A" * 50_000, "a b", "%00", "gAE", "gZ////8"]
)
async def test_what_is_no_cursor_is_refused(app: FastAPI, cursor: str):
    assert await fault(app, f"cursor={quote(cursor)}") == (400, "invalid_cursor", "cursor")


async def test_bytes_that_are_no_utf8_do_no_harm(app: FastAPI):
    assert (await read(app, "action=%FF%FE")).matches == (Match("action", ("\ufffd\ufffd",)),)
    assert (await read(app, "action=%ED%A0%80*")).matches[0].prefixes
