"""What a reader makes of a document as MongoDB's projection gives it."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from bson import Binary, Int64, Timestamp
from bson.datetime_ms import DatetimeMS

from ocelot_common.event_limits import EventError
from ocelot_common.ids import format_id
from ocelot_common.reading import (
    OCCURRED_AT,
    RECEIVED_AT,
    Unreadable,
    answer_of,
    decode_text,
    read_document,
    read_event,
)
from ocelot_common.registry.model import Isolation, Tenant
from ocelot_common.stored import StoredEvent, keys_of_tenant, store_key

ID = bytes(range(16))
TEXT = '{"action":"a","actor":{"id":"u"}}'
GOOD: dict[str, Any] = {
    "_id": Binary(ID, 4), "t": "0123456789abcdef", "v": 1, "rev": 1, "seq": Timestamp(1, 2),
    "received_at": DatetimeMS(5), "occurred_at": DatetimeMS(-5), "writer": "w", "event": TEXT,
}  # fmt: skip


def test_a_good_document_is_an_event():
    stored = read_event(GOOD | {"rev": Int64(2)})
    assert isinstance(stored, StoredEvent)
    assert (stored.id, stored.rev, stored.received_at, stored.occurred_at) == (ID, 2, 5, -5)


@pytest.mark.parametrize("field", GOOD)
def test_a_document_that_lacks_a_field_names_it(field: str):
    stored = read_event(GOOD | {field: None})
    assert isinstance(stored, Unreadable)
    assert f"`{field}`" in stored.reason
    assert (stored.id is None) == (field == "_id")
    assert (stored.received_at is None) == (field == "received_at")
    assert (stored.occurred_at is None) == (field == "occurred_at")


@pytest.mark.parametrize(
    ("field", "bounds"), [("received_at", RECEIVED_AT), ("occurred_at", OCCURRED_AT)]
)
def test_times_have_bounds(field: str, bounds: tuple[int, int]):
    first, last = bounds
    for time, inside in ((first, True), (first - 1, False), (last - 1, True), (last, False)):
        stored = read_document(GOOD | {field: DatetimeMS(time)})
        assert isinstance(stored, StoredEvent) == inside


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"v": 2}, "version 2"),
        ({"event": None, "text_bytes": 2_000_000}, "2,000,000 bytes"),
        ({"event": "\udcff"}, "`event`"),
        ({"writer": "\udcff"}, "`writer`"),
        ({"event": '{"secret":1}'}, "unknown_field"),
    ],
)
def test_the_reason_tells_people_and_quotes_nothing(changes: dict[str, Any], named: str):
    stored = read_event(GOOD | changes)
    assert isinstance(stored, Unreadable)
    assert named in stored.reason
    assert stored.reason.isascii()
    assert "secret" not in stored.reason


def test_only_the_next_version_may_be_a_newer_releases():
    newer = [getattr(read_document(GOOD | {"v": v}), "newer", None) for v in (1, 2, 3)]
    assert newer == [None, True, False]


@pytest.mark.parametrize(
    "text",
    [
        f" {TEXT}", f"{TEXT}\n", '{"action":"a",\t"actor":{"id":"u"}}', "[]", "", "{", "null",
        '{"action":"a","actor":{"id":"u"},"id":null}',
        '{"action":"a","actor":{"id":"u"},"metadata":{"a":NaN}}',
        '{"action":"a","actor":{"id":"u"},"metadata":{"a":"\\ud800"}}',
        json.dumps({"action": "a", "actor": {"id": "u"}, "metadata": {"a": [[[]]] * 3}}).replace(
            "[]", "[" * 200 + "]" * 200
        ),
        '{"action":"a","actor":{"id":"u"},"metadata":{"a":' + "[" * 10**5 + "]" * 10**5 + "}}",
    ],
)  # fmt: skip
def test_what_the_api_would_not_have_made_is_no_text_of_record(text: str):
    with pytest.raises(EventError):
        decode_text(text)


def test_an_unreadable_document_is_answered_with_what_is_known_of_it():
    unreadable = Unreadable(id=ID, received_at=0, occurred_at=None, reason="why")
    assert json.loads(answer_of(unreadable, "acme")) == {
        "id": format_id(ID),
        "received_at": "1970-01-01T00:00:00.000Z",
        "tenant_id": "acme",
        "unreadable": "why",
    }
    nothing = Unreadable(id=None, received_at=None, occurred_at=None, reason="why")
    assert json.loads(answer_of(nothing, "acme")) == {"tenant_id": "acme", "unreadable": "why"}


@pytest.mark.parametrize("isolation", list(Isolation))
def test_every_key_of_a_tenant_lies_between_its_first_and_last(
    make_tenant: Callable[..., Tenant], isolation: Isolation
):
    tenant = make_tenant(isolation=isolation)
    first, last = keys_of_tenant(tenant)
    key = store_key(tenant, ID)
    assert len(first) == len(key) == len(last)
    assert first.subtype == key.subtype == last.subtype
    assert bytes(first) <= bytes(key) <= bytes(last)
