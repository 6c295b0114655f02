"""Removing a deleted tenant's data from both stores, when it is purged and when more turns up.

A consumer or an indexer that read the registry just before a tenant was deleted may write after the
purge. So every function here may be called again at any time, also for a tenant that was purged.
"""

from collections.abc import Sequence
from typing import Final

from opensearchpy import AsyncOpenSearch

from ocelot_common.batching import batched
from ocelot_common.dead_letters import DeadLetterStore
from ocelot_common.provisioning.errors import ProvisioningError
from ocelot_common.provisioning.indices import IndexMaker
from ocelot_common.registry.model import Space
from ocelot_common.registry.store import RegistryStore
from ocelot_common.stored import key_range

#: Documents removed from a shared collection at a time.
_STORED_AT_ONCE: Final = 1_000
#: Documents removed by one request to OpenSearch; a request for all would outlast every time-out.
_INDEXED_AT_ONCE: Final = 10_000
#: Tenants in one query; OpenSearch allows 65,536 terms.
_UIDS_AT_ONCE: Final = 1_000


class DataRemoval:
    """Removes what deleted tenants have left. Their state is not looked at here.

    Args:
        store: the registry.
        opensearch: None where the installation has none.
    """

    def __init__(self, store: RegistryStore, opensearch: AsyncOpenSearch | None) -> None:
        self._store = store
        self._database = store.database
        self._opensearch = opensearch
        self._dead_letters = DeadLetterStore(store.database)

    async def from_shared_space(self, space: Space, uids: Sequence[str]) -> int:
        """Remove the events and dead letters of Shared tenants; returns how many documents.

        Raises:
            ProvisioningError: events are in OpenSearch, too, and this process has no OpenSearch.
        """
        removed = 0
        if (opensearch := self._index_of(space)) is not None:
            for part in batched(uids, _UIDS_AT_ONCE):
                removed += await _remove_indexed(opensearch, space, part)
        for uid in uids:
            removed += await self._remove_stored(space, uid)
            removed += await self._dead_letters.remove_all_of(uid)
        return removed

    async def of_space(self, space: Space, uid: str) -> int:
        """Remove all of a retired Dedicated space; returns how many collections and indices.

        Raises:
            ProvisioningError: events are in OpenSearch, too, and this process has no OpenSearch.
        """
        removed = 0
        if (opensearch := self._index_of(space)) is not None:
            indices = IndexMaker(self._store, opensearch)
            for index in await indices.own(space):
                await indices.remove(index)
                removed += 1
        collections = await self._database.list_collection_names(filter={"name": space.collection})
        for collection in collections:
            await self._database.drop_collection(collection)
            removed += 1
        await self._dead_letters.remove_all_of(uid)
        return removed

    def _index_of(self, space: Space) -> AsyncOpenSearch | None:
        """Where the space is indexed; None where its events are in MongoDB alone."""
        if not space.search_enabled:
            return None
        if self._opensearch is None:
            raise ProvisioningError(
                "The tenant's events are in OpenSearch too. Set OPENSEARCH_URL to purge them."
            )
        return self._opensearch

    async def _remove_stored(self, space: Space, uid: str) -> int:
        collection = self._database[space.collection]
        first, last = key_range(uid)
        removed = 0
        while True:
            cursor = collection.find({"_id": {"$gte": first, "$lte": last}}, {"_id": 1})
            keys = [document["_id"] async for document in cursor.limit(_STORED_AT_ONCE)]
            if not keys:
                # What has the tenant's uid and another key is no event, and was never indexed.
                return removed + (await collection.delete_many({"t": uid})).deleted_count
            removed += (await collection.delete_many({"_id": {"$in": keys}})).deleted_count


async def _remove_indexed(opensearch: AsyncOpenSearch, space: Space, uids: Sequence[str]) -> int:
    removed = 0
    written = [index for entry in space.indices for index in entry.written]
    for index in [*written, *(retired.index for retired in space.retired_indices)]:
        # A query sees what has been refreshed.
        await opensearch.indices.refresh(index=index, ignore_unavailable=True)
        left = True
        while left:
            answer = await opensearch.delete_by_query(
                index=index,
                body={"query": {"terms": {"t": list(uids)}}},
                params={
                    "conflicts": "proceed",
                    "refresh": "true",
                    "max_docs": str(_INDEXED_AT_ONCE),
                },
                ignore_unavailable=True,
            )
            removed += answer["deleted"]
            # What an indexer wrote meanwhile is a conflict, and deleted by the next request.
            left = answer["deleted"] + answer["version_conflicts"] > 0
    return removed
