"""What may be signed again, and how."""

import os
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import Binary

from ocelot_common.dead_letters import Reason, Stage
from ocelot_common.envelope import Envelope, Origin, PackedEvent, Segment
from ocelot_common.ids import new_id
from ocelot_common.queue.resigning import NotResignableError, resigned
from ocelot_common.signed_text import Purpose, parse, sign
from ocelot_common.timestamps import now_ms, to_ms
from ocelot_jobs.resigning import messages_of_letter
from queuekit.signing import (
    KEY,
    OTHER_KEY,
    fixed_keys,
    index_texts,
    ingest_text,
    opened,
    opened_index,
)

UID = "0123456789abcdef"
ID = new_id()
TEXT = '{"action":"a","actor":{"id":"u"}}'
RECEIVED = datetime(2026, 9, 1, tzinfo=UTC)


def letter(**changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "_id": "f" * 64,
        "stage": Stage.STORE.value,
        "reason": Reason.NOT_STORABLE.value,
        "t": UID,
        "content": TEXT,
        "writer": "w",
        "request_id": "r",
        "event_key": Binary(ID, 4),
        "received_at": RECEIVED,
    }
    return fields | changes


def whole(content: str, **changes: Any) -> dict[str, Any]:
    made = letter(content=content, reason=Reason.EXHAUSTED.value, **changes)
    del made["event_key"], made["received_at"]
    return made


def again(one: dict[str, Any], *, new_id: bool = False) -> list[Any]:
    return list(messages_of_letter(one, KEY, new_id=new_id))


def test_an_event_is_signed_now_and_keeps_id_time_and_writer() -> None:
    [message] = again(letter())
    signed = fixed_keys().open(message.body, Purpose.INGEST)
    assert abs(signed.sent_at - now_ms()) < 60_000
    [segment] = opened(message.body).segments
    assert (segment.origin, segment.writer) == (Origin.RETRY, "w")
    assert segment.received_at == to_ms(RECEIVED)
    assert segment.events == [PackedEvent(ID, TEXT.encode())]
    assert message.group == UID


def test_a_conflict_gets_another_id_always_the_same() -> None:
    conflict = letter(reason=Reason.CONFLICT.value)
    ids = {
        opened(message.body).segments[0].events[0].id
        for _ in range(2)
        for message in again(conflict, new_id=True)
    }
    assert len(ids) == 1
    assert ids != {ID}


def test_an_event_that_was_not_indexed_is_asked_for_by_its_id() -> None:
    [message] = again(letter(stage=Stage.INDEX.value, reason=Reason.NOT_INDEXABLE.value))
    fixed_keys().open(message.body, Purpose.INDEX)
    assert opened_index(message.body).ids == [ID]


def test_a_whole_envelope_of_a_key_that_is_gone_is_signed_with_the_present_one() -> None:
    segment = Segment("w", 5, "r", "", [PackedEvent(ID, b"{}")], Origin.API)
    [message] = again(whole(ingest_text(Envelope(UID, [segment]), OTHER_KEY)))
    fixed_keys().open(message.body, Purpose.INGEST)
    [found] = opened(message.body).segments
    assert (found.origin, found.received_at, found.events) == (Origin.RETRY, 5, segment.events)


ORIGINS = {
    "a letter of the api": (letter(), Origin.RETRY),
    "a letter of Ocelot itself": (letter(internal=True), Origin.INTERNAL),
    "a letter that is not ours": (letter(internal="yes"), Origin.RETRY),
    **{
        f"a whole message of the origin {origin}": (
            whole(ingest_text(Envelope(UID, [Segment("w", 5, "r", "", [], origin)]), OTHER_KEY)),
            Origin.INTERNAL if origin is Origin.INTERNAL else Origin.RETRY,
        )
        for origin in Origin
    },
}


@pytest.mark.parametrize(("one", "origin"), ORIGINS.values(), ids=ORIGINS)
def test_what_ocelot_itself_made_stays_internal_and_all_else_is_a_retry(
    one: dict[str, Any], origin: Origin
) -> None:
    [message] = again(one)
    [segment] = opened(message.body).segments
    assert segment.origin is origin


@pytest.mark.parametrize("origin", Origin)
def test_a_message_that_nobody_authenticated_is_never_internal(origin: Origin) -> None:
    envelope = Envelope(UID, [Segment("w", 5, "r", "", [PackedEvent(ID, b"{}")], origin)])
    forged = parse(ingest_text(envelope, OTHER_KEY))
    [message] = resigned(forged, Purpose.INGEST, KEY, authenticated=False)
    [segment] = opened(message.body).segments
    assert segment.origin is Origin.RETRY


def test_a_whole_index_message_is_signed_again() -> None:
    [body] = index_texts(UID, [ID], OTHER_KEY)
    [message] = again(whole(body, stage=Stage.INDEX.value))
    fixed_keys().open(message.body, Purpose.INDEX)
    assert opened_index(message.body).ids == [ID]


REFUSED = {
    "an event that was not authenticated": letter(reason=Reason.UNAUTHENTICATED.value),
    "a message that was not authenticated": whole("x") | {"reason": "unauthenticated"},
    "no message": whole("garbage"),
    "a message of a newer release": whole("3.x"),
    "a message without an envelope": whole(sign(b"x", KEY, Purpose.INGEST, sent_at=5)),
    "a message without ids": whole(
        sign(b"x", KEY, Purpose.INDEX, sent_at=5), stage=Stage.INDEX.value
    ),
    "an event that no message can hold": letter(content=os.urandom(1_000_000).hex()),
}


@pytest.mark.parametrize("one", REFUSED.values(), ids=REFUSED)
def test_nothing_is_signed_of(one: dict[str, Any]) -> None:
    with pytest.raises(NotResignableError):
        again(one)
