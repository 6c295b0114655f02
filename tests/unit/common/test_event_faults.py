import json
from typing import Any

import pytest

from ocelot_common.event import EventAcceptor
from ocelot_common.event_faults import MAX_FAULTS, FaultFinder
from ocelot_common.event_limits import EventError, EventFault, EventLimits
from ocelot_common.timestamps import parse_rfc3339

LIMITS = EventLimits()
ACCEPTOR = EventAcceptor(now_ms=parse_rfc3339("2026-11-24T12:00:00Z"), limits=LIMITS)


def faults_of(event: Any, finder: FaultFinder | None = None) -> list[EventFault]:
    raw = event if isinstance(event, bytes) else json.dumps(event).encode()
    with pytest.raises(EventError) as rejected:
        ACCEPTOR.accept(raw)
    return (finder or FaultFinder(ACCEPTOR)).faults(raw, rejected.value)


def told(faults: list[EventFault]) -> set[tuple[str, str]]:
    assert len({fault[:2] for fault in faults}) == len(faults)
    return {fault[:2] for fault in faults}


def test_all_faults_of_an_event_are_found_at_every_level():
    event = {
        "action": 5,
        "actor": {"type": [], "uid": "u"},
        "targets": [{"id": 1}, {"url": "x"}, None],
        "outcome": "ok",
        "source": {"ip": "testclient"},
        "extra": 1,
    }
    assert told(faults_of(event)) == {
        ("invalid_type", "action"),
        ("missing_field", "actor.id"),
        ("invalid_type", "actor.type"),
        ("unknown_field", "actor.uid"),
        ("invalid_type", "targets[0].id"),
        ("unknown_field", "targets[1].url"),
        ("invalid_type", "targets[2]"),
        ("invalid_value", "outcome"),
        ("invalid_ip", "source.ip"),
        ("unknown_field", "extra"),
    }


def test_what_types_do_not_say_is_checked_too():
    event = {
        "action": "ocelot.purge",
        "actor": {"id": ""},
        "id": "4711",
        "occurred_at": "now",
        "tags": ["x" * 1_025],
        "changes": {"diff": 1},
        "metadata": [],
    }
    assert told(faults_of(event)) == {
        ("reserved_action", "action"),
        ("invalid_length", "actor.id"),
        ("invalid_id", "id"),
        ("invalid_time", "occurred_at"),
        ("invalid_length", "tags[0]"),
        ("unknown_field", "changes.diff"),
        ("invalid_type", "metadata"),
    }


def test_the_fault_for_which_the_event_was_rejected_comes_first():
    event = {"action": "a", "actor": {"id": "u"}, "severity": "loud", "message": 1, "x": 1}
    raw = json.dumps(event).encode()
    with pytest.raises(EventError) as rejected:
        ACCEPTOR.accept(raw)
    first, *others = FaultFinder(ACCEPTOR).faults(raw, rejected.value)
    assert first[:2] == (rejected.value.code, rejected.value.path)
    assert len(others) == 2


def test_a_fault_inside_metadata_is_named_with_the_others():
    key = "k" * 1_025
    event = {"action": "a", "actor": {"id": "u"}, "metadata": {key: 1}, "source": {"ip": "x"}}
    assert told(faults_of(event)) == {("key_too_long", "metadata"), ("invalid_ip", "source.ip")}


def test_an_event_has_ten_faults_at_most():
    assert len(faults_of({f"k{number}": 1 for number in range(100)})) == MAX_FAULTS == 10


@pytest.mark.parametrize("raw", [b"[]", b'"x"', b"{", b'{"action":"\xff"}', b"[" * 99_999])
def test_a_fault_of_the_event_as_a_whole_is_the_only_one(raw: bytes):
    assert [fault.path for fault in faults_of(raw)] == [""]


def test_text_that_is_not_valid_json_behind_the_first_fault_hides_nothing():
    assert told(faults_of(rb'{"action":1,"x":2,"message":"\ud800","actor":{}}')) >= {
        ("invalid_type", "action")
    }


@pytest.mark.parametrize(
    ("name", "meant"),
    [("target", "targets"), ("acton", "action"), ("occured_at", "occurred_at")],
)
def test_a_misspelt_name_is_answered_with_the_one_that_may_be_meant(name: str, meant: str):
    (fault,) = faults_of({"action": "a", "actor": {"id": "u"}, name: None})
    assert f"`{meant}`" in fault.detail


@pytest.mark.parametrize("name", ["zzz", "targets" * 20])
def test_another_name_is_answered_with_the_place_for_it(name: str):
    (fault,) = faults_of({"action": "a", "actor": {"id": "u"}, name: None})
    assert "`metadata`" in fault.detail


def test_few_names_of_a_request_are_compared(monkeypatch: pytest.MonkeyPatch):
    calls: list[str] = []
    monkeypatch.setattr(
        "ocelot_common.event_faults.get_close_matches",
        lambda name, *_, **__: calls.append(name) or [],
    )
    finder = FaultFinder(ACCEPTOR)
    for number in range(20):
        faults_of({f"k{number}": 1, f"l{number}": 2}, finder)
    assert len(calls) == 10


def test_the_rejected_events_of_a_request_are_read_again_within_the_size_of_one():
    finder = FaultFinder(ACCEPTOR)
    event = {"action": 1, "actor": 1}
    numbers = [len(faults_of(event, finder)) for _ in range(40)]
    again = -(-LIMITS.max_event_bytes // 2_000)  # each counts as 2,000 bytes at least
    assert numbers == [2] * again + [1] * (40 - again)
    large = {"action": 1, "actor": 1, "message": "x" * 60_000}
    other = FaultFinder(ACCEPTOR)
    assert [len(faults_of(large, other)) for _ in range(3)] == [2, 2, 1]


@pytest.mark.parametrize(
    ("field", "value", "expected", "got"),
    [
        ("message", 1, "a string", "a number"),
        ("message", 1.5, "a string", "a number"),
        ("message", True, "a string", "a boolean"),
        ("message", [], "a string", "an array"),
        ("targets", {}, "an array", "an object"),
        ("actor", None, "an object", "null"),
        ("metadata", "x", "an object", "a string"),
    ],
)
def test_types_are_named_in_the_words_of_json(field: str, value: Any, expected: str, got: str):
    event = {"action": "a", "actor": {"id": "u"}} | {field: value}
    (fault,) = faults_of(event)
    assert fault[:2] == ("invalid_type", field)
    assert fault.detail.startswith(f"`{field}` must be {expected}")
    assert fault.detail.endswith(f", got {got}.")
    assert not {"str", "int", "dict", "list", "bool"} & set(fault.detail.split())


def test_few_values_of_a_request_are_read_one_by_one():
    def event(targets: int) -> dict[str, Any]:
        valid = [{"id": "a"}] * targets
        return {"action": 5, "actor": {"id": "u"}, "targets": [*valid, {"id": 1}]}

    assert ("invalid_type", "targets[100].id") in told(faults_of(event(100)))
    assert told(faults_of(event(600))) == {("invalid_type", "action")}


def test_an_address_that_is_none_is_answered_with_what_to_do():
    (fault,) = faults_of({"action": "a", "actor": {"id": "u"}, "source": {"ip": "testclient"}})
    assert fault[:2] == ("invalid_ip", "source.ip")
    assert "`metadata`" in fault.detail
