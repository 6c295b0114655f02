"""Reads and writes of the registry. Every write draws the next version in its transaction."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, Final, TypeVar

import msgspec
from bson.errors import BSONError
from pymongo import ReturnDocument
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference

from ocelot_common import names
from ocelot_common.mongo import MAJORITY, ROW_CODEC
from ocelot_common.registry.mark import require_mark
from ocelot_common.registry.model import (
    QueueKeyRow,
    Space,
    Tenant,
    TenantState,
    VerificationKey,
)
from ocelot_common.telemetry.logs import get_logger

log = get_logger(__name__)

Document = dict[str, Any]
AnyRow = Tenant | Space | VerificationKey | QueueKeyRow
T = TypeVar("T")
Row = TypeVar("Row", Tenant, Space, VerificationKey, QueueKeyRow)

_VERSION: Final = "registry"
_KINDS: Final[dict[type, str]] = {
    Tenant: names.TENANTS,
    Space: names.SPACES,
    VerificationKey: names.KEYS,
    QueueKeyRow: names.QUEUE_KEYS,
}


class RegistryUnreadableError(PyMongoError):
    """The registry can be reached, but something in it is not what Ocelot writes there."""


class RegistryStore:
    """The collections `tenants`, `spaces`, `keys` and `queue_keys`.

    The version is one counter for all four, drawn inside the transaction that writes with it: two
    writers conflict on the counter, so versions become visible in order, and a reader that has seen
    N misses nothing below it.
    """

    def __init__(self, database: AsyncDatabase[Document]) -> None:
        self._database = database.with_options(
            codec_options=ROW_CODEC,
            read_concern=ReadConcern("majority"),
            write_concern=MAJORITY,
            read_preference=ReadPreference.PRIMARY,
        )

    @property
    def database(self) -> AsyncDatabase[Document]:
        """The database, with majority reads and writes."""
        return self._database

    async def require_prepared(self) -> None:
        """Return if the registry's collections and indexes exist.

        Raises:
            NotPreparedError: they do not.
        """
        await require_mark(self._database)

    async def version(self) -> int:
        """The registry's version: 0 before its first write.

        Raises:
            RegistryUnreadableError: it is not a number.
        """
        counter = await self._database[names.COUNTERS].find_one({"_id": _VERSION})
        value = counter.get("value") if counter else 0
        if not isinstance(value, int):
            raise RegistryUnreadableError(f"`value` of {_VERSION!r} in `counters` is not a number")
        return int(value)

    async def since(self, kind: type[Row], version: int) -> list[Row]:
        """All rows of a kind written after `version`.

        A row of another form, which another program wrote, is logged and left out: it must not stop
        the tenants of all other rows.

        Raises:
            RegistryUnreadableError: one cannot even be decoded.
        """
        name = _KINDS[kind]
        rows = []
        try:
            async for document in self._database[name].find({"version": {"$gt": version}}):
                try:
                    rows.append(to_row(kind, document))
                except msgspec.ValidationError as error:
                    key = str(document["_id"])[:100]
                    log.warning(
                        "registry_row_unreadable", collection=name, key=key, error=str(error)
                    )
        except BSONError as error:
            raise RegistryUnreadableError(f"`{name}` cannot be decoded: {error}") from error
        return rows

    async def tenant(self, uid: str) -> Tenant | None:
        """One incarnation, read with majority from the primary."""
        document = await self._database[names.TENANTS].find_one({"_id": uid})
        return to_row(Tenant, document) if document else None

    async def live_tenant(self, tenant_id: str) -> Tenant | None:
        """The present incarnation of an id."""
        document = await self._database[names.TENANTS].find_one({"id": tenant_id, "live": True})
        return to_row(Tenant, document) if document else None

    async def tenants(self, *, tombstones: bool = False) -> list[Tenant]:
        """All tenants by id; Deleted ones too if asked for."""
        query = {} if tombstones else {"live": True}
        cursor = self._database[names.TENANTS].find(query).sort("id")
        return [to_row(Tenant, document) async for document in cursor]

    async def was_used(self, tenant_id: str) -> bool:
        """Whether the id has, or ever had, an incarnation."""
        return await self._database[names.TENANTS].find_one({"id": tenant_id}) is not None

    async def space(self, name: str) -> Space | None:
        """A space by its name."""
        document = await self._database[names.SPACES].find_one({"_id": name})
        return to_row(Space, document) if document else None

    async def key(self, kid: str) -> VerificationKey | None:
        """A key by its id."""
        document = await self._database[names.KEYS].find_one({"_id": kid})
        return to_row(VerificationKey, document) if document else None

    async def queue_key(self, kid: str) -> QueueKeyRow | None:
        """What is known of a key of the queues."""
        document = await self._database[names.QUEUE_KEYS].find_one({"_id": kid})
        return to_row(QueueKeyRow, document) if document else None

    async def write(self, work: Callable[["RegistryTransaction"], Awaitable[T]]) -> T:
        """Run `work` in a transaction that has drawn the next version.

        Args:
            work: may run several times, when transactions collide.
        """

        async def attempt(session: AsyncClientSession) -> T:
            counter = await self._database[names.COUNTERS].find_one_and_update(
                {"_id": _VERSION},
                {"$inc": {"value": 1}},
                upsert=True,
                return_document=ReturnDocument.AFTER,
                session=session,
            )
            version = int(counter["value"]) if counter else 0
            return await work(RegistryTransaction(self._database, session, version))

        async with self._database.client.start_session() as session:
            return await session.with_transaction(
                attempt, read_concern=ReadConcern("snapshot"), write_concern=MAJORITY
            )


class RegistryTransaction:
    """Writes of one transaction, all with one version.

    Attributes:
        session: for what is to be written together with the registry.
    """

    def __init__(
        self, database: AsyncDatabase[Document], session: AsyncClientSession, version: int
    ) -> None:
        self._database = database
        self.session = session
        self.version = version

    async def insert(self, row: AnyRow) -> None:
        """Insert a row.

        Raises:
            pymongo.errors.DuplicateKeyError: the id is taken.
        """
        await self._database[_KINDS[type(row)]].insert_one(
            to_document(row, self.version), session=self.session
        )

    async def get(self, kind: type[Row], key: str) -> Row | None:
        """A row as this transaction sees it."""
        document = await self._database[_KINDS[kind]].find_one({"_id": key}, session=self.session)
        return to_row(kind, document) if document else None

    async def replace(self, row: AnyRow) -> None:
        """Write a row over the one with its key."""
        document = to_document(row, self.version)
        await self._database[_KINDS[type(row)]].replace_one(
            {"_id": document["_id"]}, document, session=self.session
        )


def to_row(kind: type[Row], document: Mapping[str, Any]) -> Row:
    """A MongoDB document as its struct; keys of a newer release are passed over."""
    return msgspec.convert(document, kind)


def to_document(row: AnyRow, version: int) -> Document:
    """A struct as its MongoDB document, stamped with `version`."""
    document: Document = msgspec.to_builtins(row, builtin_types=(datetime,))
    document["version"] = version
    if isinstance(row, Tenant):
        document["live"] = row.state is not TenantState.DELETED
    return document
