"""Keys and messages as the processes of an installation make them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ocelot_common.envelope import Envelope, pack, unpack
from ocelot_common.index_message import IndexMessage, pack_index_messages, unpack_index_message
from ocelot_common.queue.keys import KeyFile, QueueKeys, fingerprint
from ocelot_common.registry.model import QueueKeyRow, QueueKeyState
from ocelot_common.signed_text import QueueKey, parse
from ocelot_common.timestamps import now_ms

KEY = QueueKey("k1", bytes(range(32)))
OTHER_KEY = QueueKey("k2", bytes(range(32, 64)))


def row(key: QueueKey, state: QueueKeyState = QueueKeyState.ACTIVE, **changes: Any) -> QueueKeyRow:
    """What the registry says of a key."""
    fields: dict[str, Any] = {
        "kid": key.kid,
        "version": 1,
        "sha256": fingerprint(key),
        "state": state,
        "created_at": datetime.now(UTC),
    }
    return QueueKeyRow(**(fields | changes))


class FixedFile:
    """A key file that never changes."""

    def __init__(self, *keys: QueueKey) -> None:
        self.keys = keys

    def find(self, kid: str) -> QueueKey | None:
        return next((key for key in self.keys if key.kid == kid), None)


def fixed_keys(*keys: QueueKey, rows: Sequence[QueueKeyRow] | None = None) -> QueueKeys:
    """Keys that are all active, unless the registry's rows are given."""
    held = keys or (KEY,)
    known = {each.kid: each for each in (map(row, held) if rows is None else rows)}
    file: Any = FixedFile(*held)
    return QueueKeys(file, known.get)


def key_of(stack: Any) -> QueueKey:
    """The key with which an installation signs."""
    path: Path = stack.installation.queue_keys_file
    return KeyFile(path).keys[0]


def ingest_text(envelope: Envelope, key: QueueKey = KEY, *, sent_at: int | None = None) -> str:
    """A message of the ingest queue."""
    return pack(envelope, key, sent_at=now_ms() if sent_at is None else sent_at)


def index_texts(
    uid: str,
    ids: Sequence[bytes],
    key: QueueKey = KEY,
    *,
    sent_at: int | None = None,
    traceparents: Sequence[str] = (),
) -> list[str]:
    """Messages of the index queue."""
    signed_at = now_ms() if sent_at is None else sent_at
    return list(pack_index_messages(uid, ids, key, sent_at=signed_at, traceparents=traceparents))


def opened(text: str) -> Envelope:
    """The envelope in a message, whoever signed it."""
    return unpack(parse(text))


def opened_index(text: str) -> IndexMessage:
    """The ids in a message, whoever signed it."""
    return unpack_index_message(parse(text))
