import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocelot_common.event import SEVERITIES
from ocelot_common.event_limits import EventError
from ocelot_common.registry.model import Isolation, Tenant
from ocelot_common.search_document import (
    MAPPING,
    build_search_document,
    document_id,
    index_body,
)
from ocelot_common.stored import StoredEvent

ID = bytes.fromhex("0123456789ab7cde8f0123456789abcd")
UID = "0123456789abcdef"
SEQ = 1_764_000_000 << 32 | 7


def stored(text: str) -> StoredEvent:
    return StoredEvent(
        id=ID, uid=UID, received_at=1_000, occurred_at=-1, seq=SEQ, writer="billing", rev=2,
        text=text,
    )  # fmt: skip


def build(**members: Any) -> dict[str, Any]:
    event = {"action": "Doc.Update", "actor": {"id": "u"}} | members
    text = json.dumps(event, separators=(",", ":"), ensure_ascii=False)
    document: dict[str, Any] = json.loads(build_search_document(stored(text)))
    return document


def test_an_event_with_nothing_but_what_is_required() -> None:
    assert build() == {
        "v": 1, "id": "01234567-89ab-7cde-8f01-23456789abcd", "t": UID, "rev": 2, "seq": SEQ,
        "received_at": 1_000, "occurred_at": -1, "writer": "billing",
        "action": "Doc.Update", "actor": {"id": "u"}, "outcome": "unknown",
        "severity": "info", "severity_level": 1, "attrs": [], "text": "doc update u",
        "event": {"action": "Doc.Update", "actor": {"id": "u"}},
    }  # fmt: skip


def test_every_field_is_in_the_mapping() -> None:
    members: dict[str, Any] = {
        "actor": {"id": "u", "type": "user", "name": "Jo", "email": "jo@x", "session_id": "s"},
        "targets": [{"type": "doc", "id": "1", "name": "One"}, {"id": "2"}],
        "source": {"ip": "192.0.2.1", "user_agent": "curl", "service": "web", "location": "DE"},
        "request_id": "r", "trace_id": "t", "tags": ["a"], "outcome": "denied",
        "metadata": {"k": "x" * 600},
    }  # fmt: skip
    document = build(**members)
    properties = MAPPING["properties"]
    assert MAPPING["dynamic"] is False
    assert set(document) == set(properties)
    for name in ("actor", "source"):
        assert set(document[name]) == set(properties[name]["properties"])
    assert set(document["targets"][0]) == set(properties["targets"]["properties"])
    assert document["attrs_cut"] is True
    shown = {name: value for name, value in members.items() if name != "metadata"}
    assert {name: document[name] for name in shown} == shown


def test_the_event_of_record_is_kept_byte_for_byte() -> None:
    text = '{"action":"a","actor":{"id":"u"},"metadata":{"n":%s,"f":1.0,"e":1e16}}' % ("9" * 999)
    assert f'"event":{text}'.encode() in build_search_document(stored(text))


@pytest.mark.parametrize("severity", SEVERITIES)
def test_severities_have_levels_in_their_order(severity: str) -> None:
    assert build(severity=severity)["severity_level"] == SEVERITIES.index(severity)


def test_an_empty_ip_is_none_since_opensearch_refuses_it() -> None:
    document = build(source={"ip": "", "service": "web"})
    assert document["source"] == {"service": "web"}
    assert document["event"]["source"] == {"ip": "", "service": "web"}


def test_nulls_are_taken_everywhere() -> None:
    optional = (
        "occurred_at", "targets", "outcome", "severity", "message", "changes", "source",
        "request_id", "trace_id", "tags", "metadata",
    )  # fmt: skip
    document = build(**dict.fromkeys(optional))
    assert (document["outcome"], document["severity"]) == ("unknown", "info")
    assert document["attrs"] == []
    inner = build(
        source={"ip": None}, changes={"before": None, "after": None}, targets=[{"id": None}]
    )
    assert inner["attrs"] == []


def test_attrs_and_text_are_those_of_metadata_and_changes() -> None:
    document = build(
        metadata={"plan": "Pro"}, changes={"before": "x", "after": {"n": 1}}, message="Hi"
    )
    assert document["attrs"] == ["metadata.plan=Pro", "changes.before=x", "changes.after.n=1"]
    assert document["text"] == "hi doc update u pro x 1"


def test_a_stored_text_that_is_no_event_is_an_error() -> None:
    with pytest.raises(EventError):
        build_search_document(stored('{"action":"a"}'))


characters = st.characters(codec="utf-8")
values = st.recursive(
    st.none() | st.integers() | st.text(characters),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(characters), inner, max_size=3)
    ),
)


@given(st.text(characters, min_size=1, max_size=200), st.text(characters), values)
def test_a_document_is_valid_json_on_one_line(action: str, message: str, value: Any) -> None:
    event = {
        "action": action, "actor": {"id": action}, "message": message, "metadata": {"k": value},
        "tags": [message],
    }  # fmt: skip
    text = json.dumps(event, separators=(",", ":"), ensure_ascii=False)
    raw = build_search_document(stored(text))
    assert b"\n" not in raw
    assert b"\r" not in raw
    document = json.loads(raw)
    assert document["event"] == event
    assert (document["action"], document["tags"]) == (action, [message])
    assert document["text"].split(" ") == document["text"].split() or document["text"] == ""


def test_the_id_of_a_shared_document_begins_with_the_uid(
    make_tenant: Callable[..., Tenant],
) -> None:
    text = "01234567-89ab-7cde-8f01-23456789abcd"
    assert document_id(make_tenant(), ID) == text
    assert document_id(make_tenant(isolation=Isolation.SHARED), ID) == f"{UID}:{text}"


def test_an_index_is_made_with_its_aliases_and_never_maps_by_itself() -> None:
    body = index_body(space_key="key", shards=3, replicas=2, aliases=["write", "read"])
    assert body["aliases"] == {"write": {}, "read": {}}
    assert body["settings"]["index"]["number_of_shards"] == 3
    assert body["settings"]["index"]["number_of_replicas"] == 2
    assert "auto_expand_replicas" not in body["settings"]["index"]
    assert body["settings"]["index"]["codec"] == "best_compression"
    assert body["mappings"]["dynamic"] is False
    assert body["mappings"]["_meta"] == {"space_key": "key"}
    assert body["mappings"]["properties"]["event"] == {"type": "object", "enabled": False}
    analyzer = body["mappings"]["properties"]["text"]["analyzer"]
    assert analyzer in body["settings"]["analysis"]["analyzer"]


def test_an_index_without_a_number_of_replicas_leaves_it_to_the_number_of_nodes() -> None:
    body = index_body(space_key="key", shards=1, replicas=None, aliases=[])
    assert body["settings"]["index"]["auto_expand_replicas"] == "0-1"
    assert "number_of_replicas" not in body["settings"]["index"]
