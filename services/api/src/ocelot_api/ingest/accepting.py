"""Validating a request's events and giving them their ids (design §3, §5)."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from ocelot_api.authentication import Principal
from ocelot_common.envelope import PackedEvent
from ocelot_common.event import AcceptedEvent, EventAcceptor
from ocelot_common.event_limits import EventError, EventLimits
from ocelot_common.ids import ids_by_idempotency_key, new_id


class ItemError(msgspec.Struct):
    """Why one event of a bulk request was not taken."""

    index: int
    code: str
    path: str
    detail: str


class Accepted(NamedTuple):
    """The events of a request that are valid, by their index, and the errors of the others."""

    events: dict[int, PackedEvent]
    errors: list[ItemError]


def accept_events(
    raws: Sequence[bytes],
    *,
    principal: Principal,
    limits: EventLimits,
    now_ms: int,
    idempotency_key: str | None,
    make_id: Callable[[], bytes] = new_id,
) -> Accepted:
    """Validate events and assign the ids that are missing."""
    acceptor = EventAcceptor(now_ms=now_ms, limits=limits)
    valid: dict[int, AcceptedEvent] = {}
    errors: list[ItemError] = []
    texts: dict[bytes, bytes] = {}
    for index, raw in enumerate(raws):
        try:
            event = acceptor.accept(raw)
        except EventError as error:
            errors.append(ItemError(index, error.code, error.path, error.detail))
            continue
        if event.id is not None and texts.setdefault(event.id, event.text) != event.text:
            errors.append(
                ItemError(index, "duplicate_id", "id", "another event of this request has this id")
            )
            continue
        valid[index] = event
    nameless = [index for index, event in valid.items() if event.id is None]
    if idempotency_key is None:
        made = [make_id() for _ in nameless]
    else:
        made = ids_by_idempotency_key(
            principal.tenant.uid,
            principal.subject,
            idempotency_key,
            [valid[index].text for index in nameless],
        )
    ids = dict(zip(nameless, made, strict=True))
    events = {
        index: PackedEvent(event.id or ids[index], event.text) for index, event in valid.items()
    }
    return Accepted(events, errors)
