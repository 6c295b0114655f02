"""The one place that makes the installation's own MongoDB collections and indexes."""

import asyncio
from datetime import timedelta
from typing import Any, Final

from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import DuplicateKeyError, OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference

from ocelot_common import names
from ocelot_common.jobs.doubles import end_doubles
from ocelot_common.mongo import MAJORITY
from ocelot_common.registry.mark import write_mark
from ocelot_common.telemetry.logs import get_logger

Document = dict[str, Any]

#: Jobs that ended are forgotten after so long.
_JOBS_KEPT: Final = timedelta(days=90)
_RETRY_SEC: Final = 2.0
#: A process of an older release may queue a double again while this one repairs.
_REPAIR_ATTEMPTS: Final = 10
_NAMESPACE_EXISTS: Final = 48

_BY_VERSION: Final = IndexModel([("version", ASCENDING)], name="version")
#: Every collection of the installation but those of spaces. They are made before anything writes
#: them: a transaction that makes a collection may collide with another.
_INDEXES: Final[dict[str, list[IndexModel]]] = {
    names.TENANTS: [
        # One live incarnation per id: the claim of an id is this index's unique insert.
        IndexModel(
            [("id", ASCENDING)],
            name="live_id",
            unique=True,
            partialFilterExpression={"live": True},
        ),
        _BY_VERSION,
    ],
    names.SPACES: [_BY_VERSION],
    names.KEYS: [_BY_VERSION],
    names.QUEUE_KEYS: [_BY_VERSION],
    names.QUEUE_KEY_USE: [],
    names.COUNTERS: [],
    names.DEAD_LETTERS: [
        IndexModel([("t", ASCENDING), ("last_seen", ASCENDING)], name="t_last_seen")
    ],
    names.HOLDS: [IndexModel([("t", ASCENDING)], name="t")],
    names.TENANT_STATUS: [],
    names.PROBES: [],
    names.INSTALLATION: [],
    names.JOBS: [
        # One live job per key: a request that is repeated makes no second job.
        IndexModel(
            [("key", ASCENDING)],
            name="live_key",
            unique=True,
            partialFilterExpression={"live": True, "key": {"$type": "string"}},
        ),
        IndexModel([("live", ASCENDING), ("due_at", ASCENDING)], name="live_due"),
        IndexModel([("t", ASCENDING), ("_id", DESCENDING)], name="t_id"),
        IndexModel(
            [("finished_at", ASCENDING)],
            name="finished_at",
            expireAfterSeconds=int(_JOBS_KEPT.total_seconds()),
            partialFilterExpression={"live": False},
        ),
    ],
}

log = get_logger(__name__)


async def prepare_database(database: AsyncDatabase[Document]) -> None:
    """Make the collections and indexes of an installation, and then the mark that they exist.

    Safe to repeat, and for any number of processes at once. Doubled jobs, which keep the unique
    index of jobs from being built, are ended.

    Raises:
        pymongo.errors.PyMongoError: MongoDB is away or refuses; what was made stays.
    """
    database = database.with_options(
        read_concern=ReadConcern("majority"),
        write_concern=MAJORITY,
        read_preference=ReadPreference.PRIMARY,
    )
    present = set(await database.list_collection_names())
    for name, indexes in _INDEXES.items():
        if name not in present:
            await create_collection(database, name)
        if name == names.JOBS:
            await _index_jobs(database[name], indexes)
        elif indexes:
            await database[name].create_indexes(indexes)
    await write_mark(database)


async def prepare_database_when_possible(database: AsyncDatabase[Document]) -> None:
    """Prepare MongoDB; while it is away or refuses, log why and try again."""
    while True:
        try:
            await prepare_database(database)
        except PyMongoError as error:
            log.warning("database_not_prepared", error=repr(error)[:500])
            await asyncio.sleep(_RETRY_SEC)
        else:
            return


async def create_collection(database: AsyncDatabase[Document], name: str, **options: Any) -> None:
    """Make a collection, unless another process was faster.

    Args:
        database: where.
        name: of the collection.
        options: of the command `create`.
    """
    try:
        # The driver's own check asks the server first and loses the race all the same.
        await database.create_collection(name, check_exists=False, **options)
    except OperationFailure as error:
        if error.code != _NAMESPACE_EXISTS:
            raise


async def _index_jobs(jobs: AsyncCollection[Document], indexes: list[IndexModel]) -> None:
    for attempt in range(1, _REPAIR_ATTEMPTS + 1):
        try:
            await jobs.create_indexes(indexes)
        except DuplicateKeyError:
            if attempt == _REPAIR_ATTEMPTS:
                raise
            log.warning("duplicate_jobs_ended", jobs=await end_doubles(jobs))
        else:
            return
