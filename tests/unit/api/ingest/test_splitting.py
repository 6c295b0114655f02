"""The three forms of a bulk body."""

import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocelot_api.ingest.splitting import (
    array_of,
    check_density,
    check_json,
    check_number,
    split_events,
)
from ocelot_api.problems import Problem

A, B = b'{"action":"a"}', b'{"action":"b","metadata":{"x":[1,"]},{"]}}'
JSON = b"application/json"
NDJSON = b"application/x-ndjson"


def split(body: bytes, kind: bytes | None = JSON, *, max_events: int = 10_000) -> list[bytes]:
    headers = {} if kind is None else {b"content-type": kind}
    check_density(body, headers)
    array = array_of(body, headers)
    check_number(body, array, max_events=max_events)
    return list(map(bytes, split_events(body, array, max_events=max_events)))


@contextmanager
def cpu_time_within(seconds: float) -> Iterator[None]:
    """Assert that the block takes at most six times so long, and print how long it took."""
    began = time.thread_time()
    yield
    took = time.thread_time() - began
    print(f"{took:.3f} s of CPU time")  # noqa: T201 - in the report of `-rP`
    assert took < 6 * seconds


def problem_of(body: bytes, kind: bytes | None = JSON, *, max_events: int = 10_000) -> Problem:
    with pytest.raises(Problem) as caught:
        split(body, kind, max_events=max_events)
    return caught.value


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"[%b,%b]" % (A, B), JSON),
        (b" \r\n\t[ %b , %b ] \n" % (A, B), JSON),
        (b'{"logs":[%b,%b]}' % (A, B), JSON),
        (b'\n{ "logs" : [ %b, %b ] }\n' % (A, B), JSON),
        (b"%b\n%b" % (A, B), NDJSON),
        (b"%b\n%b\n" % (A, B), NDJSON),
        (b"\n\n%b\n \t\n\r\n%b\n\n" % (A, B), NDJSON),
        (b"%b\r\n%b\r\n" % (A, B), NDJSON),
        (b"[%b,%b]" % (A, B), None),
        (b"[%b,%b]" % (A, B), b"Application/JSON; charset=utf-8"),
        (b"[%b,%b]" % (A, B), b"text/json"),
        (b"%b\n%b" % (A, B), b"application/jsonl"),
        (b"%b\n%b" % (A, B), b"application/ndjson;charset=utf-8"),
        (b"%b\n%b" % (A, B), b"application/x-jsonlines"),
    ],
)
def test_each_form_is_cut_into_its_events(body: bytes, kind: bytes | None):
    assert [msgspec.json.decode(raw) for raw in split(body, kind)] == [
        msgspec.json.decode(A),
        msgspec.json.decode(B),
    ]


def test_items_are_passed_on_byte_for_byte():
    odd = b'{ "a" : 1.0, "a":1E2,\t"b":"\\u00e9" }'
    assert split(b"[%b]" % odd) == [odd]
    assert split(b'{"logs":[%b]}' % odd) == [odd]


def test_items_that_are_no_objects_are_left_to_validation():
    assert split(b'[1, null, "x", [], {}]') == [b"1", b"null", b'"x"', b"[]", b"{}"]


@pytest.mark.parametrize("body", [b"[]", b"[ ]", b'{"logs":[]}'])
def test_no_events_are_an_error(body: bytes):
    assert (problem_of(body).status, problem_of(body).code) == (400, "no_events")


def test_blank_lines_alone_are_no_events():
    assert problem_of(b"\n \n\t\r\n", NDJSON).code == "no_events"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"[", "invalid_json"),
        (b"[{}", "invalid_json"),
        (b"[{},]", "invalid_json"),
        (b"[{}]]", "invalid_json"),
        (b"[{}] {}", "invalid_json"),
        (b"[{'a':1}]", "invalid_json"),
        (b"nonsense", "invalid_json"),
        (b"", "invalid_json"),
        (b"{", "invalid_json"),
        (b'{"logs":{}}', "invalid_bulk"),
        (b'{"logs":null}', "invalid_bulk"),
        (b'{"events":[]}', "invalid_bulk"),
        (b'{"logs":[],"more":1}', "invalid_bulk"),
        (b"{}", "invalid_bulk"),
        (b'{"action":"a","actor":{"id":"u"}}', "invalid_bulk"),
        (b'"text"', "invalid_bulk"),
        (b"7", "invalid_bulk"),
        (b"null", "invalid_bulk"),
    ],
)
def test_a_body_that_cannot_be_cut_is_refused(body: bytes, code: str):
    problem = problem_of(body)
    assert (problem.status, problem.code) == (400, code)


def test_bad_utf8_inside_an_event_is_left_to_validation():
    assert split(b'["\xff",{}]') == [b'"\xff"', b"{}"]


@pytest.mark.parametrize(
    "kind",
    [b"text/plain", b"application/xml", b"multipart/form-data", b"application/jsonx", b"\xe9"],
)
def test_another_media_type_is_refused(kind: bytes):
    assert (problem_of(b"[]", kind).status, problem_of(b"[]", kind).code) == (
        415,
        "unsupported_media_type",
    )


@pytest.mark.parametrize("kind", [JSON, b"application/json;charset=utf-8", b"text/json", b""])
def test_a_single_event_may_be_json(kind: bytes):
    check_json({b"content-type": kind})
    check_json({})


@pytest.mark.parametrize("kind", [NDJSON, b"text/plain", b"application/x-www-form-urlencoded"])
def test_a_single_event_may_be_nothing_else(kind: bytes):
    with pytest.raises(Problem) as caught:
        check_json({b"content-type": kind})
    assert caught.value.status == 415


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_nesting_of_ten_thousand_levels_is_refused(opening: bytes):
    closing = b"]" if opening == b"[" else b"1}"
    deep = opening * 10_000 + closing * 10_000
    for body in (deep, b"[" + deep + b"]", b'{"logs":[' + deep + b"]}"):
        assert problem_of(body).status == 400


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"[" + b",".join([A] * 11) + b"]", JSON),
        (b'{"logs":[' + b",".join([A] * 11) + b"]}", JSON),
        (b"\n".join([A] * 11), NDJSON),
    ],
)
def test_more_events_than_allowed_are_refused(body: bytes, kind: bytes):
    assert len(split(body, kind, max_events=11)) == 11
    problem = problem_of(body, kind, max_events=10)
    assert (problem.status, problem.code) == (413, "too_many_events")


MIB = 1024 * 1024
#: The bound on a step (docs/operations/guarantees.md); three checks are a step each.
STEP_SEC = 0.05
BOMBS = {
    "numbers": (b"[" + b"1," * (8 * MIB) + b"1]", JSON),
    "numbers in an object": (b'{"logs":[' + b"1," * (8 * MIB) + b"1]}", JSON),
    "texts": (b"[" + b'"",' * (5 * MIB) + b'""]', JSON),
    "arrays": (b"[" + b"[]," * (5 * MIB) + b"[]]", JSON),
    "sparse objects": (b"[" + b"{      }," * 1_800_000 + b"{}]", JSON),
    "numbers behind objects": (b"[" + (A + b",") * 9_000 + b"1," * (7 * MIB) + b"1]", JSON),
    "blank lines": (b"\n" * (16 * MIB), NDJSON),
    "short lines": (b"11\n" * (5 * MIB), NDJSON),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_millions_of_items_are_refused_before_they_take_memory(bomb: str):
    body, kind = BOMBS[bomb]
    with cpu_time_within(2 * STEP_SEC):
        assert problem_of(body, kind).code in ("too_many_events", "too_many_values")
    tracemalloc.start()
    try:
        problem_of(body, kind)
        assert tracemalloc.get_traced_memory()[1] < 48 * MIB
    finally:
        tracemalloc.stop()


def test_a_large_body_of_few_events_is_no_bomb():
    dense = b'{"metadata":{"numbers":[' + b"1," * 20_000 + b'1],"t":"[1,{,\\",1,1"}}'
    body = b"[" + b",".join([dense] * 50) + b"]"
    assert body.count(b",") > 10_000 * 20
    assert split(body) == [dense] * 50
    assert split(b'{"logs":' + body + b"}") == [dense] * 50
    for mixed in ([A, b"1"], [b"1"] * 9_000):
        assert split(b"[" + b",".join(mixed) + b"]") == mixed
        assert split(b'{"logs":[' + b",".join(mixed) + b"]}") == mixed
        more = b"[" + b",".join([*mixed, dense]) + b"]"
        for dense_body in (more, b'{"logs":' + more + b"}"):
            assert problem_of(dense_body).code == "invalid_bulk"


def test_logs_that_are_written_several_times_are_split_once():
    body = b'{"logs":[' + b"{}," * 900_000 + b'{}],"logs":[{"a":1}]}'
    tracemalloc.start()
    try:
        assert split(body) == [b'{"a":1}']
        assert tracemalloc.get_traced_memory()[1] < 8 * MIB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "content", ['"' + "a" * 2**20 + '"', '"' + '\\"' * 2**19 + '"', " " * 2**20]
)
def test_a_body_of_values_is_refused_without_a_look_at_each(content: str):
    body = b"[0," + content.encode() + b",0" * 250_010 + b"]"
    with cpu_time_within(STEP_SEC):
        assert problem_of(body).code in ("invalid_bulk", "invalid_json")


def test_a_large_body_that_is_cut_off_is_refused_soon():
    body = b'[{"a":"' + b"\\ud83e\\udd8a" * 2**20
    with cpu_time_within(STEP_SEC):
        assert problem_of(body).code == "invalid_json"


def cheapest(step: Callable[[], object]) -> float:
    """CPU seconds of the cheapest of five runs."""

    def run() -> float:
        began = time.thread_time()
        step()
        return time.thread_time() - began

    return min(run() for _ in range(5))


def test_no_step_reads_a_body_twice():
    # In one step, 16 MiB of escapes took 54 ms when the object and its array were both read there.
    body = b'{"logs":["' + b"\\\\" * (4 * MIB) + b'"]}'
    headers = {b"content-type": JSON}
    array = array_of(body, headers)
    once = cheapest(lambda: msgspec.json.decode(body, type=msgspec.Raw))
    steps = {
        "array_of": cheapest(lambda: array_of(body, headers)),
        "check_number": cheapest(lambda: check_number(body, array, max_events=10_000)),
        "split_events": cheapest(lambda: split_events(body, array, max_events=10_000)),
    }
    print(f"reading the body once: {once:.4f} s;", steps)  # noqa: T201 - in the report of `-rP`
    assert max(steps.values()) < 1.5 * once


def test_a_line_keeps_its_size_whatever_stands_beside_it():
    short = b'{"a":"' + b"x" * 300 + b'"}'
    alone = split(short + b"\n" + short + b"\n", NDJSON)
    beside = split(short + b"\n" + b'{"a":"' + b"x" * 2_000 + b'"}\n', NDJSON)
    assert alone[0] == beside[0]


def test_items_that_are_no_objects_are_not_counted_among_millions_of_values():
    body = b"[" + b",".join([b"[" + b"1," * 100_000 + b"1]"] * 15) + b"]"
    for each in (body, b'{"logs":' + body + b"}"):
        problem = problem_of(each)
        assert (problem.status, problem.code) == (400, "invalid_bulk")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)


@given(st.lists(st.dictionaries(st.text(max_size=5), VALUES, max_size=4), min_size=1, max_size=8))
def test_all_forms_give_the_same_events(events: list[dict[str, object]]):
    raws = [msgspec.json.encode(event) for event in events]
    array = b"[" + b",".join(raws) + b"]"
    assert split(array) == raws
    assert split(b'{"logs":' + array + b"}") == raws
    assert [line.removesuffix(b"\n") for line in split(b"\n".join(raws), NDJSON)] == raws


@pytest.mark.parametrize("size", [999, 1_000, 1_001, 1_024, 65_536])
def test_a_line_break_does_not_count_toward_the_size_of_an_event(size: int):
    line = b'{"message":"%b"}' % (b"x" * (size - 14))
    events = split(line + b"\n" + line + b"\n" + A, NDJSON)
    assert [event.removesuffix(b"\n") for event in events] == [line, line, A]
    assert size < 1_000 or events[:2] == [line, line]


def large(item: bytes, size: int = 16 * MIB) -> bytes:
    """A body of events whose metadata repeats an item."""
    event = b'{"metadata":{"a":[%b]}}' % b",".join([item] * (50_000 // (len(item) + 1)))
    return b",".join([event] * (size // (len(event) + 1)))


@pytest.mark.parametrize("item", [b"[0,0]", b"[]", b'{"a":{}}', b"0", b'"[["'])
def test_a_large_json_body_of_many_values_is_refused_before_it_is_parsed(item: bytes):
    for body in (b"[%b]" % large(item), b'{"logs":[%b]}' % large(item)):
        problem = problem_of(body)
        assert (problem.status, problem.code) == (422, "too_many_values")
        assert "Send the events as NDJSON" in problem.detail


@pytest.mark.parametrize(
    "item", [b"[10000000000,20000000000]", b'{"key":{"a":"some text"}}', b'"[               "']
)
def test_a_large_json_body_may_hold_a_value_per_nine_bytes(item: bytes):
    assert len(split(b"[%b]" % large(item))) > 1


def test_a_body_of_two_megabytes_may_hold_any_values():
    assert len(split(b"[%b]" % large(b"0", 2_000_000))) > 1


def test_a_large_body_of_lines_may_hold_any_number_of_values():
    body = large(b"[]").replace(b",{", b"\n{")
    assert len(split(body, NDJSON)) > 1
