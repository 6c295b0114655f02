import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import bson
import pytest
from bson import Binary, Timestamp
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS
from hypothesis import given
from hypothesis import strategies as st

from ocelot_common.event import Event, accept_event
from ocelot_common.event_limits import EventLimits
from ocelot_common.ids import format_id
from ocelot_common.reading import read_document, read_event
from ocelot_common.registry.model import Isolation, Tenant
from ocelot_common.stored import (
    StoredEvent,
    answer_json,
    build_document,
    event_id_of,
    key_range,
    store_key,
)
from ocelot_common.timestamps import parse_rfc3339

Make = Callable[..., Tenant]

NOW = parse_rfc3339("2026-11-24T12:00:00.123Z")
ID = bytes.fromhex("0123456789ab7cde8f0123456789abcd")
UID = "0123456789abcdef"
CODEC: CodecOptions[dict[str, Any]] = CodecOptions(
    datetime_conversion=DatetimeConversion.DATETIME_MS
)

uids = st.text("0123456789abcdef", min_size=16, max_size=16)
event_ids = st.binary(min_size=16, max_size=16)


@pytest.fixture(scope="session")
def dedicated(make_tenant: Make) -> Tenant:
    return make_tenant()


@pytest.fixture(scope="session")
def shared(make_tenant: Make) -> Tenant:
    return make_tenant(isolation=Isolation.SHARED, space="logs_shared")


def build(
    tenant: Tenant, members: Mapping[str, object] | None = None, *, with_attrs: bool = False
) -> dict[str, Any]:
    event = {"action": "a.b", "actor": {"id": "u"}, **(members or {})}
    text = json.dumps(event, separators=(",", ":")).encode()
    return build_document(
        tenant, ID, text, received_at=NOW, writer="billing", with_attrs=with_attrs
    )


@given(event_ids)
def test_the_key_of_a_dedicated_tenants_event_is_its_uuid(
    dedicated: Tenant, event_id: bytes
) -> None:
    key = store_key(dedicated, event_id)
    assert (bytes(key), key.subtype) == (event_id, 4)
    assert key.as_uuid().bytes == event_id
    assert event_id_of(key) == event_id


@given(uids, uids, event_ids, event_ids)
def test_two_shared_tenants_never_have_one_key(
    make_tenant: Make, uid: str, other_uid: str, event_id: bytes, other_id: bytes
) -> None:
    one, other = (
        store_key(make_tenant(uid=owner, isolation=Isolation.SHARED), given_id)
        for owner, given_id in ((uid, event_id), (other_uid, other_id))
    )
    assert (one == other) is ((uid, event_id) == (other_uid, other_id))
    assert one.subtype == 0
    assert len(one) == 24
    assert event_id_of(one) == event_id


@given(uids, uids, event_ids)
def test_a_shared_tenants_keys_are_one_range_that_holds_no_others(
    make_tenant: Make, uid: str, other_uid: str, event_id: bytes
) -> None:
    first, last = key_range(uid)
    key = store_key(make_tenant(uid=other_uid, isolation=Isolation.SHARED), event_id)
    # Of one length and subtype, MongoDB compares them as bytes.
    assert first.subtype == last.subtype == key.subtype
    assert len(first) == len(last) == len(key)
    assert (bytes(first) <= bytes(key) <= bytes(last)) is (uid == other_uid)


def test_an_event_with_nothing_but_what_is_required(dedicated: Tenant) -> None:
    assert build(dedicated) == {
        "_id": Binary(ID, 4),
        "v": 1,
        "rev": 1,
        "t": UID,
        "seq": Timestamp(0, 0),
        "received_at": DatetimeMS(NOW),
        "occurred_at": DatetimeMS(NOW),
        "writer": "billing",
        "action": "a.b",
        "actor": {"id": "u"},
        "outcome": "unknown",
        "severity": "info",
        "event": '{"action":"a.b","actor":{"id":"u"}}',
    }


def test_seq_stands_where_mongod_replaces_it(dedicated: Tenant) -> None:
    """mongod replaces an empty timestamp in a top-level field only."""
    document = bson.decode(bson.encode(build(dedicated)), CODEC)
    assert document["seq"] == Timestamp(0, 0)


def test_every_typed_field_is_kept(dedicated: Tenant) -> None:
    members: dict[str, Any] = {
        "actor": {"id": "u", "type": "user", "name": "Jo", "email": "jo@x", "session_id": "s"},
        "targets": [{"type": "doc", "id": "1", "name": "One"}, {"id": "2"}, {}],
        "outcome": "denied",
        "severity": "critical",
        "source": {"ip": "192.0.2.1", "user_agent": "curl", "service": "web", "location": "DE"},
        "request_id": "r",
        "trace_id": "t",
        "tags": ["a", "b"],
    }
    document = build(dedicated, members)
    members["source"]["ip16"] = bytes.fromhex("00000000000000000000ffffc0000201")
    assert {name: document[name] for name in members} == members


def test_what_no_filter_needs_stands_in_the_text_alone(dedicated: Tenant) -> None:
    document = build(dedicated, {"message": "m", "metadata": {"k": 1}, "changes": {"after": 1}})
    assert not {"message", "metadata", "changes", "attrs", "attrs_cut", "id"} & set(document)


def test_empty_and_null_fields_filter_like_absent_ones(dedicated: Tenant) -> None:
    nulls = dict.fromkeys(
        (
            "occurred_at",
            "targets",
            "outcome",
            "severity",
            "source",
            "request_id",
            "trace_id",
            "tags",
        )
    )
    empty = {"targets": [], "source": {}, "request_id": "", "trace_id": "", "tags": []}
    plain = build(dedicated)
    for members in (nulls, empty):
        document = build(dedicated, members)
        assert document.pop("event") != plain["event"]
        assert document == {name: value for name, value in plain.items() if name != "event"}


@pytest.mark.parametrize(
    ("ip", "ip16"),
    [
        ("2001:db8::1", "20010db8000000000000000000000001"),
        ("::ffff:192.0.2.1", "00000000000000000000ffffc0000201"),
        ("", None),
        (None, None),
    ],
)
def test_an_ip_is_kept_as_16_bytes_too(dedicated: Tenant, ip: str, ip16: str | None) -> None:
    source = build(dedicated, {"source": {"ip": ip, "service": "web"}})["source"]
    assert source.get("ip16") == (bytes.fromhex(ip16) if ip16 else None)


def test_addresses_of_one_block_are_one_range_of_bytes(dedicated: Tenant) -> None:
    def key(ip: str) -> bytes:
        found: bytes = build(dedicated, {"source": {"ip": ip}})["source"]["ip16"]
        return found

    assert key("192.0.1.255") < key("192.0.2.0") < key("192.0.2.9") < key("192.0.2.10")
    assert key("192.0.2.255") < key("192.0.3.0") < key("2001:db8::")


TIMES: dict[str, tuple[str, int]] = {
    "an offset": ("2026-11-24T14:00:00+02:00", parse_rfc3339("2026-11-24T12:00:00Z")),
    "half a millisecond": ("2026-11-24T12:00:00.0009Z", parse_rfc3339("2026-11-24T12:00:00Z")),
    "half a millisecond before 1970": ("1969-12-31T23:59:59.9995Z", -1),
    "a nanosecond before 1970": ("1969-12-31T23:59:59.999999999Z", -1),
    "the year 1, before it in UTC": ("0001-01-01T00:00:00+10:00", -62_135_632_800_000),
    "the end of the year 9999": ("9999-12-31T23:59:59-10:00", 253_402_336_799_000),
}


@pytest.mark.parametrize(("text", "ms"), TIMES.values(), ids=TIMES)
def test_a_time_is_floored_to_milliseconds_and_survives_bson(
    dedicated: Tenant, text: str, ms: int
) -> None:
    document = bson.decode(bson.encode(build(dedicated, {"occurred_at": text})), CODEC)
    assert int(document["occurred_at"]) == ms
    assert int(document["received_at"]) == NOW
    assert text in document["event"]
    document["seq"] = Timestamp(1, 1)
    assert read_document(document).occurred_at == ms


def test_attrs_are_there_only_where_mongodb_searches(dedicated: Tenant) -> None:
    members = {"metadata": {"plan": "pro"}, "changes": {"before": 1, "after": {"a": None}}}
    assert "attrs" not in build(dedicated, members)
    document = build(dedicated, members, with_attrs=True)
    assert document["attrs"] == ["metadata.plan=pro", "changes.before=1", "changes.after.a=null"]
    assert "attrs_cut" not in document
    large = {"metadata": {"k": "x" * 600}}
    assert build(dedicated, large, with_attrs=True)["attrs_cut"] is True
    nothing = {"metadata": None, "changes": None}
    assert build(dedicated, nothing, with_attrs=True)["attrs"] == []


def test_a_shared_document_differs_in_its_key_alone(dedicated: Tenant, shared: Tenant) -> None:
    one, other = build(dedicated), build(shared)
    assert other.pop("_id") == Binary(bytes.fromhex(UID) + ID)
    one.pop("_id")
    assert one == other


NO_EVENTS: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"hello",
    "an array": b"[]",
    "no actor": b'{"action":"a"}',
    "an actor that is a name": b'{"action":"a","actor":"u"}',
    "an actor id that is a number": b'{"action":"a","actor":{"id":1}}',
    "targets of another kind": b'{"action":"a","actor":{"id":"u"},"targets":[1]}',
    "an ip of another kind": b'{"action":"a","actor":{"id":"u"},"source":{"ip":5}}',
    "a source that is a list": b'{"action":"a","actor":{"id":"u"},"source":[]}',
    "a time that is none": b'{"action":"a","actor":{"id":"u"},"occurred_at":"now"}',
    "bytes that are not UTF-8, where nobody looks": (
        b'{"action":"a","actor":{"id":"u"},"metadata":{"k":"\xff"}}'),
    "arrays nested without end": (
        b'{"action":"a","actor":{"id":"u"},"metadata":' + b"[" * 100_000),
}  # fmt: skip


@pytest.mark.parametrize("text", NO_EVENTS.values(), ids=NO_EVENTS)
@pytest.mark.parametrize("with_attrs", [True, False])
def test_what_is_no_event_is_refused(dedicated: Tenant, text: bytes, with_attrs: bool) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of any words
        build_document(dedicated, ID, text, received_at=NOW, writer="w", with_attrs=with_attrs)


characters = st.characters(codec="utf-8")
short = st.text(characters, max_size=10)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False,
    allow_infinity=False) | short,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(short, inner, max_size=3),
    max_leaves=10,
)  # fmt: skip
events = st.fixed_dictionaries(
    {
        "action": st.text(characters, min_size=1).filter(lambda text: text[:7] != "ocelot."),
        "actor": st.fixed_dictionaries(
            {"id": st.text(characters, min_size=1)}, optional={"name": short | st.none()}
        ),
    },
    optional={
        "targets": st.lists(st.dictionaries(st.sampled_from(["id", "type", "name"]), short)),
        "source": st.fixed_dictionaries(
            {}, optional={"ip": st.ip_addresses().map(str), "service": short}
        ),
        "tags": st.lists(short),
        "message": short,
        "metadata": st.dictionaries(short, json_values, max_size=4),
        "changes": st.fixed_dictionaries({}, optional={"before": json_values}),
    },
)


@given(events, event_ids, st.booleans(), st.booleans())
def test_what_the_api_accepted_is_stored_and_read_back_and_answered(
    make_tenant: Make, event: dict[str, Any], event_id: bytes, is_shared: bool, with_attrs: bool
) -> None:
    tenant = make_tenant(isolation=Isolation.SHARED if is_shared else Isolation.DEDICATED)
    text = accept_event(json.dumps(event).encode(), now_ms=NOW, limits=EventLimits()).text
    document = build_document(
        tenant, event_id, text, received_at=NOW, writer="billing", with_attrs=with_attrs
    )
    document["seq"] = Timestamp(1_764_000_000, 7)  # as mongod does
    read = bson.decode(bson.encode(document), CODEC)
    stored = read_event(read)
    assert stored == StoredEvent(
        id=event_id, uid=tenant.uid, received_at=NOW, occurred_at=NOW,
        seq=1_764_000_000 << 32 | 7, writer="billing", rev=1, text=text.decode(),
    )  # fmt: skip

    members = json.loads(answer_json(stored, "acme"), object_pairs_hook=list)
    assert members[:5] == [
        ("id", format_id(event_id)),
        ("tenant_id", "acme"),
        ("received_at", "2026-11-24T12:00:00.123Z"),
        ("writer", "billing"),
        ("seq", str(1_764_000_000 << 32 | 7)),
    ]
    assert members[5:] == json.loads(text, object_pairs_hook=list)


def test_a_document_read_with_plain_dates_is_the_same() -> None:
    document = {
        "_id": Binary(ID, 4), "t": UID, "seq": Timestamp(1, 2), "writer": "w", "rev": 3,
        "received_at": datetime(2026, 11, 24, 12, tzinfo=UTC),
        "occurred_at": datetime(1969, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC),
        "v": 1, "event": "{}",
    }  # fmt: skip
    stored = read_document(document)
    assert isinstance(stored, StoredEvent)
    assert (stored.received_at, stored.occurred_at) == (parse_rfc3339("2026-11-24T12:00:00Z"), -1)
    assert (stored.seq, stored.rev) == (1 << 32 | 2, 3)


START = '{"action":"a","actor":{"id":"u"}'
NO_TEXT_OF_RECORD = {
    "a field that clients do not have": START + ',"extra":1}',
    "an id, which stands beside the text": START + ',"id":"01a2298c-e6a8-732f-b4f8-f532cd9b671e"}',
    "the tenant, which the server sets": START + ',"tenant_id":"other"}',
    "the time of arrival, which the server sets": START + ',"received_at":"2026-01-01T00:00:00Z"}',
    "the writer, which the server sets": START + ',"writer":"root"}',
    "the order, which the server sets": START + ',"seq":"1"}',
    "an unknown field of the actor": '{"action":"a","actor":{"id":"u","uid":"v"}}',
    "an unknown field of a target": START + ',"targets":[{"id":"x"},{"uid":"v"}]}',
    "an unknown field of the source": START + ',"source":{"port":"1"}}',
    "a reserved action": '{"action":"ocelot.tenant.delete","actor":{"id":"u"}}',
}


@pytest.mark.parametrize("text", NO_TEXT_OF_RECORD.values(), ids=NO_TEXT_OF_RECORD)
def test_a_text_is_refused_that_has(dedicated: Tenant, text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        stored_as(dedicated, text)


@pytest.mark.parametrize("byte", [*range(0x20)], ids=hex)
def test_a_text_with_a_control_byte_is_refused_wherever_it_stands(
    dedicated: Tenant, byte: int
) -> None:
    char = chr(byte)
    texts = [
        f'{char}{{"action":"a","actor":{{"id":"u"}}}}',
        f'{{"action":"a",{char}"actor":{{"id":"u"}}}}',
        f'{{"action":"a{char}","actor":{{"id":"u"}}}}',
        f'{{"action":"a","actor":{{"id":"u"}},"message":"x{char}y"}}',
        f'{{"action":"a","actor":{{"id":"u"}},"metadata":{{"x{char}":1}}}}',
        f'{{"action":"a","actor":{{"id":"u"}},"metadata":{{"x":{char}1}}}}',
        f'{{"action":"a","actor":{{"id":"u"}},"changes":{{"before":["x{char}"]}}}}',
        f'{{"action":"a","actor":{{"id":"u"}},"tags":["x{char}"]}}',
        f'{{"action":"a","actor":{{"id":"u"}}}}{char}',
    ]
    for text in texts:
        with pytest.raises(ValueError, match=r".+"):
            stored_as(dedicated, text)


def test_ocelot_itself_may_write_its_own_actions(dedicated: Tenant) -> None:
    text = '{"action":"ocelot.tenant.delete","actor":{"id":"u"}}'
    assert stored_as(dedicated, text, internal=True)["action"] == "ocelot.tenant.delete"


def test_a_text_with_every_field_is_stored(dedicated: Tenant) -> None:
    """The fields of the check are those of the api's event, but for the id."""
    event = {
        "action": "a",
        "actor": dict.fromkeys(("id", "type", "name", "email", "session_id"), "x"),
        "occurred_at": "2026-11-24T12:00:00Z",
        "targets": [dict.fromkeys(("type", "id", "name"), "x")],
        "outcome": "success",
        "severity": "info",
        "message": "m",
        "changes": {"before": 1, "after": 2},
        "source": {"ip": "10.0.0.1", "user_agent": "x", "service": "x", "location": "x"},
        "request_id": "r",
        "trace_id": "t",
        "tags": ["x"],
        "metadata": {"k": 1},
    }
    assert {*event, "id"} == set(Event.__struct_fields__)
    text = accept_event(json.dumps(event).encode(), now_ms=NOW, limits=EventLimits()).text
    assert stored_as(dedicated, text.decode())["event"] == text.decode()


def stored_as(tenant: Tenant, text: str, *, internal: bool = False) -> dict[str, Any]:
    return build_document(
        tenant,
        ID,
        text.encode(),
        received_at=NOW,
        writer="w",
        with_attrs=False,
        internal=internal,
    )
