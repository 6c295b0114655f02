"""Ids, duplicates and errors of a request's events."""

import json
import uuid
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocelot_api.authentication import Principal
from ocelot_api.ingest.accepting import (
    FAULTS_OF_DENSE,
    FREE_FAULTS,
    MAX_SURPLUS,
    Accepted,
    Accepting,
    TooDenseError,
    TooManyFaultsError,
)
from ocelot_common.event import EventAcceptor, TooManySlowNumbersError
from ocelot_common.event_limits import EventLimits
from ocelot_common.ids import format_id
from ocelot_common.registry.model import Tenant

ID = "0190aaaa-0000-7000-8000-000000000001"
NOW = 1_790_000_000_000


@pytest.fixture(scope="session")
def principal(make_tenant: Callable[..., Tenant]) -> Principal:
    return Principal(make_tenant(), "me", frozenset({"logs:write"}))


def event(**fields: Any) -> bytes:
    return json.dumps({"action": "a", "actor": {"id": "u"}} | fields).encode()


def accept(principal: Principal, raws: Sequence[bytes], key: str | None = None) -> Accepted:
    acceptor = EventAcceptor(now_ms=NOW, limits=EventLimits())
    accepting = Accepting(principal=principal, acceptor=acceptor, key=key)
    for _ in accepting.steps(raws):
        pass
    accepted = accepting.accepted
    assert [format_id(event.id) for event in accepted.events] == [
        text for text in accepted.ids if text
    ]
    assert len(accepted.ids) == len(raws)
    return accepted


def ids_of(accepted: Accepted) -> dict[int, uuid.UUID]:
    return {index: uuid.UUID(text) for index, text in enumerate(accepted.ids) if text}


def test_a_clients_id_wins(principal: Principal):
    for key in (None, "key"):
        accepted = accept(principal, [event(id=ID), event(id=ID.upper().replace("1", "2"))], key)
        assert str(ids_of(accepted)[0]) == ID
        assert accepted.errors == []


def test_the_id_is_no_part_of_the_text(principal: Principal):
    accepted = accept(principal, [event(id=ID)])
    assert accepted.events[0].text == b'{"action":"a","actor":{"id":"u"}}'


def test_an_event_without_id_gets_a_uuid_of_version_7(principal: Principal):
    ids = ids_of(accept(principal, [event()] * 100))
    assert {each.version for each in ids.values()} == {7}
    assert len(set(ids.values())) == 100


def test_one_id_with_one_text_twice_is_the_same_event_twice(principal: Principal):
    accepted = accept(principal, [event(id=ID), event(id=ID)])
    assert accepted.errors == []
    assert accepted.events[0] == accepted.events[1]


def test_one_id_with_two_texts_is_refused_at_the_second(principal: Principal):
    accepted = accept(principal, [event(id=ID), event(id=ID, message="other"), event(id=ID)])
    assert list(ids_of(accepted)) == [0, 2]
    assert [(each.index, each.code, each.path) for each in accepted.errors] == [
        (1, "duplicate_id", "id")
    ]


def test_errors_name_index_code_and_path_and_the_rest_is_taken(principal: Principal):
    accepted = accept(
        principal,
        [event(), b"{", event(actor={}), event(extra=1), event(id="x"), event(action="ocelot.x")],
    )
    assert list(ids_of(accepted)) == [0]
    assert [(each.index, each.code, each.path) for each in accepted.errors] == [
        (1, "invalid_json", ""),
        (2, "missing_field", "actor.id"),
        (3, "unknown_field", "extra"),
        (4, "invalid_id", "id"),
        (5, "reserved_action", "action"),
    ]
    assert all(each.detail for each in accepted.errors)


def test_an_event_with_several_faults_counts_as_one_rejected_event(principal: Principal):
    accepted = accept(principal, [event(), b"{}", event(id="x", extra=1)])
    assert accepted.rejected == 2
    assert [(each.index, each.code, each.path) for each in accepted.errors] == [
        (1, "missing_field", "action"),
        (1, "missing_field", "actor"),
        (2, "unknown_field", "extra"),
        (2, "invalid_id", "id"),
    ]
    assert accept(principal, [b"{}"]).rejected == 1


def test_events_are_judged_alike_whatever_stands_beside_them(principal: Principal):
    """Plain events are looked at together, 128 at a time."""
    kinds: list[dict[str, Any]] = [
        {},
        {"metadata": {"a": {"b": {"c": {"d": {"e": 1}}}}}},
        {"id": ID},
        {"action": ""},
        {"action": "ocelot.x"},
        {"occurred_at": "2999-01-01T00:00:00Z"},
        {"source": {"ip": "x"}},
    ]
    for position in (0, 127, 128, 299):
        for kind in kinds:
            raws = [event(message=str(number)) for number in range(300)]
            raws[position] = event(**kind)
            accepted = accept(principal, raws)
            alone = accept(principal, [raws[position]])
            assert [(e.index, e.code, e.path) for e in accepted.errors] == [
                (position, e.code, e.path) for e in alone.errors
            ]
            expected = [accept(principal, [raw]).events for raw in raws]
            assert [e.text for e in accepted.events] == [e.text for one in expected for e in one]
            assert (accepted.ids[position] is None) == bool(alone.errors)
            if kind.get("id"):
                assert accepted.ids[position] == ID


def test_nesting_of_ten_thousand_levels_is_an_error_of_its_event(principal: Principal):
    deep = b'{"action":"a","actor":{"id":"u"},"metadata":%b1%b}' % (b'{"a":' * 9_000, b"}" * 9_000)
    accepted = accept(principal, [deep, b"[" * 10_000, event()])
    assert [each.code for each in accepted.errors] == ["too_deep", "too_deep"]
    assert list(ids_of(accepted)) == [2]


def test_an_idempotency_key_makes_ids_of_version_8_that_repeat(principal: Principal):
    raws = [event(message=str(number)) for number in range(5)]
    first, again = accept(principal, raws, "key"), accept(principal, raws, "key")
    assert ids_of(first) == ids_of(again)
    assert {each.version for each in ids_of(first).values()} == {8}
    assert len(set(ids_of(first).values())) == 5


def test_another_key_subject_or_tenant_makes_other_ids(
    principal: Principal, make_tenant: Callable[..., Tenant]
):
    others = [
        (principal, "other"),
        (Principal(principal.tenant, "another", principal.scopes), "key"),
        (Principal(make_tenant(uid="f" * 16), "me", principal.scopes), "key"),
    ]
    ids = {ids_of(accept(who, [event()], key))[0] for who, key in [(principal, "key"), *others]}
    assert len(ids) == 4


def test_equal_events_of_a_request_get_different_ids(principal: Principal):
    ids = ids_of(accept(principal, [event()] * 3, "key"))
    assert len(set(ids.values())) == 3


def test_white_space_and_repeated_keys_do_not_change_an_id(principal: Principal):
    plain = ids_of(accept(principal, [event()], "key"))[0]
    odd = b' {"action" : "x", "actor":{"id":"u"},\n"action":"a"} '
    assert ids_of(accept(principal, [odd], "key"))[0] == plain


@given(
    texts=st.lists(st.sampled_from("abcde"), min_size=1, max_size=12),
    dropped=st.sets(st.integers(0, 11)),
    seed=st.randoms(use_true_random=False),
)
def test_ids_by_key_do_not_depend_on_position(
    principal: Principal, texts: list[str], dropped: set[int], seed: Any
):
    """Events that a client drops or reorders change no other event's id."""
    ids = ids_of(accept(principal, [event(message=text) for text in texts], "key"))
    by_text: dict[str, set[uuid.UUID]] = {}
    for index, text in enumerate(texts):
        by_text.setdefault(text, set()).add(ids[index])
    kept = [text for index, text in enumerate(texts) if index not in dropped]
    seed.shuffle(kept)
    bad = [b"{"] * len(dropped)
    again = accept(principal, [*bad, *(event(message=text) for text in kept)], "key")
    assert len(set(ids_of(again).values())) == len(kept)
    for position, text in enumerate(kept):
        assert ids_of(again)[len(bad) + position] in by_text[text]


@pytest.mark.parametrize("twice", [False, True], ids=["decoded at once", "decoded one by one"])
def test_dense_events_that_nest_deep_are_taken_up_to_a_number_per_request(
    principal: Principal, *, twice: bool
):
    deep = json.loads("[" * 28 + "]" * 28)
    raw = event(metadata={"a": [deep, deep] if twice else deep}).replace(b" ", b"")
    surplus = raw.count(b"[") + raw.count(b"{") - 6 - len(raw) // 20
    most = MAX_SURPLUS // surplus
    assert len(accept(principal, [raw] * most).events) == most
    with pytest.raises(TooDenseError):
        accept(principal, [raw] * (most + 1))


@pytest.mark.parametrize("first", [{"a": [[[[[[[1]]]]]]]}, 5], ids=["deep", "faulty"])
def test_events_with_too_many_arrays_are_counted_behind_one_that_nests_deep(
    principal: Principal, first: object
):
    dense = event(changes={"before": [[[]]] * 120}).replace(b" ", b"")
    assert len(accept(principal, [dense] * 1_000).events) == 1_000
    with pytest.raises(TooDenseError):
        accept(principal, [event(metadata=first), *[dense] * 1_000])


def test_events_with_brackets_in_strings_are_not_dense_beside_one_that_nests_deep(
    principal: Principal,
):
    brackets = event(metadata={"a": "[" * 30})
    deep = event(metadata={"a": [[[[[[[1]]]]]]]})
    for raws in ([deep] + [brackets] * 1_000, [brackets] * 1_000 + [deep]):
        assert len(accept(principal, raws).events) == 1_001


def test_ordinary_events_are_never_too_dense(principal: Principal):
    nested = event(metadata={"a": {"b": {"c": {"d": {"e": {"f": [1, "[[[["]}}}}}})
    assert len(accept(principal, [nested] * 10_000).events) == 10_000


@pytest.mark.parametrize("depth", [1, 29])
def test_a_small_faulty_event_that_nests_deep_counts_as_several(principal: Principal, depth: int):
    raw = b'{"action":5,"actor":{"id":"u"},"metadata":{"a":%b%b}}' % (b"[" * depth, b"]" * depth)
    weight = FAULTS_OF_DENSE if depth > 1 else 1
    number = FREE_FAULTS // weight
    assert accept(principal, [raw] * number).rejected == number
    with pytest.raises(TooManyFaultsError) as caught:
        accept(principal, [raw] * 3 * number)
    assert number < caught.value.rejected < 2 * number


BASE = '{"action":"a","actor":{"id":"u"}'
#: Each was judged by what stood beside it.
ALONE_OR_NOT = {
    "exponents in both parts": BASE
    + ',"metadata":{"a":[1e23,1e23,1e23,1e23]},"changes":{"before":[1e23,1e23,1e23,1e23]}}',
    "many targets beside a deep part": BASE
    + f',"targets":[{",".join(["{}"] * 290)}],"metadata":{{"a":[[[[[[]]]]]]}}}}',
    "a deep part that is written again": BASE
    + f',"metadata":{"[" * 40}{"]" * 40},"metadata":{{"a":[[[[[[]]]]]]}}}}',
    "exponents in a part that is written again": BASE
    + ',"metadata":{"a":[1e23,1e23,1e23,1e23,1e23,1e23]},"metadata":{"a":[[[[[[]]]]]]}}',
    "many arrays": BASE + f',"metadata":{{"a":[{",".join(["{}"] * 28)}]}}}}',
}


@pytest.mark.parametrize("raw", ALONE_OR_NOT.values(), ids=ALONE_OR_NOT)
def test_an_event_is_judged_as_if_it_were_alone(principal: Principal, raw: str) -> None:
    text = raw.encode()
    alone = [error.code for error in accept(principal, [text]).errors]
    beside = [b"{}", event(metadata={"a": [[[[[[[1]]]]]]]}), event(metadata={"a": 1e300}), event()]
    for other in (text, *beside):
        errors = accept(principal, [other, text]).errors
        assert [error.code for error in errors if error.index == 1] == alone


def test_a_request_leaves_nothing_behind_for_the_next_one(principal: Principal) -> None:
    """One tenant's events that nest deep had those of others counted, and refused, for a second."""
    acceptor = EventAcceptor(now_ms=NOW, limits=EventLimits())
    dense = [(BASE + f',"metadata":{{"a":[{",".join(["{}"] * 28)}]}}}}').encode()] * 200

    def accepted() -> int:
        accepting = Accepting(principal=principal, acceptor=acceptor, key=None)
        for _ in accepting.steps(dense):
            pass
        return len(accepting.accepted.events)

    assert accepted() == 200
    other = Accepting(principal=principal, acceptor=acceptor, key=None)
    for _ in other.steps([event(metadata={"a": [[[[[[[1]]]]]]]}), (BASE + "}").encode()]):
        pass
    assert accepted() == 200


@pytest.mark.parametrize("part", ['"metadata":{"a":{%s}}', '"changes":{"before":{%s}}'])
def test_a_key_that_is_not_utf_8_beside_a_long_integer_is_a_fault_of_its_event(
    principal: Principal, part: str
) -> None:
    text = (BASE + "," + part % ('"\xff":' + "9" * 1_001) + "}").encode("latin-1")
    for raws in ([text], [event(), text]):
        errors = accept(principal, raws).errors
        assert [error.code for error in errors] == ["integer_too_long"]


def test_numbers_that_take_long_to_read_are_counted_over_the_whole_request(
    principal: Principal,
) -> None:
    slow = (BASE + ',"metadata":{"a":[1e300,1e300,1e300,1e300]}}').encode()
    assert len(accept(principal, [slow] * 16).events) == 16
    for others in ([], [b"{}"]):
        with pytest.raises(TooManySlowNumbersError):
            accept(principal, [*others, *[slow] * 40])
    single = (BASE + f',"metadata":{{"a":[{",".join(["1e300"] * 900)}]}}}}').encode()
    assert [error.code for error in accept(principal, [single]).errors] == ["too_many_exponents"]


def test_faults_among_the_smallest_events_are_named_up_to_a_number(principal: Principal) -> None:
    small, faulty = (BASE + "}").encode(), (BASE + ',"tags":1}').encode()
    events = [faulty if number % 16 == 0 else small for number in range(1_600)]
    assert accept(principal, events).rejected == 100
    events = [faulty if number % 4 == 0 else small for number in range(1_600)]
    with pytest.raises(TooManyFaultsError) as caught:
        accept(principal, events)
    assert caught.value.rejected < 200


def test_small_events_beside_faulty_parts_are_taken_up_to_a_number(principal: Principal) -> None:
    small, faulty = (BASE + "}").encode(), (BASE + ',"metadata":{"a":1e999}}').encode()
    events = [faulty if number % 100 == 0 else small for number in range(200)]
    assert accept(principal, events).rejected == 2
    with pytest.raises(TooManyFaultsError) as caught:
        accept(principal, events * 10)
    assert 2 < caught.value.rejected < 10
    large = [raw[:-1] + b',"message":"%b"}' % (b"m" * 300) for raw in events]
    assert accept(principal, large * 10).rejected == 20


def test_dense_events_beside_a_faulty_part_count_several_times(principal: Principal) -> None:
    dense = (BASE + f',"message":"{"m" * 150}","metadata":{{"a":{"[" * 22}{"]" * 22}}}}}').encode()
    faulty = (BASE + ',"changes":{"before":1e999}}').encode()
    assert accept(principal, [faulty, *[dense] * 50]).rejected == 1
    with pytest.raises(TooManyFaultsError) as caught:
        accept(principal, [faulty, *[dense] * 120])
    assert caught.value.rejected == 1


FAULTY = (b'{"action":1}', event(metadata=1), event(occurred_at="x"), event(id="x"))


def test_a_fault_does_not_change_what_becomes_of_the_events_beside_it(
    principal: Principal,
) -> None:
    good = [event(message=str(number)) for number in range(300)]
    given = [event(message=str(number), id=str(uuid.uuid4())) for number in range(300)]
    for raws in (good, given, [*good, *given]):
        expected = [each.text for each in accept(principal, raws).events]
        for at, fault in product((0, 1, 127, 128, 200, 299), FAULTY):
            beside = accept(principal, [*raws[:at], fault, *raws[at:]])
            assert [each.text for each in beside.events] == expected
            assert [number for number, each in enumerate(beside.ids) if each is None] == [at]
            assert {error.index for error in beside.errors} == {at}


def test_ordinary_events_with_faults_everywhere_are_named_one_by_one(principal: Principal) -> None:
    def ordinary(number: int) -> bytes:
        fields: dict[str, Any] = {"changes": {"before": {"n": number}, "after": {"n": [1, {}]}}}
        return event(message="m" * 200, **({"changes": 1} if number % 3 == 0 else fields))

    assert accept(principal, [ordinary(number) for number in range(3_000)]).rejected == 1_000
