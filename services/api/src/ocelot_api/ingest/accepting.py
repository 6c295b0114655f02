"""Validating a request's events and giving them their ids (design §3, §5)."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from ocelot_api.authentication import Principal
from ocelot_common.batching import batched
from ocelot_common.envelope import PackedEvent
from ocelot_common.event import EventAcceptor
from ocelot_common.event_limits import EventError
from ocelot_common.ids import IdsByKey, format_id, new_id_and_text, new_ids_and_texts

#: Decoded together; decoded events take ten times the bytes of their texts.
_PLAIN_EVENTS: Final = 128


class ItemError(msgspec.Struct):
    """Why one event of a bulk request was not taken."""

    index: int
    code: str
    path: str
    detail: str


class Accepted(NamedTuple):
    """What became of a request's events.

    Attributes:
        events: the valid ones, in the order of the request.
        ids: of every event by position; None where it was refused.
        errors: of the refused ones.
    """

    events: list[PackedEvent]
    ids: list[str | None]
    errors: list[ItemError]


def accept_events(
    raws: Sequence[bytes], *, principal: Principal, acceptor: EventAcceptor, key: str | None
) -> Accepted:
    """Validate events and assign the ids that are missing.

    Args:
        raws: the JSON texts.
        principal: whose they are.
        acceptor: of the tenant's bounds.
        key: the request's `Idempotency-Key`; without, an event without id gets a UUIDv7.
    """
    by_key = IdsByKey(principal.tenant.uid, principal.subject, key) if key is not None else None
    accepted = Accepted([], [], [])
    texts: dict[bytes, bytes] = {}  # by the ids that clients gave
    if len(raws) == 1:
        _accept_each(raws, acceptor, by_key, texts, accepted)
        return accepted
    for part in batched(raws, _PLAIN_EVENTS):
        if plain := acceptor.accept_plain(part):
            _accept_plain(plain, by_key, accepted)
        else:
            _accept_each(part, acceptor, by_key, texts, accepted)
    return accepted


def _accept_plain(plain: list[bytes], by_key: IdsByKey | None, accepted: Accepted) -> None:
    if by_key is None:
        ids, id_texts = new_ids_and_texts(len(plain))
    else:
        ids = list(map(by_key.next, plain))
        id_texts = list(map(format_id, ids))
    accepted.events.extend(map(PackedEvent, ids, plain))
    accepted.ids.extend(id_texts)


def _accept_each(
    raws: Sequence[bytes],
    acceptor: EventAcceptor,
    by_key: IdsByKey | None,
    texts: dict[bytes, bytes],
    accepted: Accepted,
) -> None:
    events, ids, errors = accepted
    for raw in raws:
        index = len(ids)
        ids.append(None)
        try:
            event = acceptor.accept(raw)
        except EventError as error:
            errors.append(ItemError(index, error.code, error.path, error.detail))
            continue
        event_id, text = event.id, event.text
        if event_id is not None:
            if texts.setdefault(event_id, text) != text:
                errors.append(_duplicate(index))
                continue
            ids[index] = format_id(event_id)
        elif by_key is None:
            event_id, ids[index] = new_id_and_text()
        else:
            event_id = by_key.next(text)
            ids[index] = format_id(event_id)
        events.append(PackedEvent(event_id, text))


def _duplicate(index: int) -> ItemError:
    return ItemError(index, "duplicate_id", "id", "another event of this request has this id")
