"""What the registry says of queue keys: recorded when made, then retired or lost."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from ocelot_common.names import QUEUE_KEY_USE
from ocelot_common.queue.admission import MAX_AGE_MS
from ocelot_common.queue.keys import fingerprint
from ocelot_common.registry.model import QueueKeyRow, QueueKeyState
from ocelot_common.registry.store import RegistryStore, RegistryTransaction
from ocelot_common.signed_text import QueueKey

#: No message that a key signed is delivered any more so long after it last signed.
RETIRE_AFTER: Final = timedelta(milliseconds=MAX_AGE_MS)


class QueueKeyError(Exception):
    """The registry's keys do not allow this; the message says why."""


class QueueKeyNotFoundError(QueueKeyError):
    """The registry has no such key."""


class KeyUse(msgspec.Struct, frozen=True):
    """When a key signed, as the processes that verified its messages saw it."""

    first_sent_at: datetime | None = None
    last_sent_at: datetime | None = None


def _other_key(kid: str) -> QueueKeyError:
    return QueueKeyError(f"The key id {kid} belongs to another key. Create a new key.")


async def record_queue_key(store: RegistryStore, key: QueueKey) -> QueueKeyRow:
    """Record a key as active; safe to repeat. The key itself is not stored.

    Raises:
        QueueKeyError: its id belongs to another key, or it was retired or lost.
    """
    sha256 = fingerprint(key)

    async def work(transaction: RegistryTransaction) -> QueueKeyRow:
        if known := await transaction.get(QueueKeyRow, key.kid):
            return known
        row = QueueKeyRow(
            kid=key.kid,
            version=transaction.version,
            sha256=sha256,
            created_at=datetime.now(UTC),
        )
        await transaction.insert(row)
        return row

    row = await store.queue_key(key.kid)
    if row is None:
        row = await store.write(work)
    if row.sha256 != sha256:
        raise _other_key(key.kid)
    if row.state is not QueueKeyState.ACTIVE:
        raise QueueKeyError(f"The key {key.kid} is {row.state.value}. Create a new key.")
    return row


async def record_queue_keys(store: RegistryStore, keys: Sequence[QueueKey]) -> list[QueueKeyRow]:
    """Record every key that the registry lacks as active; safe to repeat.

    Args:
        store: of the registry.
        keys: of a key file.

    Returns:
        The rows that were new. A key that the registry has as retired or lost stays that.

    Raises:
        QueueKeyError: the registry has another key under the id of one; none is recorded then.
    """
    rows = {row.kid: row for row in await store.since(QueueKeyRow, 0)}
    for key in keys:
        if key.kid in rows and rows[key.kid].sha256 != fingerprint(key):
            raise _other_key(key.kid)
    return [await record_queue_key(store, key) for key in keys if key.kid not in rows]


async def lose_queue_key(store: RegistryStore, kid: str) -> QueueKeyRow:
    """Record that nobody has a key any more, so that no process waits for it.

    Raises:
        QueueKeyError: there is no such key.
    """
    return await _change(store, kid, QueueKeyState.LOST)


async def retire_queue_key(store: RegistryStore, kid: str) -> QueueKeyRow:
    """Record that a key is not needed any more, so that it can leave the key files.

    Raises:
        QueueKeyError: there is no such key; it signed within the last 15 days; or no other key has
            signed for 15 days, so that messages of this one may still wait.
    """
    now = datetime.now(UTC)
    uses = await queue_key_uses(store)
    rows = {row.kid: row for row in await store.since(QueueKeyRow, 0)}
    if row := rows.get(kid):
        last = uses.get(kid, KeyUse()).last_sent_at or row.created_at
        if now - last < RETIRE_AFTER:
            raise QueueKeyError(
                f"The key {kid} signed at {last:%Y-%m-%d %H:%M} UTC. It can be retired"
                f" {RETIRE_AFTER.days} days later, at {last + RETIRE_AFTER:%Y-%m-%d %H:%M} UTC."
            )
        if not any(
            other != kid
            and other_row.state is QueueKeyState.ACTIVE
            and (use := uses.get(other, KeyUse())).first_sent_at
            and use.last_sent_at
            and use.first_sent_at <= now - RETIRE_AFTER
            and use.last_sent_at > last
            for other, other_row in rows.items()
        ):
            raise QueueKeyError(
                f"No other key has signed for {RETIRE_AFTER.days} days. Messages of {kid} may still"
                " wait in a queue."
            )
    return await _change(store, kid, QueueKeyState.RETIRED)


async def queue_key_uses(store: RegistryStore) -> dict[str, KeyUse]:
    """Return when each key signed, by key id."""
    found = store.database[QUEUE_KEY_USE].find({})
    return {document["_id"]: _use(document) async for document in found}


def _use(document: dict[str, Any]) -> KeyUse:
    return KeyUse(document.get("first_sent_at"), document.get("last_sent_at"))


async def _change(store: RegistryStore, kid: str, state: QueueKeyState) -> QueueKeyRow:
    async def work(transaction: RegistryTransaction) -> QueueKeyRow:
        row = await transaction.get(QueueKeyRow, kid)
        if row is None:
            raise QueueKeyNotFoundError(
                f"The registry has no key {kid}. `ocelot queue-keys list` shows all keys."
            )
        changed = msgspec.structs.replace(row, state=state, version=transaction.version)
        await transaction.replace(changed)
        return changed

    return await store.write(work)
