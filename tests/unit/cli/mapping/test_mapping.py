"""What a mapping makes of one foreign event."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from ocelot_cli.mapping import Mapping, UnmappableEvent

Loader = Callable[..., Mapping]

MINIMAL = """
action: what
actor: {id: who}
"""


def test_the_whole_foreign_event_becomes_metadata_exactly_as_decoded(load: Loader) -> None:
    text = b'{"who":"a","what":"b","n":-9214364837600034816,"z":1.0,"a.b":{"$x":null},"t":1,"T":[]}'
    foreign = msgspec.json.decode(text)
    event = load(MINIMAL).apply(foreign)
    assert msgspec.json.encode(event["metadata"]) == text
    assert "id" not in event


def test_absent_fields_stay_absent(load: Loader) -> None:
    event = load(MINIMAL + "message: text\noutcome: result\ntargets: [{id: thing}]").apply(
        {"who": "a", "what": "b"}
    )
    assert set(event) == {"action", "actor", "metadata"}


@pytest.mark.parametrize(
    ("rule", "foreign", "expected"),
    [
        pytest.param("a", {"a": "x"}, "x", id="an expression finds a text"),
        pytest.param("[a, b]", {"a": "", "b": "x"}, "x", id="an empty text is passed over"),
        pytest.param("[a, b]", {"a": {}, "b": "x"}, "x", id="an empty object is passed over"),
        pytest.param("[a, b]", {"a": {"c": 1}, "b": "x"}, "x", id="an object is no text"),
        pytest.param("[a, b]", {"a": "-", "b": "x"}, "x", id="a placeholder is passed over"),
        pytest.param("[a, b]", {"a": " \t", "b": "x"}, "x", id="blank text is passed over"),
        pytest.param("a", {"a": 0}, "0", id="zero is something"),
        pytest.param("a", {"a": False}, "false", id="false is something"),
        pytest.param("a", {"a": 2**70}, str(2**70), id="a large integer keeps its digits"),
        pytest.param("a", {"a": 1.5}, "1.5", id="a number becomes its JSON text"),
        pytest.param("{value: fixed}", {}, "fixed", id="a value is taken as it is"),
        pytest.param("{from: a, missing: none}", {}, "none", id="missing stands for nothing"),
        pytest.param("{from: a, map: {x: y}}", {"a": "x"}, "y", id="a table translates"),
        pytest.param("{from: a, map: {'1': y}}", {"a": 1}, "y", id="a table takes numbers"),
        pytest.param("{from: a, map: {1: y}}", {"a": 1}, "y", id="a key may be a bare number"),
        pytest.param("{from: a, map: {NO: y}}", {"a": "NO"}, "y", id="NO is text in a table"),
        pytest.param("{from: a, map: {x: y}}", {"a": "z"}, None, id="no case, no value"),
        pytest.param(
            "[{from: a, map: {x: y}}, b]", {"a": "z", "b": "w"}, "w", id="no case, next alternative"
        ),
        pytest.param("{from: a, map: {x: y}, default: d}", {"a": "z"}, "d", id="a default"),
        pytest.param("{from: a, map: {x: y}, default: d}", {}, None, id="no default for nothing"),
        pytest.param(
            "{from: a, map: [{like: 'Acc*', to: g}]}", {"a": "AccessDenied"}, "g", id="a glob"
        ),
        pytest.param(
            "{from: a, map: [{like: ['x*', '*ied'], to: g}]}", {"a": "AccDenied"}, "g", id="globs"
        ),
        pytest.param("{from: a, map: [{is: [p, 401], to: g}]}", {"a": 401}, "g", id="one of them"),
        pytest.param(
            "{from: a, map: [{matches: '(?i)den', to: g}]}",
            {"a": "aDENied"},
            "g",
            id="a regex",
        ),
        pytest.param(
            "{from: a, map: [{between: [200, 299], to: g}]}", {"a": 204}, "g", id="a range"
        ),
        pytest.param(
            "{from: a, map: [{between: [null, 9], to: g}]}", {"a": "7"}, "g", id="an open range"
        ),
        pytest.param(
            "{from: a, map: [{between: [0, 9], to: g}]}", {"a": True}, None, id="true is no number"
        ),
        pytest.param(
            "[{when: b, from: a}, c]", {"a": "x", "c": "y"}, "y", id="when guards an alternative"
        ),
    ],
)
def test_a_rule(load: Loader, rule: str, foreign: dict[str, Any], expected: str | None) -> None:
    mapping = load(f"action: what\nactor: {{id: who}}\nmessage: {rule}", 'nothing: ["-"]')
    assert mapping.apply({"who": "a", "what": "b", **foreign}).get("message") == expected


def test_texts_are_cut_to_their_length_on_a_character_border(load: Loader) -> None:
    mapping = load("action: what\nactor: {id: who, name: name}\nmessage: who")
    family = "👩\u200d👩\u200d👧"
    event = mapping.apply({"who": "ä" * 2000, "what": "x" * 300, "name": "n" * 1020 + family + "n"})
    assert event["actor"] == {"id": "ä" * 1024, "name": "n" * 1020}
    assert event["action"] == "x" * 256
    assert event["message"] == "ä" * 2000


def test_text_of_nothing_but_marks_is_cut_too(load: Loader) -> None:
    assert len(load(MINIMAL).apply({"who": "\u0301" * 1500, "what": "x"})["actor"]["id"]) == 1024


def test_only_an_ip_address_becomes_one(load: Loader) -> None:
    mapping = load(MINIMAL + "source: {ip: [a, b], service: a}")
    source = mapping.apply({"who": "a", "what": "b", "a": "AWS Internal", "b": "::1"})["source"]
    assert source == {"ip": "::1", "service": "AWS Internal"}


def test_values_of_outcome_and_severity_are_known_ones_or_absent(load: Loader) -> None:
    mapping = load(MINIMAL + "outcome: o\nseverity: s")
    event = mapping.apply({"who": "a", "what": "b", "o": "DENIED", "s": "fatal"})
    assert event["outcome"] == "denied"
    assert "severity" not in event


class TestActors:
    ALTERNATIVES = """
    action: what
    actor:
      - {id: user.id, name: user.name, type: {value: user}}
      - {when: service, id: service, type: {value: service}}
      - {id: host}
    """

    def test_the_first_with_an_id_is_taken_whole(self, load: Loader) -> None:
        mapping = load(self.ALTERNATIVES)
        foreign = {"what": "x", "user": {"name": "Ann"}, "service": "cron", "host": "h"}
        assert mapping.apply(foreign)["actor"] == {"id": "cron", "type": "service"}

    def test_without_any_id_the_reason_names_every_expression(self, load: Loader) -> None:
        with pytest.raises(UnmappableEvent) as caught:
            load(self.ALTERNATIVES).apply({"what": "x", "user": {"id": {}}, "host": []})
        assert "actor.id" in caught.value.reason
        assert "user.id (nothing), service (nothing), host (nothing)" in caught.value.reason


class TestTargets:
    def test_each_item_of_a_list_becomes_one(self, load: Loader) -> None:
        mapping = load(MINIMAL + "targets: [{each: items, id: id, type: kind, name: name}]")
        items = [{"id": 1, "kind": "doc"}, {"kind": "only a type"}, {"name": "n"}, "text", None]
        targets = mapping.apply({"who": "a", "what": "b", "items": items})["targets"]
        assert targets == [{"type": "doc", "id": "1"}, {"name": "n"}]

    def test_a_fallback_counts_only_if_none_came_before(self, load: Loader) -> None:
        mapping = load(MINIMAL + "targets: [{id: thing}, {fallback: true, id: path}]")
        event = {"who": "a", "what": "b", "path": "/p"}
        assert mapping.apply(event)["targets"] == [{"id": "/p"}]
        assert mapping.apply({**event, "thing": "t"})["targets"] == [{"id": "t"}]


def test_tags_collect_all_expressions_once_each(load: Loader) -> None:
    mapping = load(MINIMAL + "tags: [labels, region, labels]")
    event = {"who": "a", "what": "b", "labels": ["x", "y", {"z": 1}, 3], "region": "eu"}
    assert mapping.apply(event)["tags"] == ["x", "y", "3", "eu"]


def test_changes_keep_values_of_any_kind(load: Loader) -> None:
    mapping = load(MINIMAL + "changes: {before: old, after: new}")
    event = mapping.apply({"who": "a", "what": "b", "old": [1, {"x": None}], "new": False})
    assert event["changes"] == {"before": [1, {"x": None}], "after": False}


def test_root_names_the_object_that_the_expressions_read(load: Loader) -> None:
    mapping = load(MINIMAL, 'root: [detail, from_json(text), "@"]')
    inner = {"who": "a", "what": "b"}
    for foreign in ({"detail": inner}, {"text": '{"who":"a","what":"b"}'}, inner):
        event = mapping.apply(foreign)
        assert event["actor"] == {"id": "a"}
        assert event["metadata"] == foreign


class TestRefusals:
    @pytest.mark.parametrize(
        ("foreign", "reason"),
        [
            pytest.param({"who": "a"}, "what (nothing)", id="nothing found"),
            pytest.param({"who": "a", "what": {}}, "what (nothing)", id="empty"),
            pytest.param(
                {"who": "a", "what": [1]},
                "what (an array)",
                id="found, but no text",
            ),
            pytest.param(
                {"who": "a", "what": "b", "kind": "ping"},
                "a heartbeat (because kind == 'ping')",
                id="rejected by the mapping",
            ),
        ],
    )
    def test_the_reason_says_what_was_tried(
        self, load: Loader, foreign: dict[str, Any], reason: str
    ) -> None:
        mapping = load(MINIMAL, "reject: [{when: kind == 'ping', reason: a heartbeat}]")
        with pytest.raises(UnmappableEvent) as caught:
            mapping.apply(foreign)
        assert reason in caught.value.reason

    def test_the_service_s_own_actions_are_reserved(self, load: Loader) -> None:
        with pytest.raises(UnmappableEvent, match=r"'ocelot\.purge'"):
            load(MINIMAL).apply({"who": "a", "what": "ocelot.purge"})

    def test_only_objects_are_events(self, load: Loader) -> None:
        foreign: Any = [1]
        with pytest.raises(UnmappableEvent, match=r"object, .* an array"):
            load(MINIMAL).apply(foreign)

    def test_an_expression_that_fails_is_named(self, load: Loader) -> None:
        mapping = load("action: join('.', parts)\nactor: {id: who}")
        with pytest.raises(UnmappableEvent, match=r"parts\).* failed: In function join"):
            mapping.apply({"who": "a", "parts": 5})

    def test_a_required_field_must_be_found(self, load: Loader) -> None:
        mapping = load(MINIMAL + "message: text", "required: [message]")
        with pytest.raises(UnmappableEvent, match=r"message.*text \(nothing\)"):
            mapping.apply({"who": "a", "what": "b"})

    def test_a_time_that_cannot_be_read_is_never_replaced_by_the_arrival(
        self, load: Loader
    ) -> None:
        mapping = load(MINIMAL + "occurred_at: at")
        with pytest.raises(UnmappableEvent, match=r"occurred_at.*at is '2024-01-01 10:00'"):
            mapping.apply({"who": "a", "what": "b", "at": "2024-01-01 10:00"})
        assert "occurred_at" not in mapping.apply({"who": "a", "what": "b"})


class TestNaturalIds:
    def test_it_is_the_id_of_the_source(self, load: Loader) -> None:
        mapping = load(MINIMAL, "natural_id: [uuid, \"join_present('/', host, number)\"]")
        assert mapping.natural_id({"uuid": "u"}) == "u"
        assert mapping.natural_id({"host": "h", "number": 2**60}) == f"h/{2**60}"
        assert mapping.natural_id({"x": 1}) is None

    def test_a_mapping_need_not_have_one(self, load: Loader) -> None:
        assert load(MINIMAL).natural_id({"id": 1}) is None
