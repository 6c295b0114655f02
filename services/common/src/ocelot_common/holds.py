"""Legal holds: while a tenant has one, none of its events is deleted (design §9)."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
from msgspec import field
from pymongo import ASCENDING
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference

from ocelot_common.ids import format_id, new_id
from ocelot_common.mongo import MAJORITY
from ocelot_common.names import HOLDS, TENANT_STATUS

Document = dict[str, Any]
T = TypeVar("T")


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """One hold.

    Attributes:
        uid: the tenant's.
        reason: why, for people: `case 4711`.
        owner: who placed it, and alone lifts it: `cli`, or `namespace/name` of a Tenant resource.
    """

    id: str = field(name="_id")
    uid: str = field(name="t")
    reason: str
    owner: str
    placed_at: datetime


class HoldStore:
    """The collection `holds`.

    Placing a hold and deleting a batch of events each write the tenant's one document in
    `tenant_status`, in a transaction with what they do. So of the two one comes first: once a hold
    is placed, no batch ends that began without seeing it.
    """

    def __init__(self, database: AsyncDatabase[Document]) -> None:
        self._database = database.with_options(
            read_concern=ReadConcern("majority"),
            write_concern=MAJORITY,
            read_preference=ReadPreference.PRIMARY,
        )
        self._holds = self._database[HOLDS]

    async def place(self, uid: str, *, reason: str, owner: str) -> Hold:
        """Place a hold; when this returns, nothing of the tenant is deleted any more."""
        hold = Hold(
            id=format_id(new_id()), uid=uid, reason=reason, owner=owner, placed_at=datetime.now(UTC)
        )

        async def work(session: AsyncClientSession) -> None:
            await self._take_turn(uid, session)
            document = msgspec.to_builtins(hold, builtin_types=(datetime,))
            await self._holds.insert_one(document, session=session)

        await self._transaction(work)
        return hold

    async def lift(self, hold_id: str) -> bool:
        """Lift a hold; whether it was there."""
        return (await self._holds.delete_one({"_id": hold_id})).deleted_count == 1

    async def find(self, *, uid: str | None = None) -> list[Hold]:
        """Holds, of one tenant or all, those placed first first."""
        query = {} if uid is None else {"t": uid}
        cursor = self._holds.find(query).sort("_id", ASCENDING)
        return [msgspec.convert(document, Hold) async for document in cursor]

    async def held(self, uid: str, session: AsyncClientSession) -> bool:
        """Whether a tenant has a hold, asked within the transaction that would delete.

        Takes the turn: a hold that is placed meanwhile makes the transaction fail or wait.
        """
        await self._take_turn(uid, session)
        return await self._holds.find_one({"t": uid}, {"_id": 1}, session=session) is not None

    async def unless_held(self, uid: str, delete: Callable[..., Awaitable[T]]) -> T | None:
        """Delete something of a tenant, unless it has a hold.

        Args:
            uid: the tenant's.
            delete: called with the `session` of the transaction; may be called several times.

        Returns:
            What `delete` returned in the transaction that was committed; None if there is a hold.
        """

        async def work(session: AsyncClientSession) -> T | None:
            if await self.held(uid, session):
                return None
            return await delete(session=session)

        return await self._transaction(work)

    async def _transaction(self, work: Callable[[AsyncClientSession], Awaitable[T]]) -> T:
        async with self._database.client.start_session() as session:
            return await session.with_transaction(
                work, read_concern=ReadConcern("snapshot"), write_concern=MAJORITY
            )

    async def _take_turn(self, uid: str, session: AsyncClientSession) -> None:
        await self._database[TENANT_STATUS].update_one(
            {"_id": uid}, {"$inc": {"deletion_turn": 1}}, upsert=True, session=session
        )
