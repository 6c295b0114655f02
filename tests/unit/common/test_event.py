import contextlib
import json
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocelot_common.event import (
    AcceptedEvent,
    EventAcceptor,
    PlainEvents,
    accept_event,
    ip_bytes,
    is_ip_address,
)
from ocelot_common.event_faults import FaultFinder
from ocelot_common.event_limits import EventError, EventLimits
from ocelot_common.timestamps import parse_rfc3339

NOW = parse_rfc3339("2026-11-24T12:00:00Z")
LIMITS = EventLimits()
ID = "01234567-89ab-7cde-8f01-23456789abcd"


def accept_plain(*raws: bytes, limits: EventLimits = LIMITS) -> PlainEvents:
    bulk = EventAcceptor(now_ms=NOW, limits=limits).bulk()
    return bulk.accept_plain(raws, most_slow_numbers=100)


def accept(raw: bytes, limits: EventLimits = LIMITS) -> AcceptedEvent:
    """What `accept` makes of it; `accept_plain` makes the same of it, or leaves it alone."""
    plain = accept_plain(raw, limits=limits)
    try:
        accepted = accept_event(raw, now_ms=NOW, limits=limits)
    except EventError:
        assert plain.texts == []
        raise
    if plain.texts:
        assert plain.texts == [accepted.text]
        assert (plain.ids or [None]) == [accepted.id]
    return accepted


def with_members(members: str) -> bytes:
    """A valid event's text with further members, as text of JSON."""
    return f'{{"action":"a.b","actor":{{"id":"u"}}{"," if members else ""}{members}}}'.encode()


def nested(depth: int) -> bytes:
    """An event whose metadata makes it nest `depth` levels: one is the event's own object."""
    arrays = depth - 2
    return with_members('"metadata":{"k":' + "[" * arrays + "]" * arrays + "}")


def keys(count: int) -> str:
    return json.dumps({f"k{number}": 0 for number in range(count)}, separators=(",", ":"))


def with_keys(count: int) -> bytes:
    return with_members(f'"metadata":{keys(count)}')


def fault_of(raw: bytes) -> tuple[str, str]:
    with pytest.raises(EventError) as refused:
        accept(raw)
    first = FaultFinder(EventAcceptor(now_ms=NOW, limits=LIMITS)).faults(raw, refused.value)[0]
    assert first.detail
    return first.code, first.path


FAULTS: dict[str, tuple[bytes, str, str]] = {
    "an empty body": (b"", "invalid_json", ""),
    "text that is no JSON": (b"action=login", "invalid_json", ""),
    "an event that is cut off": (b'{"action":"a","actor":{"id"', "invalid_json", ""),
    "two events at once": (with_members("") * 2, "invalid_json", ""),
    "a byte order mark": (b"\xef\xbb\xbf" + with_members(""), "invalid_json", ""),
    "NaN, which is no JSON": (with_members('"metadata":{"n":NaN}'), "invalid_json", ""),
    "a raw control character": (with_members('"message":"a\nb"'), "invalid_json", ""),
    "an array": (b"[]", "invalid_type", ""),
    "null": (b"null", "invalid_type", ""),
    "bytes that are not UTF-8": (with_members('"message":"?"').replace(b"?", b"\xff"),
                                 "invalid_unicode", ""),
    "UTF-8 cut in a key": (with_members('"metadata":{"?":1}').replace(b"?", b"\xe2\x82"),
                           "invalid_unicode", ""),
    "a surrogate encoded as UTF-8": (with_members('"message":"?"').replace(b"?", b"\xed\xa0\x80"),
                                     "invalid_unicode", ""),
    "a high surrogate alone": (with_members(r'"message":"\ud800"'), "invalid_unicode", ""),
    "a low surrogate alone": (with_members(r'"message":"\uDC00"'), "invalid_unicode", ""),
    "a lone surrogate in an inner key": (
        with_members(r'"metadata":{"k":{"\ud83d":1},"l":"further text"}'),
        "invalid_unicode",
        "",
    ),
    "a lone surrogate in a key": (with_members(r'"metadata":{"\ud83d":1}'), "invalid_unicode", ""),
    "surrogates in the wrong order": (with_members(r'"message":"\ude00\ud83d"'),
                                      "invalid_unicode", ""),
    "no action": (b'{"actor":{"id":"u"}}', "missing_field", "action"),
    "no actor": (b'{"action":"a"}', "missing_field", "actor"),
    "an actor without id": (b'{"action":"a","actor":{"type":"x"}}', "missing_field", "actor.id"),
    "a null action": (b'{"action":null,"actor":{"id":"u"}}', "invalid_type", "action"),
    "a null actor": (b'{"action":"a","actor":null}', "invalid_type", "actor"),
    "a null actor id": (b'{"action":"a","actor":{"id":null}}', "invalid_type", "actor.id"),
    "an empty action": (b'{"action":"","actor":{"id":"u"}}', "invalid_length", "action"),
    "an empty actor id": (b'{"action":"a","actor":{"id":""}}', "invalid_length", "actor.id"),
    "an action of 257 characters": (b'{"action":"%s","actor":{"id":"u"}}' % (b"a" * 257),
                                    "invalid_length", "action"),
    "an actor id of 1,025 characters": (b'{"action":"a","actor":{"id":"%s"}}' % (b"u" * 1025),
                                        "invalid_length", "actor.id"),
    "a target name of 1,025 characters": (
        with_members('"targets":[{},{"name":"%s"}]' % ("n" * 1025)),
        "invalid_length", "targets[1].name"),
    "a user agent of 1,025 characters": (
        with_members('"source":{"user_agent":"%s"}' % ("n" * 1025)),
        "invalid_length", "source.user_agent"),
    "a tag of 1,025 characters": (with_members('"tags":["%s"]' % ("t" * 1025)),
                                  "invalid_length", "tags[0]"),
    "a request id of 1,025 characters": (with_members('"request_id":"%s"' % ("t" * 1025)),
                                         "invalid_length", "request_id"),
    "an unknown field": (with_members('"acton":"a"'), "unknown_field", "acton"),
    "an unknown field that looks like a path": (with_members('"x`y - at `$.z`":1'),
                                                "unknown_field", "x`y - at `$.z`"),
    "an unknown field of the actor": (b'{"action":"a","actor":{"id":"u","uid":1}}',
                                      "unknown_field", "actor.uid"),
    "an unknown field of a target": (with_members('"targets":[{"id":"a"},{"url":"b"}]'),
                                     "unknown_field", "targets[1].url"),
    "an unknown field of the source": (with_members('"source":{"port":1}'),
                                       "unknown_field", "source.port"),
    "an unknown field of changes": (with_members('"changes":{"diff":1}'),
                                    "unknown_field", "changes.diff"),
    "a field of the server": (with_members('"received_at":"2026-11-24T12:00:00Z"'),
                              "unknown_field", "received_at"),
    "a number as message": (with_members('"message":1'), "invalid_type", "message"),
    "an object as targets": (with_members('"targets":{}'), "invalid_type", "targets"),
    "a null target": (with_members('"targets":[null]'), "invalid_type", "targets[0]"),
    "a null tag": (with_members('"tags":["a",null]'), "invalid_type", "tags[1]"),
    "an array as metadata": (with_members('"metadata":[]'), "invalid_type", "metadata"),
    "another outcome": (with_members('"outcome":"ok"'), "invalid_value", "outcome"),
    "an outcome in capitals": (with_members('"outcome":"Success"'), "invalid_value", "outcome"),
    "another severity": (with_members('"severity":"fatal"'), "invalid_value", "severity"),
    "an action of Ocelot's": (b'{"action":"ocelot.export","actor":{"id":"u"}}',
                              "reserved_action", "action"),
    "an id that is no UUID": (with_members('"id":"4711"'), "invalid_id", "id"),
    "an empty id": (with_members('"id":""'), "invalid_id", "id"),
    "an id without hyphens": (with_members(f'"id":"{ID.replace("-", "")}"'), "invalid_id", "id"),
    "an id in braces": (with_members(f'"id":"{{{ID}}}"'), "invalid_id", "id"),
    "the nil UUID": (with_members('"id":"00000000-0000-0000-0000-000000000000"'),
                     "invalid_id", "id"),
    "a time without offset": (with_members('"occurred_at":"2026-11-24T12:00:00"'),
                              "invalid_time", "occurred_at"),
    "an empty time": (with_members('"occurred_at":""'), "invalid_time", "occurred_at"),
    "a time as a number": (with_members('"occurred_at":1764000000'),
                           "invalid_type", "occurred_at"),
    "a time as a number in quotes": (with_members('"occurred_at":"1764000000"'),
                                     "invalid_time", "occurred_at"),
    "the year 0": (with_members('"occurred_at":"0000-01-01T00:00:00Z"'),
                   "invalid_time", "occurred_at"),
    "the end of the year 9999": (with_members('"occurred_at":"9999-12-31T23:59:59-10:00"'),
                                 "time_in_future", "occurred_at"),
    "the last nanosecond of the year 9999": (
        with_members('"occurred_at":"9999-12-31T23:59:59.999999999Z"'),
        "time_in_future", "occurred_at"),
    "the last nanosecond of the year 9999, west of Greenwich": (
        with_members('"occurred_at":"9999-12-31T23:59:59.999999999-10:00"'),
        "time_in_future", "occurred_at"),
    "a time more than 24 h ahead": (with_members('"occurred_at":"2026-11-25T12:00:00.001Z"'),
                                    "time_in_future", "occurred_at"),
    "an ip that is none": (with_members('"source":{"ip":"localhost"}'),
                           "invalid_ip", "source.ip"),
    "a number beyond a double": (with_members('"metadata":{"n":1e400}'),
                                 "number_out_of_range", "metadata[...]"),
    "an integer of 1,001 digits": (with_members('"metadata":{"a":[{"n":%s}]}' % ("9" * 1001)),
                                   "integer_too_long", "metadata.a[0].n"),
    "a negative integer of 1,001 digits": (
        with_members('"changes":{"after":-1%s}' % ("0" * 1000)),
        "integer_too_long", "changes.after"),
    "an integer that Python itself refuses": (
        with_members('"metadata":{"n":%s}' % ("9" * 5000)),
        "integer_too_long", "metadata.n"),
    "33 levels": (nested(33), "too_deep", ""),
    "2,001 keys": (with_keys(2_001), "too_many_keys", "metadata"),
    "2,001 keys in three parts": (
        with_members(f'"metadata":{{"a":{keys(900)}}},'
                     f'"changes":{{"before":{keys(900)},"after":{keys(200)}}}'),
        "too_many_keys", "changes.after"),
    "a key of 1,025 bytes": (with_members('"metadata":{"m":{"%s":1}}' % ("k" * 1025)),
                             "key_too_long", "metadata.m"),
    "a key of 342 characters and 1,026 bytes": (
        with_members('"metadata":{"%s":1}' % ("€" * 342)), "key_too_long", "metadata"),
    "a long key in an array of changes": (
        with_members('"changes":{"before":[{"%s":1}]}' % ("k" * 1025)),
        "key_too_long", "changes.before[0]"),
}  # fmt: skip


@pytest.mark.parametrize(("raw", "code", "path"), FAULTS.values(), ids=FAULTS)
def test_an_event_is_refused_with_code_and_path_for(raw: bytes, code: str, path: str) -> None:
    assert fault_of(raw) == (code, path)


def test_an_event_over_the_size_limit_is_refused_and_one_of_that_size_is_taken() -> None:
    room = LIMITS.max_event_bytes - len(with_members('"message":""'))
    exact = with_members('"message":"%s"' % ("x" * room))
    assert len(exact) == LIMITS.max_event_bytes

    assert accept(exact).text == exact
    assert fault_of(exact + b" ") == ("event_too_large", "")


@pytest.mark.parametrize("limit", [200, 65_536])
def test_the_text_of_record_is_bounded_too(limit: int) -> None:
    """`9e9` becomes `9000000000.0`; some events pass as plain ones, several at once."""
    limits = EventLimits(max_event_bytes=limit)
    numbers = ",".join(["9e9"] * ((limit - 80) // 4))
    raw = with_members(f'"metadata":{{"a":[{numbers}]}}')
    assert len(raw) <= limit
    with pytest.raises(EventError, match="bytes") as refused:
        accept(raw, limits)
    assert refused.value.code == "event_too_large"
    assert accept_plain(raw, limits=limits).texts == []


def test_the_size_is_checked_before_anything_else() -> None:
    assert fault_of(b"[" * (LIMITS.max_event_bytes + 1)) == ("event_too_large", "")


def test_a_detail_never_repeats_more_than_the_beginning_of_a_long_key() -> None:
    with pytest.raises(EventError) as refused:
        accept(with_members('"%s":1' % ("x" * 5000)))
    assert refused.value.code == "unknown_field"
    assert len(refused.value.path) == 100


TAKEN: dict[str, str] = {
    "nothing but what is required": "",
    "32 levels": nested(32).decode()[len(with_members("")) :].removesuffix("}"),
    "a target without members": '"targets":[{}]',
    "an empty list of targets": '"targets":[]',
    "empty values that were given": '"message":"","tags":[],"metadata":{}',
    "defaults that were given": '"outcome":"unknown","severity":"info"',
    "nulls of optional fields": '"occurred_at":null,"targets":null,"outcome":null,"severity":null,'
    '"message":null,"changes":null,"source":null,"request_id":null,"trace_id":null,"tags":null,'
    '"metadata":null',
    "nulls inside": '"targets":[{"type":null,"id":null,"name":null}],'
    '"changes":{"before":null,"after":null},"source":{"ip":null,"location":null}',
    "an empty ip": '"source":{"ip":""}',
    "an empty key": '"metadata":{"":{"":1}}',
    "a dotted key": '"metadata":{"a.b":1,"a":{"b":2}}',
    "keys that begin with a dollar": '"metadata":{"$set":{"$where":1}}',
    "NUL in keys and values": r'"metadata":{"a\u0000b":"\u0000"}',
    "whole numbers beside others": '"metadata":{"a":[1,1.0,-0.0,0.1,5e-324]}',
    "the largest integers of 64 bits": '"metadata":{"a":[9223372036854775807,'
    "18446744073709551615,-9223372036854775808]}",
    "an integer that no double holds": '"metadata":{"n":9007199254740993}',
    "an integer of 1,000 digits": '"metadata":{"n":%s}' % ("9" * 1000),
    "a negative integer of 1,000 digits": '"changes":{"before":-%s}' % ("9" * 1000),
    "2,000 keys": with_keys(2_000).decode()[len(with_members("")) :].removesuffix("}"),
    "a key of 1,024 bytes": '"metadata":{"%s":1}' % ("k" * 1024),
    "a key of 341 characters and 1,023 bytes": '"metadata":{"%s":1}' % ("€" * 341),
    "a key of 256 characters and 1,024 bytes": '"metadata":{"%s":1}' % ("🦊" * 256),
    "more colons than keys are allowed": '"message":"%s"' % (":" * 2_001),
    "a time exactly 24 h ahead": '"occurred_at":"2026-11-25T12:00:00Z"',
    "a time exactly 24 h ahead with an offset": '"occurred_at":"2026-11-25T14:00:00+02:00"',
    "the year 1, before it in UTC": '"occurred_at":"0001-01-01T00:00:00+10:00"',
    "more digits of a second than are kept": '"occurred_at":"2026-11-24T11:59:59.123456789012Z"',
}


@pytest.mark.parametrize("members", TAKEN.values(), ids=TAKEN)
def test_what_was_given_stays_and_what_was_absent_stays_absent_for(members: str) -> None:
    raw = with_members("")[:-1] + (b"," if members and members[0] != "," else b"")
    raw += members.encode() + b"}"
    accepted = accept(raw)
    assert (accepted.id, accepted.text) == (None, raw)


PLAIN = {
    "the least": "",
    "everything": '"occurred_at":"2026-11-24T12:00:00Z","targets":[{"id":"t"}],"outcome":"denied",'
    '"severity":"error","message":"m","changes":{"before":{"a":[1]},"after":{"a":[2]}},'
    '"source":{"ip":"::1"},"request_id":"r","trace_id":"t","tags":["x"],"metadata":{"k":"v"}',
    "nesting of five levels": '"metadata":{"a":{"b":[{"c":1}]}},"changes":{"before":[[[null]]]}',
    "four numbers that take long to read": '"metadata":{"n":[1e300,1E+300,5e-324,-2e23]}',
    "a number that takes long to read": f'"metadata":{{"n":[1e300,{",".join(["1.5"] * 99)}]}}',
    "nesting of six levels": '"metadata":{"a":{"b":[[{"c":1}]]}}',
    "nesting of 32 levels": f'"metadata":{{"a":{"[" * 30}{"]" * 30}}}',
    "values of every kind": f'"metadata":{{"a":[true,null,1,1.5,"",{10**400},[],{{}}]}}',
    "a source without an address": '"source":{"ip":null}',
    "4,000 bytes": f'"message":"{"x" * 3_900}"',
    "250 numbers with fractions": f'"metadata":{{"a":[{",".join(["1.5"] * 250)}]}}',
    "20 long integers": f'"metadata":{{"a":[{",".join(["9" * 190] * 20)}]}}',
    "32 brackets in metadata": f'"metadata":{{"a":[[[[1]]],{",".join(["[]"] * 27)}]}}',
    "many keys": f'"metadata":{{{",".join(f"{chr(34)}k{n}{chr(34)}:{n}" for n in range(300))}}}',
    "nesting in many bytes": f'"message":"{"x" * 999}","metadata":{{"a":{"[" * 30}{"]" * 30}}}',
}
NOT_PLAIN = {
    "nesting of 33 levels beside arrays": f'"metadata":{{"a":[[],[]],"b":{"[" * 31}{"]" * 31}}}',
    "an id that is not a UUID": '"id":"1"',
    "seven numbers that take long to read": f'"metadata":{{"n":[{",".join(["1e300"] * 7)}]}}',
    "many bytes": f'"message":"{"x" * 4_096}"',
    "an integer of 1,001 digits": f'"message":"{"x" * 900}","metadata":{{"n":{"9" * 1_001}}}',
    "a key of 1,025 bytes": f'"metadata":{{"{"k" * 1_025}":[{",".join(["1"] * 500)}]}}',
    "too many arrays in many bytes": f'"metadata":{{"a":[{",".join(["[]"] * 900)}]}}',
    "a time without an offset": '"occurred_at":"2026-11-24T12:00:00"',
    "a time in the future": '"occurred_at":"2026-11-26T12:00:00Z"',
    "no address": '"source":{"ip":"localhost"}',
    "no outcome": '"outcome":"good"',
    "a reserved action": '"action":"ocelot.x"',
    "metadata that is not an object": '"metadata":1',
    "a number that is too large": '"metadata":{"a":1e999}',
    "the same deeper": '"metadata":{"a":[[[[[[1e999]]]]]]}',
    "changes with an unknown field": '"changes":{"a":1}',
    "half of a surrogate pair": r'"metadata":{"a":"\ud800"}',
    "nesting of 33 levels": f'"metadata":{{"a":{"[" * 31}{"]" * 31}}}',
}


@pytest.mark.parametrize("members", PLAIN.values(), ids=PLAIN)
def test_it_takes_less_time_to_accept(members: str) -> None:
    acceptor = EventAcceptor(now_ms=NOW, limits=LIMITS)
    bulk = acceptor.bulk()
    raws = [with_members(members), with_members("")]
    for _ in range(2):  # it remembers what it met
        plain = bulk.accept_plain(raws, most_slow_numbers=100)
        assert plain.texts == [acceptor.accept(raw).text for raw in raws]


@pytest.mark.parametrize("members", NOT_PLAIN.values(), ids=NOT_PLAIN)
def test_beside_plain_events_a_closer_look_is_needed_at(members: str) -> None:
    others = [with_members(""), with_members('"metadata":{"a":1}'), with_members('"id":null')]
    plain = accept_plain(others[0], with_members(members), *others[1:])
    assert plain.positions == [0, 2, 3]
    assert plain.texts == [accept(raw).text for raw in others]


@pytest.mark.parametrize("members", NOT_PLAIN.values(), ids=NOT_PLAIN)
def test_ids_stay_with_their_events_beside(members: str) -> None:
    given = with_members(f'"id":"{ID}"')
    plain = accept_plain(given, with_members(members), with_members(""), given)
    assert plain.positions == [0, 2, 3]
    assert plain.ids == [accept(given).id, None, accept(given).id]


@pytest.mark.parametrize("members", NOT_PLAIN.values(), ids=NOT_PLAIN)
@pytest.mark.parametrize("beside", PLAIN.values(), ids=PLAIN)
def test_plain_events_stay_plain_beside(beside: str, members: str) -> None:
    raw = with_members(beside)
    plain = accept_plain(raw, with_members(members), raw)
    assert plain.positions == [0, 2]
    assert plain.texts == [accept(raw).text] * 2


def test_arrays_and_objects_beyond_one_per_20_bytes_are_counted_where_events_nest_deep() -> None:
    metadata = f'{{"a":{"[" * 20}{"]" * 20}}}'
    raw = with_members(f'"metadata":{metadata}')
    acceptor = EventAcceptor(now_ms=NOW, limits=LIMITS)
    bulk = acceptor.bulk()
    plain = bulk.accept_plain([raw] * 10, most_slow_numbers=100)
    assert plain.surplus == 10 * (2 + 21 - 6 - len(raw) // 20) > 0
    assert plain.surplus == 10 * acceptor.accept(raw).surplus
    faulty = with_members('"metadata":{"a":[[[[[[1e999]]]]]]}')
    assert bulk.accept_plain([raw, faulty], most_slow_numbers=100).surplus == plain.surplus / 10
    brackets = with_members(f'"metadata":{{"a":"{"[" * 20}","b":[[[[[[1]]]]]]}}')
    assert bulk.accept_plain([brackets] * 10, most_slow_numbers=100).surplus == 0
    assert bulk.accept_plain([with_members("")] * 10, most_slow_numbers=100).surplus == 0
    deeper = with_members(f'"metadata":{{"a":[{",".join(["[" * 20 + "]" * 20] * 2)}]}}')
    assert bulk.accept_plain([deeper], most_slow_numbers=100)[-1] == acceptor.accept(deeper).surplus
    assert acceptor.accept(deeper).surplus == 2 + 1 + 1 + 40 - 6 - len(deeper) // 20 > 0


def test_brackets_behind_a_quote_in_a_string_are_no_arrays() -> None:
    string = '\\"' + "[" * 1_100
    raw = with_members(f'"metadata":{{"a":[[[[[[["{string}"]]]]]]],"b":"{string}"}}')
    plain = accept_plain(raw, raw)
    assert (plain.surplus, plain.texts) == (0, [accept(raw).text] * 2)
    deep = with_members(f'"metadata":{{"a":{"[" * 40}"{string}"{"]" * 40}}}')
    assert accept_plain(raw, deep, raw).positions == [0, 2]


@pytest.mark.parametrize(
    "beside",
    [
        with_members(f'"message":"{"x" * 1_000}"'),
        with_members(f'"message":"{"x" * 1_000}","metadata":{{"a":{"[" * 20}{"]" * 20}}}'),
        with_members(f'"message":"{"x" * 1_000}","metadata":{{"a":1e23}}'),
        with_members(f'"message":"{"x" * 1_000}","metadata":{{"a":{"[" * 40}{"]" * 40}}}'),
    ],
    ids=["long", "long and deep", "long with an exponent", "long and too deep"],
)
def test_a_larger_event_beside_has_none_of_small_events_counted(beside: str) -> None:
    dense = with_members(f'"metadata":{{"a":[{",".join(["[]"] * 150)}]}}')
    bulk = EventAcceptor(now_ms=NOW, limits=LIMITS).bulk()
    plain = bulk.accept_plain([dense, beside, dense], most_slow_numbers=100)
    assert plain.surplus == 0
    assert [position for position in plain.positions if position != 1] == [0, 2]
    assert plain.texts[0] == plain.texts[-1] == accept(dense).text
    again = bulk.accept_plain([dense] * 10, most_slow_numbers=100)
    assert (again.surplus, len(again.texts)) == (0, 10)


def test_where_few_levels_are_allowed_no_event_is_plain() -> None:
    assert accept_plain(with_members(""), limits=EventLimits(max_depth=4)).texts == []


def test_an_action_has_up_to_256_characters_however_many_bytes() -> None:
    raw = f'{{"action":"{"ä" * 256}","actor":{{"id":"{"€" * 1024}"}}}}'.encode()
    assert accept(raw).text == raw


def test_an_action_that_only_begins_like_a_reserved_one_is_taken() -> None:
    raw = b'{"action":"ocelots.export","actor":{"id":"u"}}'
    assert accept(raw).text == raw


def test_the_id_leaves_the_text_and_comes_back_as_bytes_in_either_case() -> None:
    lower, upper = (accept(with_members(f'"id":"{text}"')) for text in (ID, ID.upper()))
    assert lower == upper == AcceptedEvent(bytes.fromhex(ID.replace("-", "")), with_members(""))


def test_a_null_id_is_no_id_and_leaves_no_trace() -> None:
    assert accept(with_members('"id":null')) == AcceptedEvent(None, with_members(""))


def test_of_a_key_given_twice_the_last_counts_everywhere() -> None:
    raw = (
        b'{"action":"first","actor":{"id":"u","type":"x"},"actor":{"id":"v"},"action":"last",'
        b'"metadata":{"k":1,"k":{"j":1,"j":2}}}'
    )
    assert accept(raw).text == b'{"action":"last","actor":{"id":"v"},"metadata":{"k":{"j":2}}}'


def test_a_key_counts_toward_the_limit_as_often_as_it_is_written() -> None:
    def repeated(number: int) -> bytes:
        keys = ",".join(['"same":0'] * number)
        return with_members(f'"metadata":{{{keys}}}')

    assert accept(repeated(2_000)).text == with_members('"metadata":{"same":0}')
    assert fault_of(repeated(2_001)) == ("too_many_keys", "metadata")


def test_keys_are_counted_before_anything_is_decoded() -> None:
    many = ",".join(['{"a":"xxxx"}'] * 2_001)
    number = "1e999"  # decoding it would raise another error
    assert fault_of(with_members(f'"metadata":{{"m":[{many},{number}]}}'))[0] == "too_many_keys"
    assert fault_of(with_members(f'"metadata":{{"m":[{number}]}}'))[0] == "number_out_of_range"


def test_the_text_is_compact_and_its_fields_stand_in_one_order() -> None:
    raw = b' { "metadata" : { "b" : 1 , "a" : 2 } , "actor" : { "id" : "u" } , "action":"a" } '
    assert accept(raw).text == b'{"action":"a","actor":{"id":"u"},"metadata":{"b":1,"a":2}}'


def test_escapes_become_the_characters_that_they_stand_for() -> None:
    raw = with_members(r'"message":"\u0041\/\ud83e\udd8a\u00e9"')
    assert accept(raw).text == with_members('"message":"A/🦊é"')


def test_numbers_with_fraction_or_exponent_become_doubles() -> None:
    raw = with_members('"metadata":{"a":[1E2,1.10,123456789012345678901234567890.0,1e-400,-0]}')
    assert accept(raw).text == with_members(
        '"metadata":{"a":[100.0,1.1,1.2345678901234568e29,0.0,0]}'
    )


OVER_SEVEN: dict[str, str] = {
    "a key of 8 bytes": '{"12345678":1}',
    "an integer of 4 digits": '{"k":1000}',
    "8 keys": keys(8),
    "8 levels": '{"k":[[[[[[]]]]]]}',
}


@pytest.mark.parametrize("metadata", OVER_SEVEN.values(), ids=OVER_SEVEN)
def test_limits_can_be_set(metadata: str) -> None:
    limits = EventLimits(max_depth=7, max_keys=7, max_key_bytes=7, max_integer_digits=3)
    largest = with_members(
        '"metadata":{"1":[[[[[]]]]],"2":0,"3":0,"4":0,"5":0,"6":0,"7777777":999}'
    )
    assert accept(largest, limits).text == largest
    with pytest.raises(EventError):
        accept(with_members(f'"metadata":{metadata}'), limits)


ALONE: dict[str, tuple[EventLimits, str, str]] = {
    "size": (EventLimits(max_event_bytes=60), f'{{"k":"{"x" * 50}"}}', "event_too_large"),
    "depth": (EventLimits(max_depth=3), '{"k":[[]]}', "too_deep"),
    "keys": (EventLimits(max_keys=3), keys(4), "too_many_keys"),
    "a key's length": (EventLimits(max_key_bytes=3), '{"1234":1}', "key_too_long"),
    "an integer's length": (EventLimits(max_integer_digits=3), '{"k":1000}', "integer_too_long"),
}


@pytest.mark.parametrize(("limits", "metadata", "code"), ALONE.values(), ids=ALONE)
def test_each_limit_holds_by_itself(limits: EventLimits, metadata: str, code: str) -> None:
    raw = with_members(f'"metadata":{metadata}')
    assert accept(raw).text == raw
    with pytest.raises(EventError) as refused:
        accept(raw, limits)
    assert refused.value.code == code


IPS: dict[str, tuple[str, str | None]] = {
    "IPv4 is mapped into IPv6": ("192.0.2.1", "00000000000000000000ffffc0000201"),
    "mapped IPv4 is the same address": ("::ffff:192.0.2.1", "00000000000000000000ffffc0000201"),
    "IPv6 may be short": ("2001:DB8::1", "20010db8000000000000000000000001"),
    "the unspecified address": ("::", "00" * 16),
    "an IPv4 of three parts": ("192.0.2", None),
    "an IPv4 with a leading zero, which some read as octal": ("192.0.2.010", None),
    "an IPv4 as one number": ("3221225985", None),
    "an IPv4 with a port": ("192.0.2.1:80", None),
    "an IPv4 with a space": (" 192.0.2.1", None),
    "an IPv4 with a NUL": ("192.0.2.1\0", None),
    "an IPv6 with a zone": ("fe80::1%eth0", None),
    "an IPv6 in brackets": ("[::1]", None),
    "a CIDR block": ("192.0.2.0/24", None),
    "digits of another script": ("١٩٢.0.2.1", None),
    "nothing": ("", None),
}


@pytest.mark.parametrize(("text", "expected"), IPS.values(), ids=IPS)
def test_addresses(text: str, expected: str | None) -> None:
    assert ip_bytes(text) == (bytes.fromhex(expected) if expected else None)
    assert is_ip_address(text) is (expected is not None)


characters = st.characters(codec="utf-8")
short = st.text(characters, max_size=12)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | short,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(short, inner, max_size=4),
    max_leaves=20,
)
required = st.fixed_dictionaries(
    {
        "action": st.text(characters, min_size=1, max_size=256).filter(
            lambda action: not action.startswith("ocelot.")
        ),
        "actor": st.fixed_dictionaries(
            {"id": st.text(characters, min_size=1)},
            optional={"type": short | st.none(), "email": short | st.none()},
        ),
    },
    optional={
        "id": st.uuids().map(str) | st.none(),
        "occurred_at": st.datetimes(max_value=datetime(2026, 1, 1)).map(  # noqa: DTZ001 - the offset follows
            lambda moment: f"{moment.isoformat()}Z"
        )
        | st.none(),
        "targets": st.lists(st.dictionaries(st.sampled_from(["id", "type", "name"]), short))
        | st.none(),
        "outcome": st.sampled_from(["success", "failure", "denied", "unknown", None]),
        "message": short | st.none(),
        "tags": st.lists(short) | st.none(),
        "changes": st.fixed_dictionaries({}, optional={"before": json_values, "after": json_values})
        | st.none(),
        "metadata": st.dictionaries(short, json_values, max_size=5) | st.none(),
    },
)


@given(required, st.booleans(), st.randoms())
def test_the_text_says_what_was_sent_and_is_its_own_canonical_form(
    event: dict[str, Any], ascii_only: bool, random: Any
) -> None:
    members = list(event.items())
    random.shuffle(members)
    accepted = accept(json.dumps(dict(members), ensure_ascii=ascii_only, indent=1).encode())

    event.pop("id", None)
    decoded = json.loads(accepted.text)
    assert decoded == event
    # Equality alone takes 1 for 1.0 and True for 1.
    assert json.dumps(decoded, sort_keys=True) == json.dumps(event, sort_keys=True)
    assert accept(accepted.text) == AcceptedEvent(None, accepted.text)


@given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
def test_whatever_is_sent_is_taken_or_refused_and_never_fails_otherwise(raw: bytes) -> None:
    with contextlib.suppress(EventError):
        accept(raw)


@given(required, st.data())
def test_damaged_events_are_taken_or_refused_and_never_fail_otherwise(
    event: dict[str, Any], data: st.DataObject
) -> None:
    raw = bytearray(json.dumps(event).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(EventError):
        accepted = accept(bytes(raw))
        assert accept(accepted.text) == AcceptedEvent(None, accepted.text)
