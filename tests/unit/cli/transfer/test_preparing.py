"""Ids follow from lines, and from nothing else (design §5)."""

import json
from typing import Any

import pytest

from ocelot_cli.mapping import load_mapping
from ocelot_cli.transfer.preparing import EventPreparer, MappingPreparer, UnusableLineError
from ocelot_common.event import accept_event
from ocelot_common.event_limits import EventLimits
from ocelot_common.ids import format_id

OWN_ID = "0192aaaa-bbbb-7ccc-8ddd-eeeeeeeeeeee"
EVENT = b'{"action":"a.b","actor":{"id":"jane"}}'
#: Ids are a promise to those who sent a file before: this one must never change.
ID_OF_EVENT = "610c1d53-f89e-8d80-9b03-dcf54b0f5559"
CLOUDTRAIL = (
    b'{"eventID":"1","eventName":"GetObject","eventSource":"s3.amazonaws.com",'
    b'"eventTime":"2026-01-02T03:04:05Z","userIdentity":{"type":"Root","principalId":"1"}}'
)


def event_id(event: bytes) -> Any:
    return json.loads(event)["id"]


def test_the_id_of_a_line_is_the_same_in_every_run_and_release(line: Any):
    assert event_id(EventPreparer().prepare(line(EVENT)).event) == ID_OF_EVENT


def test_the_id_is_a_uuid_of_version_8_that_the_api_takes_as_it_is(line: Any):
    prepared = EventPreparer().prepare(line(EVENT))

    accepted = accept_event(prepared.event, now_ms=0, limits=EventLimits())

    assert ID_OF_EVENT[14] == "8"
    assert accepted.id is not None
    assert format_id(accepted.id) == ID_OF_EVENT
    assert accepted.text == accept_event(EVENT, now_ms=0, limits=EventLimits()).text


def test_equal_lines_are_different_events_with_the_same_ids_again(line: Any):
    first, second = EventPreparer(), EventPreparer()

    ids = [event_id(first.prepare(line(EVENT, number=n)).event) for n in range(3)]
    again = [event_id(second.prepare(line(EVENT, number=n)).event) for n in range(3)]

    assert len(set(ids)) == 3
    assert again == ids


def test_the_name_of_the_file_the_line_number_and_other_lines_do_not_enter_the_id(line: Any):
    preparer = EventPreparer()
    preparer.prepare(line(b'{"action":"other","actor":{"id":"x"}}'))

    prepared = preparer.prepare(line(EVENT, number=77, file="renamed.ndjson"))

    assert event_id(prepared.event) == ID_OF_EVENT


def test_the_mapping_enters_the_id(line: Any):
    mapped = MappingPreparer(load_mapping("cloudtrail")).prepare(line(CLOUDTRAIL))

    assert event_id(mapped.event) != event_id(EventPreparer().prepare(line(CLOUDTRAIL)).event)


def test_an_events_own_id_is_kept_and_the_line_goes_as_it_is(line: Any):
    raw = b'{"id":"%s","action":"a","actor":{"id":"x"}}' % OWN_ID.encode()

    assert EventPreparer().prepare(line(raw)).event == raw


@pytest.mark.parametrize("own", [b'""', b"5", b'"x"', b"false"])
def test_an_id_that_is_none_is_left_for_the_api_to_refuse(line: Any, own: bytes):
    raw = b'{"id":' + own + b"}"

    assert EventPreparer().prepare(line(raw)).event == raw


def test_an_id_of_null_gets_ours_as_the_last_key_and_the_last_one_counts(line: Any):
    raw = b'{"id":null,"action":"a","actor":{"id":"x"}}'

    prepared = EventPreparer().prepare(line(raw))

    assert prepared.event.startswith(raw[:-1] + b',"id":"')
    accepted = accept_event(prepared.event, now_ms=0, limits=EventLimits())
    assert accepted.id is not None
    assert format_id(accepted.id) == event_id(prepared.event)


@pytest.mark.parametrize(
    ("raw", "ours"),
    [
        (b'{"id":"%s","id":null}' % OWN_ID.encode(), True),
        (b'{"id":null,"id":"%s"}' % OWN_ID.encode(), False),
    ],
)
def test_of_ids_given_twice_the_last_one_counts(line: Any, raw: bytes, ours: bool):
    assert (event_id(EventPreparer().prepare(line(raw)).event) != OWN_ID) is ours


def test_other_keys_given_twice_go_to_the_api_as_they_are(line: Any):
    raw = b'{"action":"a","action":"b","actor":{"id":"x"}}'

    assert EventPreparer().prepare(line(raw)).event.startswith(raw[:-1])


@pytest.mark.parametrize("raw", [b"{}", b" {} ", b"{ \t }"])
def test_an_empty_object_stays_valid_json(line: Any, raw: bytes):
    event = EventPreparer().prepare(line(raw)).event

    assert list(json.loads(event)) == ["id"]


def test_an_id_inside_another_object_is_not_the_events(line: Any):
    raw = b'{"action":"a","actor":{"id":"%s"}}' % OWN_ID.encode()

    assert event_id(EventPreparer().prepare(line(raw)).event) != OWN_ID


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"[1]", "not a JSON object"),
        (b'"text"', "not a JSON object"),
        (b"null", "not a JSON object"),
        (b"{", "not valid JSON: "),
        (b'{"a":1,}', "not valid JSON: "),
        (b"{} {}", "not valid JSON: "),
        (b"\xef\xbb\xbf{}", "not valid JSON: "),
        (b'{"id":"\xff"}', "not valid UTF-8"),
        (b'{"id":' + b"[" * 100_000, "too deep"),
    ],
)
@pytest.mark.parametrize("mapped", [False, True])
def test_a_line_that_is_no_event_says_why(line: Any, raw: bytes, reason: str, mapped: bool):
    preparer = MappingPreparer(load_mapping("okta")) if mapped else EventPreparer()

    with pytest.raises(UnusableLineError) as caught:
        preparer.prepare(line(raw))

    assert reason in str(caught.value)


@pytest.mark.parametrize("number", [b"1e999", b"9" * 5_000])
def test_a_number_beyond_all_bounds_is_named_as_the_reason(line: Any, number: bytes):
    with pytest.raises(UnusableLineError, match="out of range"):
        MappingPreparer(load_mapping("okta")).prepare(line(b'{"a":' + number + b"}"))


def test_an_unmappable_line_gives_the_mappings_reason(line: Any):
    with pytest.raises(UnusableLineError, match="not a CloudTrail record"):
        MappingPreparer(load_mapping("cloudtrail")).prepare(line(b'{"a":1}'))


def test_a_mapped_event_carries_the_whole_foreign_one_with_exact_integers(line: Any):
    foreign = (
        b'{"eventName":"A","eventSource":"s3.amazonaws.com","eventTime":"2026-01-02T03:04:05Z",'
        b'"userIdentity":{"type":"Root","principalId":"1"},"big":123456789012345678901234567890}'
    )

    event = json.loads(MappingPreparer(load_mapping("cloudtrail")).prepare(line(foreign)).event)

    assert event["metadata"] == json.loads(foreign)


def test_lines_of_equal_natural_id_are_different_events(line: Any):
    preparer = MappingPreparer(load_mapping("cloudtrail"))

    one = preparer.prepare(line(CLOUDTRAIL))
    other = preparer.prepare(line(CLOUDTRAIL.replace(b"GetObject", b"PutObject")))

    assert event_id(one.event) != event_id(other.event)
