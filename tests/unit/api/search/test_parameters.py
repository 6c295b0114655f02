"""Searches as clients ask for them: parameters, and bodies with a tree."""

import json
from typing import Any
from urllib.parse import quote

import pytest
from starlette.datastructures import QueryParams

from ocelot_api.problems import Problem
from ocelot_api.search.filters import (
    Addresses,
    AllOf,
    AnyOf,
    Filter,
    Match,
    Not,
    Phrase,
    Times,
    Word,
)
from ocelot_api.search.parameters import (
    MAX_CONDITIONS,
    MAX_DEPTH,
    query_of_body,
    query_of_parameters,
)
from ocelot_api.search.query import SearchQuery, Sort
from ocelot_common.registry.model import Home
from ocelot_common.timestamps import parse_rfc3339

NOON = parse_rfc3339("2026-03-01T12:00:00Z")


@pytest.fixture
def read(home: Home) -> Any:
    def read_it(query: str) -> SearchQuery:
        return query_of_parameters(QueryParams(query), home)

    return read_it


@pytest.fixture
def fault(read: Any) -> Any:
    def fault_of(query: str) -> tuple[int, str, str]:
        with pytest.raises(Problem) as raised:
            read(query)
        problem = raised.value
        return problem.status, problem.code, problem.path or ""

    return fault_of


def test_without_parameters_everything_is_searched_the_latest_first(
    read: Any, fault: Any, home: Home
):
    assert read("") == SearchQuery(home=home)


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("action", "action"),
        ("actor.id", "actor.id"),
        ("target.id", "targets.id"),
        ("request_id", "request_id"),
    ],
)
def test_text_filters_take_values_and_prefixes(read: Any, fault: Any, name: str, field: str):
    query = read(f"{name}=b&{name}=a&{name}=c*&{name}=a")
    assert query.filter == Match(field, ("a", "b"), ("c",))
    assert (read(f"{name}=*")).filter == Match(field, (), ("",))
    assert (read(f"{name}=%00%22%C3%A9")).filter == Match(field, ('\0"é',))
    for wrong in (f"{name}=", f"{name}=a&{name}=", f"{name}={'x' * 1025}"):
        assert fault(wrong) == (400, "invalid_parameter", name)
    many = "&".join(f"{name}={number}" for number in range(51))
    assert fault(many) == (400, "invalid_parameter", name)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("outcome", ("success", "failure", "denied", "unknown")),
        ("severity", ("debug", "info", "notice", "warning", "error", "critical")),
    ],
)
def test_enumerated_filters_take_what_there_is(
    read: Any, fault: Any, name: str, values: tuple[str, ...]
):
    for value in values:
        assert (read(f"{name}={value}")).filter == Match(name, (value,))
    several = read("&".join(f"{name}={value}" for value in values))
    assert several.filter == Match(name, tuple(sorted(values)))
    for wrong in ("", "Success", "INFO", "succ*", "*", "success,failure"):
        assert fault(f"{name}={quote(wrong)}") == (400, "invalid_parameter", name)


@pytest.mark.parametrize("name", ["from", "to", "received_from", "received_to"])
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
def test_times_are_rfc_3339_with_the_plus_encoded_or_not(
    read: Any, fault: Any, name: str, text: str
):
    query = read(f"{name}={text}")
    bounds = (NOON, None) if name.endswith("from") else (None, NOON)
    field = "received_at" if name.startswith("received") else "occurred_at"
    assert query.filter == Times(field, *bounds)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["from", "to", "received_from", "received_to"])
@pytest.mark.parametrize(
    "text",
    ["", "now", "2026-03-01", "2026-03-01T12:00:00", "1772366400000", "2026-02-30T00:00:00Z"],
)
def test_what_is_no_time_is_refused(read: Any, fault: Any, name: str, text: str):
    assert fault(f"{name}={text}") == (400, "invalid_parameter", name)


def test_times_at_the_ends_of_the_calendar_are_taken(read: Any, fault: Any):
    query = read("from=0001-01-01T00:00:00%2B14:00&to=9999-12-31T23:59:59-12:00")
    first, last = query.filter.items
    assert first.start < 0 < last.end


def test_q_is_read_by_its_grammar(read: Any, fault: Any):
    assert read("q=Jane+renamed").filter == AllOf((Word("jane"), Word("renamed")))
    for wrong in ("", "!!!", "a OR", '"'):
        assert fault(f"q={quote(wrong)}") == (400, "invalid_parameter", "q")


def test_a_severity_and_worse_ones(read: Any, fault: Any):
    assert read("severity.gte=error").filter == Match("severity", ("critical", "error"))
    assert fault("severity.gte=bad") == (400, "invalid_parameter", "severity.gte")
    assert fault("severity.gte=info&severity.gte=error")[1] == "invalid_parameter"


V4 = b"\0" * 10 + b"\xff\xff"


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("192.0.2.1", V4 + b"\xc0\0\x02\x01", V4 + b"\xc0\0\x02\x01"),
        ("10.1.2.3/8", V4 + b"\x0a\0\0\0", V4 + b"\x0a\xff\xff\xff"),
        ("0.0.0.0/0", V4 + bytes(4), V4 + b"\xff" * 4),
        ("::1", bytes(15) + b"\1", bytes(15) + b"\1"),
        ("2001:db8::/32", b"\x20\x01\x0d\xb8" + bytes(12), b"\x20\x01\x0d\xb8" + b"\xff" * 12),
        ("::/0", bytes(16), b"\xff" * 16),
        ("::ffff:10.0.0.0/104", V4 + b"\x0a\0\0\0", V4 + b"\x0a\xff\xff\xff"),
    ],
)
def test_addresses_and_blocks_are_ranges(read: Any, text: str, first: bytes, last: bytes):
    assert read(f"source.ip={quote(text)}").filter == Addresses(first, last)


def test_several_addresses_are_or(read: Any):
    assert read("source.ip=::1&source.ip=::2&source.ip=::1").filter == AnyOf(
        tuple(Addresses(bytes(15) + last, bytes(15) + last) for last in (b"\1", b"\2"))
    )


@pytest.mark.parametrize(
    "text", ["", "x", "1", "10.0.0", "10.0.0.0/33", "fe80::1%eth0", "10.*", "10.0.0.1/", "1.1.1.1 "]
)
def test_what_is_no_address_is_refused(fault: Any, text: str):
    assert fault(f"source.ip={quote(text)}") == (400, "invalid_parameter", "source.ip")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("metadata.plan", "pro", Match("attrs", ("metadata.plan=pro",))),
        ("metadata.plan", "p*", Match("attrs", (), ("metadata.plan=p",))),
        ("metadata.plan", "*", Match("attrs", (), ("metadata.plan=",))),
        ("metadata.plan", "", Match("attrs", ("metadata.plan=",))),
        ("metadata.a.$b.", "1.0", Match("attrs", ("metadata.a.$b.=1.0",))),
        ("changes.before", "x", Match("attrs", ("changes.before=x",))),
        ("changes.after.role", "x", Match("attrs", ("changes.after.role=x",))),
    ],
)
def test_paths_into_what_is_free_form(read: Any, name: str, value: str, expected: Filter):
    assert read(f"{quote(name)}={quote(value)}").filter == expected


@pytest.mark.parametrize(
    "name", ["metadata.", "changes.role", "changes.", "changes.beforehand", f"metadata.{'é' * 124}"]
)
def test_paths_that_no_event_can_have_are_refused(fault: Any, name: str):
    assert fault(f"{quote(name)}=x") == (400, "invalid_parameter", name[:100])


def test_only_the_beginning_of_a_long_value_could_be_searched(fault: Any):
    assert fault(f"metadata.k={'x' * 513}") == (400, "invalid_parameter", "metadata.k")


def test_the_order_of_parameters_does_not_matter(read: Any):
    one, other = "action=a&actor.id=b&metadata.k=c", "metadata.k=c&actor.id=b&action=a"
    assert read(one).fingerprint() == read(other).fingerprint()


def test_fields(read: Any, fault: Any):
    assert read("fields=action,actor.id&fields=action&fields=metadata.a.b").fields == (
        "action", "actor.id", "metadata.a.b",
    )  # fmt: skip
    for wrong in (
        "",
        "x",
        "actor.",
        "action,",
        "a" * 400,
        "metadata..a",
        ",".join(["id"] * 2 + ["_"]),
    ):
        assert fault(f"fields={wrong}") == (400, "invalid_parameter", "fields")
    many = ",".join(f"metadata.{number}" for number in range(51))
    assert fault(f"fields={many}") == (400, "invalid_parameter", "fields")


def test_every_sort_is_taken(read: Any, fault: Any):
    for sort in Sort:
        assert (read(f"sort={sort.value}")).sort is sort
    for wrong in ("", "id", "-id", "occurred_at,id", "+occurred_at", "OCCURRED_AT"):
        assert fault(f"sort={quote(wrong)}") == (400, "invalid_parameter", "sort")


def test_limit_is_from_1_to_1000(read: Any, fault: Any):
    assert [(read(f"limit={n}")).limit for n in (1, 7, 1000)] == [1, 7, 1000]
    for wrong in ("0", "-1", "1001", "9" * 30, "9" * 5_000, "1.5", "x", "", "1e3", "0x10", "NaN"):
        assert fault(f"limit={wrong}") == (400, "invalid_parameter", "limit")


@pytest.mark.parametrize(
    "name",
    [
        "tenant",
        "t",
        "Action",
        "actor_id",
        "actor[id]",
        "page",
        "from_",
        "attrs",
        "filter",
        "x" * 99,
    ],
)
def test_a_parameter_that_does_not_exist_is_refused_by_name(read: Any, fault: Any, name: str):
    assert fault(f"{name}=1") == (400, "unknown_parameter", name)
    assert fault(f"action=a&{name}=") == (400, "unknown_parameter", name)


def test_the_name_of_an_unknown_parameter_is_told_up_to_100_characters(read: Any, fault: Any):
    assert fault(f"{'x' * 5_000}=1") == (400, "unknown_parameter", "x" * 100)


@pytest.mark.parametrize("name", ["from", "to", "q", "sort", "limit", "cursor"])
def test_what_cannot_be_or_is_refused_when_given_twice(read: Any, fault: Any, name: str):
    good = {"sort": "occurred_at", "limit": "5", "q": "a"}.get(name, "2026-01-01T00:00:00Z")
    assert fault(f"{name}={good}&{name}={good}") == (400, "invalid_parameter", name)


@pytest.mark.parametrize("name", ["action", "actor.id", "target.id", "request_id"])
def test_a_repeated_filter_is_or(read: Any, fault: Any, name: str):
    assert (read(f"{name}=b&{name}=a&{name}=b")).filter.exact == ("a", "b")


@pytest.mark.parametrize(
    "cursor", ["", "x", "AAAA", "é", "=" * 10, "A" * 50_000, "a b", "%00", "gAE", "gZ////8"]
)
def test_what_is_no_cursor_is_refused(read: Any, fault: Any, cursor: str):
    assert fault(f"cursor={quote(cursor)}") == (400, "invalid_cursor", "cursor")


def test_bytes_that_are_no_utf8_do_no_harm(read: Any, fault: Any):
    assert (read("action=%FF%FE")).filter == Match("action", ("\ufffd\ufffd",))
    assert (read("action=%ED%A0%80*")).filter.prefixes


def body(read_filter: Any, **options: Any) -> bytes:
    return json.dumps({"filter": read_filter, **options}).encode()


A, B = Match("action", ("a",)), Match("actor.id", ("b",))


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        ({"action": "a"}, A),
        ({"action": ["a", "b*"]}, Match("action", ("a",), ("b",))),
        ({"actor.id": "b", "action": "a"}, AllOf((A, B))),
        ({"and": [{"action": "a"}]}, A),
        ({"or": [{"action": "a"}, {"actor.id": "b"}]}, AnyOf((A, B))),
        ({"not": {"or": [{"action": "a"}, {"actor.id": "b"}]}}, Not(AnyOf((A, B)))),
        ({"q": '"x y"'}, Phrase(("x", "y"))),
        ({"from": "2026-03-01T12:00:00Z"}, Times("occurred_at", NOON)),
        ({"not": {"metadata.k": "v"}}, Not(Match("attrs", ("metadata.k=v",)))),
        ({}, AllOf()),
    ],
    ids=str,
)
def test_a_tree_is_read(home: Home, tree: Any, expected: Filter):
    assert query_of_body(body(tree), home).filter == expected


def test_a_body_has_the_options_of_the_parameters(home: Home):
    given = body({}, sort="received_at", limit=7.0, fields=["action"])
    assert query_of_body(given, home) == SearchQuery(
        home=home, sort=Sort.RECEIVED_ASC, limit=7, fields=("action",)
    )
    assert query_of_body(b"{}", home) == SearchQuery(home=home)


def deep(depth: int) -> Any:
    return {"action": "a"} if depth == 1 else {"not": deep(depth - 1)}


def test_depth_and_number_are_bounded(home: Home):
    assert query_of_body(body(deep(MAX_DEPTH)), home)
    many = [{"action": "a"}] * MAX_CONDITIONS
    assert query_of_body(body({"or": many}), home)
    for tree in (deep(MAX_DEPTH + 1), deep(500), {"or": [*many, {"action": "a"}]}):
        with pytest.raises(Problem) as raised:
            query_of_body(body(tree), home)
        assert (raised.value.status, raised.value.code) == (400, "invalid_search")


@pytest.mark.parametrize(
    ("given", "code", "path"),
    [
        (b"", "invalid_json", None),
        (b"{", "invalid_json", None),
        (b'{"filter":{"action":"\xff"}}', "invalid_json", None),
        (b"[]", "invalid_search", None),
        (b'{"filtre":{}}', "invalid_search", "filtre"),
        (b'{"limit":"7"}', "invalid_search", "limit"),
        (b'{"filter":' + b"[" * 100_000, "invalid_search", "filter"),
        (b'{"filter":' + b'{"not":' * 100_000, "invalid_search", "filter"),
        (body([]), "invalid_search", "filter"),
        (body({"and": []}), "invalid_search", "filter.and"),
        (body({"and": {"action": "a"}}), "invalid_search", "filter.and"),
        (body({"or": [{}]}), "invalid_search", "filter.or[0]"),
        (body({"or": [{"action": "a"}, 1]}), "invalid_search", "filter.or[1]"),
        (body({"not": [{"action": "a"}]}), "invalid_search", "filter.not"),
        (body({"not": {"action": "a"}, "action": "b"}), "invalid_search", "filter"),
        (body({"action": 1}), "invalid_search", "filter.action"),
        (body({"action": []}), "invalid_search", "filter.action"),
        (body({"action": ["a", None]}), "invalid_search", "filter.action"),
        (body({"action": {"$ne": ""}}), "invalid_search", "filter.action"),
        (body({"$where": "1"}), "unknown_parameter", "filter.$where"),
        (body({"and": [{"not": {"t": "x"}}]}), "unknown_parameter", "filter.and[0].not.t"),
        (body({"or": [{"outcome": "x"}]}), "invalid_parameter", "filter.or[0].outcome"),
        (body({"q": "a OR"}), "invalid_parameter", "filter.q"),
        (body({"from": ["2026-03-01T12:00:00Z"] * 2}), "invalid_parameter", "filter.from"),
        (body({}, sort="id"), "invalid_parameter", "sort"),
        (body({}, limit=0), "invalid_parameter", "limit"),
        (body({}, limit=7.5), "invalid_parameter", "limit"),
        (b'{"limit":1e300}', "invalid_parameter", "limit"),
        (body({}, cursor="x"), "invalid_cursor", "cursor"),
        (body({}, fields=["x"]), "invalid_parameter", "fields"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_body_is_refused_with_the_place_of_its_fault(
    home: Home, given: bytes, code: str, path: str | None
):
    with pytest.raises(Problem) as raised:
        query_of_body(given, home)
    assert (raised.value.status, raised.value.code, raised.value.path) == (400, code, path)
