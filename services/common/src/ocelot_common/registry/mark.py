"""The mark that says that MongoDB has been prepared.

A process that reads or writes before the indexes exist can double what they keep single. So the
mark is written last, and api, consumer and indexer do nothing before they have seen it.
"""

from typing import Any, Final

from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import PyMongoError

from ocelot_common.names import INSTALLATION

#: Raise it when `prepare_database` makes something that other processes need.
LAYOUT: Final = 1
_KEY: Final = "layout"


class NotPreparedError(PyMongoError):
    """MongoDB can be reached, but its collections and indexes have not been made yet."""


async def write_mark(database: AsyncDatabase[dict[str, Any]]) -> None:
    """Record that this release's collections and indexes exist; a newer mark stays."""
    # Not the operator `$max`, for which any text is more than a number.
    present = {"$cond": [{"$isNumber": "$version"}, "$version", LAYOUT]}
    await database[INSTALLATION].update_one(
        {"_id": _KEY}, [{"$set": {"version": {"$max": [present, LAYOUT]}}}], upsert=True
    )


async def require_mark(database: AsyncDatabase[dict[str, Any]]) -> None:
    """Return if MongoDB has been prepared for this release.

    Raises:
        NotPreparedError: it has not.
        pymongo.errors.PyMongoError: MongoDB can't be read now.
    """
    mark = await database[INSTALLATION].find_one({"_id": _KEY})
    version = mark.get("version") if mark else None
    if not isinstance(version, int) or version < LAYOUT:
        raise NotPreparedError(
            f"The database {database.name!r} has not been prepared;"
            " start the jobs worker, or create a tenant with `ocelot tenants create`"
        )
