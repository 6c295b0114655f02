"""A tenant's documents in OpenSearch, read past the api."""

from typing import Any, Final

from opensearchpy import AsyncOpenSearch

from ocelot_common.registry.model import Space, Tenant

_PAGE: Final = 5_000


async def indexed_ids(search: AsyncOpenSearch, space: Space, tenant: Tenant) -> list[str]:
    """Return the event ids of a tenant's documents, one per document.

    Refreshes the indices first, and reads them past every alias filter and routing. The ids of each
    index are in order.
    """
    ids: list[str] = []
    for entry in space.indices:
        await search.indices.refresh(index=entry.index)
        after: list[Any] | None = None
        while True:
            body: dict[str, Any] = {
                "query": {"term": {"t": tenant.uid}},
                "size": _PAGE,
                # A test's own index may have no `seq`.
                "sort": ["id", {"seq": {"unmapped_type": "long"}}],
                "_source": ["id"],
            }
            if after:
                body["search_after"] = after
            hits = (await search.search(index=entry.index, body=body))["hits"]["hits"]
            if not hits:
                break
            ids += [hit["_source"]["id"] for hit in hits]
            after = hits[-1]["sort"]
    return ids
