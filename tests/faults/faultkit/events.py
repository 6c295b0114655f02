"""Seeded events: valid ones with the text that must be stored, and ones that must be refused."""

import random
import uuid
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Any

import msgspec

_ACTIONS = ("document.update", "user.login", "key.rotate", "invoice.delete", "zugriff.erlaubt")
_WORDS = ("quarterly", "report", "Übersicht", "東京", "naïve", "backup", "müde", "emoji 🦊", "tail")


class Safety(StrEnum):
    """How a client makes its repeats safe (docs/architecture.md)."""

    IDS = "ids"
    KEY = "key"


class Batch(msgspec.Struct):
    """One request's events.

    Attributes:
        bodies: as they are sent.
        texts: what must be stored of each, None for one that must be refused.
        ids: the client's own, None where it gives none.
    """

    number: int
    safety: Safety
    bodies: list[dict[str, Any]]
    texts: list[bytes | None]
    ids: list[str | None]

    @property
    def key(self) -> str | None:
        """The Idempotency-Key."""
        return f"batch-{self.number}" if self.safety is Safety.KEY else None


def batches(
    rng: random.Random,
    tenant_id: str,
    shared_ids: list[str],
    total: int,
    *,
    sizes: Sequence[int] = (1, 1, 3, 20, 60, 100, 250),
    first: int = 0,
) -> Iterator[Batch]:
    """Batches with so many events in all, valid ones.

    Args:
        rng: the round's.
        tenant_id: stands in every text, so that an event in another tenant is noticed.
        shared_ids: which other tenants use too, each for events of its own.
        total: number of valid events.
        sizes: of the requests, chosen among.
        first: the batches' numbers, which their keys are made of, begin after it.
    """
    pool = list(shared_ids)
    rng.shuffle(pool)
    number, made = first, 0
    while made < total:
        number += 1
        safety = rng.choice(list(Safety))
        batch = Batch(number, safety, [], [], [])
        size = min(total - made, rng.choice(sizes))
        for _ in range(size):
            if rng.random() < 0.01:
                _add_invalid(batch, rng, tenant_id)
            event = _event(rng, tenant_id, made)
            event_id = None
            if safety is Safety.IDS:
                event_id = pool.pop() if pool else _uuid(rng)
            _add(batch, event, event_id)
            made += 1
        if safety is Safety.KEY and size > 2:
            # Equal texts without ids are different events.
            twin = dict(batch.bodies[-1])
            if batch.texts[-1] is not None:
                _add(batch, twin, None)
                made += 1
        yield batch


def shared_ids(rng: random.Random, number: int) -> list[str]:
    """Ids that several tenants use."""
    return [_uuid(rng) for _ in range(number)]


def text_of(event: dict[str, Any]) -> bytes:
    """The text of record of an event that is sent compactly: without its id."""
    return msgspec.json.encode({name: value for name, value in event.items() if name != "id"})


def _add(batch: Batch, event: dict[str, Any], event_id: str | None) -> None:
    batch.bodies.append({"id": event_id, **event} if event_id else event)
    batch.texts.append(text_of(event))
    batch.ids.append(event_id)


def _add_invalid(batch: Batch, rng: random.Random, tenant_id: str) -> None:
    event: dict[str, Any] = _event(rng, tenant_id, -1)
    event["message"] = "REFUSED " + event["message"]
    match rng.randrange(3):
        case 0:
            del event["action"]
        case 1:
            event["colour"] = "red"
        case _:
            event["severity"] = "mild"
    event_id = _uuid(rng) if batch.safety is Safety.IDS else None
    batch.bodies.append({"id": event_id, **event} if event_id else event)
    batch.texts.append(None)
    batch.ids.append(event_id)


def _event(rng: random.Random, tenant_id: str, number: int) -> dict[str, Any]:
    # In the order of the text of record, so that the two compare byte by byte.
    event: dict[str, Any] = {
        "action": rng.choice(_ACTIONS),
        "actor": {"id": f"user-{rng.randrange(500)}", "name": rng.choice(_WORDS)},
        "message": " ".join(rng.choices(_WORDS, k=rng.randrange(1, 12))),
    }
    if rng.random() < 0.05:
        event["changes"] = {"before": {"blob": "x" * rng.randrange(20_000)}, "after": None}
    return event | {
        "source": {"ip": f"192.0.2.{rng.randrange(256)}", "service": tenant_id},
        "tags": rng.sample(_WORDS, rng.randrange(4)),
        "metadata": {"of": tenant_id, "n": number, "x": rng.random(), "big": rng.getrandbits(90)},
    }


def _uuid(rng: random.Random) -> str:
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))
