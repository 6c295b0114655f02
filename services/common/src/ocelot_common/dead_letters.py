"""Dead letters: what could not be stored or indexed, with reason and full content (design §6)."""

import hashlib
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

import msgspec
from bson import Binary
from pymongo import DeleteOne, UpdateOne
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.database import AsyncDatabase

from ocelot_common.batching import batched_by_bytes
from ocelot_common.ids import format_id
from ocelot_common.mongo import MAJORITY, ROW_CODEC
from ocelot_common.names import DEAD_LETTERS
from ocelot_common.reading import Unreadable
from ocelot_common.stored import StoredEvent
from ocelot_common.timestamps import EPOCH, to_datetime

Document = dict[str, Any]

VERSION: Final = 1
_MAX_DETAIL_CHARS: Final = 1_000
#: With four bytes each they still fit a document of 16 MiB (MongoDB limit).
_MAX_CONTENT_CHARS: Final = 4_000_000
_MAX_NAME_CHARS: Final = 10_000
#: Letters of one request to MongoDB.
_PUT_LETTERS: Final = 1_000
_PUT_BYTES: Final = 4 * 1024 * 1024

# Whoever can write to the database can plant a letter of any form. It is read without what has
# another type than ours, so that it hides no other letter: a field may be missing.
_TEXTS: Final = ("stage", "reason", "t", "content", "detail", "writer", "request_id", "event_id")
_EVENT_ID_BYTES: Final = 16
_LAST_TIME: Final = datetime(9999, 1, 1, tzinfo=UTC)
_TIMES: Final = ("first_seen", "last_seen", "received_at")
#: The expression of a letter's attempts; one that counts in words, or not at all, has none.
_ATTEMPTS: Final = {"$cond": [{"$eq": [{"$type": "$attempts"}, "int"]}, "$attempts", 0]}


class Stage(StrEnum):
    """Where it failed: while storing or while indexing."""

    STORE = "store"
    INDEX = "index"


class Reason(StrEnum):
    """Why it failed.

    `expired`: its message was signed more than 15 days ago. `exhausted`: every process that
    received its message died, until SQS gave it up. `unauthenticated`: nobody knows who wrote it,
    so it is never sent again; the message itself stays in the dead letter queue.
    """

    MALFORMED = "malformed"
    CONFLICT = "conflict"
    NOT_STORABLE = "not_storable"
    NOT_INDEXABLE = "not_indexable"
    EXPIRED = "expired"
    EXHAUSTED = "exhausted"
    UNAUTHENTICATED = "unauthenticated"


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """One fault.

    Attributes:
        uid: the tenant's; empty where the message does not even tell that.
        event_id: 16 bytes, or None for a whole message.
        content: the event's text of record, as text or in UTF-8, or the message's body; empty for
            the stage `index`, whose content is what is stored. What no document could hold is kept
            cut.
        received_at: of the event, milliseconds since the epoch; None for a whole message.
        internal: whether Ocelot itself made the event, as its authenticated message said.
    """

    stage: Stage
    reason: Reason
    uid: str
    event_id: bytes | None
    content: str | bytes
    detail: str
    received_at: int | None = None
    writer: str = ""
    request_id: str = ""
    internal: bool = False

    @classmethod
    def not_indexable(cls, stored: StoredEvent, detail: str) -> "DeadLetter":
        """The letter of a stored event that OpenSearch refuses for good."""
        return cls(
            stage=Stage.INDEX,
            reason=Reason.NOT_INDEXABLE,
            uid=stored.uid,
            event_id=stored.id,
            content=stored.text,
            detail=detail,
            received_at=stored.received_at,
            writer=stored.writer,
        )

    @classmethod
    def unreadable(cls, uid: str, found: Unreadable) -> "DeadLetter":
        """The letter of a stored document that is no event."""
        return cls(
            stage=Stage.INDEX,
            reason=Reason.NOT_INDEXABLE,
            uid=uid,
            event_id=found.id,
            content="",
            detail=f"the stored document is not an event: {found.reason}",
            received_at=found.received_at,
        )

    @property
    def key(self) -> str:
        """One letter a fault: the same fault met again is the same letter."""
        digest = hashlib.sha256()
        for part in (self.stage, self.reason, self.uid, self.event_id or b"", self.content):
            raw = part if isinstance(part, bytes) else part.encode()
            digest.update(b"%d:" % len(raw))
            digest.update(raw)
        return digest.hexdigest()


class DeadLetterStore:
    """The collection `dead_letters`."""

    def __init__(self, database: AsyncDatabase[Document]) -> None:
        self._letters = database[DEAD_LETTERS].with_options(
            write_concern=MAJORITY, codec_options=ROW_CODEC
        )

    async def put(self, letters: Sequence[DeadLetter]) -> None:
        """Keep letters; one that is there already counts one more attempt.

        Raises:
            pymongo.errors.PyMongoError: they are not kept; the caller must not go on.
        """
        now = datetime.now(UTC)
        for part in batched_by_bytes(
            letters, max_items=_PUT_LETTERS, max_bytes=_PUT_BYTES, size=lambda at: len(at.content)
        ):
            await self._letters.bulk_write([_upsert(letter, now) for letter in part], ordered=False)

    async def put_notices(self, notices: Sequence[DeadLetter], *, most_per_day: int) -> int:
        """Keep letters of one stage about messages that stay where they are.

        A notice that is there already is left as it is. Beyond `most_per_day` first seen since
        midnight UTC, notices are dropped.

        Returns:
            How many were new and kept.

        Raises:
            pymongo.errors.PyMongoError: they may not be kept.
        """
        by_key = {notice.key: notice for notice in notices}
        async for known in self._letters.find({"_id": {"$in": list(by_key)}}, {"_id": 1}):
            del by_key[known["_id"]]
        if not by_key:
            return 0
        new = list(by_key.values())
        midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        today = {
            "t": "",
            "stage": new[0].stage.value,
            "reason": Reason.UNAUTHENTICATED.value,
            "first_seen": {"$gte": midnight},
        }
        number = await self._letters.count_documents(today, limit=most_per_day)
        kept = new[: most_per_day - number]
        await self.put(kept)
        return len(kept)

    async def keys_of(self, uid: str | None = None) -> list[str]:
        """Return the keys of all letters, or of one tenant's."""
        query: Document = {"_id": {"$type": "string"}}
        if uid is not None:
            query["t"] = uid
        return [letter["_id"] async for letter in self._letters.find(query, {"_id": 1})]

    async def get(self, keys: Sequence[str]) -> list[Document]:
        """Return the letters of these whole keys that are still there, as `find` does."""
        return await self._letters.find({"_id": {"$in": list(keys)}}, _projection()).to_list()

    async def find(
        self, *, uid: str | None = None, limit: int = 0, keys: Sequence[str] = ()
    ) -> AsyncIterator[Document]:
        """Letters, those seen last first.

        A field of another type than ours is missing, `_id` too; so may be any field.

        Args:
            uid: only this tenant's.
            limit: at most so many; 0 for all.
            keys: only letters whose `_id` begins with one of these.
        """
        query: Document = {}
        if uid is not None:
            query["t"] = uid
        if keys:
            query["$or"] = [{"_id": {"$gte": key, "$lt": key + "g"}} for key in keys]
        async for document in (
            self._letters.find(query, _projection()).sort("last_seen", -1).limit(limit)
        ):
            yield document

    async def remove(
        self,
        key: str,
        *,
        attempts: int | None = None,
        session: AsyncClientSession | None = None,
    ) -> bool:
        """Forget one letter; whether it was there.

        Args:
            key: its whole key.
            attempts: only if it still counts so many, or 0 if `find` gave no number. One more means
                that the same fault was met again since the caller read the letter.
            session: of a transaction, in which alone the letter is removed.
        """
        query: Document = {"_id": key}
        if attempts is not None:
            query["$expr"] = {"$eq": [_ATTEMPTS, attempts]}
        return (await self._letters.delete_one(query, session=session)).deleted_count == 1

    async def purge(
        self, uid: str, *, before: datetime, limit: int, session: AsyncClientSession
    ) -> int:
        """Forget letters of a tenant's events received before a moment; how many of `limit`.

        A letter without that time, of a whole message, counts from when it was first seen.
        """
        old: Document = {
            "t": uid,
            "$or": [
                {"received_at": {"$lt": before}},
                {"received_at": {"$exists": False}, "first_seen": {"$lt": before}},
            ],
        }
        named = old | {"_id": {"$type": "string"}}
        found = self._letters.find(named, {"_id": 1}, session=session).limit(limit)
        keys = [letter["_id"] async for letter in found]
        if keys:
            named = {"_id": {"$in": keys}}
            return (await self._letters.delete_many(named, session=session)).deleted_count
        # None of ours. What has another key cannot be named: the first that is found is deleted.
        others = old | {"_id": {"$not": {"$type": "string"}}}
        number = await self._letters.count_documents(others, limit=limit, session=session)
        if not number:
            return 0
        deletes = [DeleteOne(others)] * number
        return (await self._letters.bulk_write(deletes, session=session)).deleted_count

    async def remove_all_of(self, uid: str) -> int:
        """Forget a tenant's letters; how many there were."""
        return (await self._letters.delete_many({"t": uid})).deleted_count


def _upsert(letter: DeadLetter, now: datetime) -> UpdateOne:
    content = letter.content
    if isinstance(content, bytes):
        content = content.decode(errors="backslashreplace")
    first: Document = {
        "v": VERSION,
        "stage": letter.stage.value,
        "reason": letter.reason.value,
        "t": letter.uid,
        "content": content[:_MAX_CONTENT_CHARS],
        "writer": letter.writer[:_MAX_NAME_CHARS],
        "request_id": letter.request_id[:_MAX_NAME_CHARS],
        "first_seen": now,
    }
    if letter.event_id is not None:
        first["event_id"] = format_id(letter.event_id)
        first["event_key"] = Binary(letter.event_id, 4)
    if letter.received_at is not None:
        first["received_at"] = to_datetime(letter.received_at)
    # What is there stays. A planted letter under this key may lack a field, or count in words.
    kept = {name: {"$ifNull": [f"${name}", {"$literal": value}]} for name, value in first.items()}
    changed: Document = {
        "last_seen": now,
        "detail": {"$literal": letter.detail[:_MAX_DETAIL_CHARS]},
        "attempts": {"$add": [_ATTEMPTS, 1]},
    }
    if letter.internal:
        changed["internal"] = True
    return UpdateOne({"_id": letter.key}, [{"$set": kept | changed}], upsert=True)


def _projection() -> Document:
    """Return the projection for letters, of fields of our types that the driver can decode."""
    return {
        "_id": _of_type("_id", "string"),
        **{name: _of_type(name, "string") for name in _TEXTS},
        **{name: _time(name) for name in _TIMES},
        "v": _of_type("v", "int"),
        "attempts": _of_type("attempts", "int"),
        "internal": _of_type("internal", "bool"),
        "event_key": _event_key(),
    }


def _of_type(name: str, kind: str) -> Document:
    return {"$cond": [{"$eq": [{"$type": f"${name}"}, kind]}, f"${name}", "$$REMOVE"]}


def _time(name: str) -> Document:
    # Other types, and dates that `datetime` cannot name, lie outside.
    inside = {"$and": [{"$gte": [f"${name}", EPOCH]}, {"$lt": [f"${name}", _LAST_TIME]}]}
    return {"$cond": [inside, f"${name}", "$$REMOVE"]}


def _event_key() -> Document:
    size = {
        "$cond": [{"$eq": [{"$type": "$event_key"}, "binData"]}, {"$binarySize": "$event_key"}, 0]
    }
    return {"$cond": [{"$eq": [size, _EVENT_ID_BYTES]}, "$event_key", "$$REMOVE"]}
