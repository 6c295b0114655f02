"""What was acknowledged and what was refused, compared with what both stores hold."""

import asyncio
from collections import Counter
from collections.abc import Iterable
from typing import Any

import msgspec
from opensearchpy import AsyncOpenSearch
from pymongo.asynchronous.database import AsyncDatabase

from ocelot_common.ids import format_id
from ocelot_common.mongo import events_of
from ocelot_common.reading import read_document
from ocelot_common.registry.model import Space, Tenant
from ocelot_common.search_document import SearchDocument
from ocelot_common.stored import StoredEvent, event_id_of, store_key

_PAGE = 3_000


class Ledger:
    """One tenant's account.

    Attributes:
        acknowledged: text by id: of every event that was answered with 202.
        refused: ids of events that were answered as errors.
        unanswered: events in requests that nobody could say anything about in the end.
    """

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant
        self.acknowledged: dict[str, bytes] = {}
        self.refused: set[str] = set()
        self.unanswered = 0

    def acknowledge(self, event_id: str, text: bytes) -> None:
        """Note one event; the same id always goes with the same text."""
        assert self.acknowledged.setdefault(event_id, text) == text, f"{event_id}: two texts"


class Verdict(msgspec.Struct):
    """What a comparison found, all tenants together."""

    acknowledged: int = 0
    lost: list[str] = []
    doubled: list[str] = []
    altered: list[str] = []
    foreign: list[str] = []
    refused_present: list[str] = []

    @property
    def clean(self) -> bool:
        """Whether everything is there once and as it was sent, and nothing else."""
        return not any((self.lost, self.doubled, self.altered, self.foreign, self.refused_present))

    def figures(self) -> dict[str, int]:
        """Numbers for people."""
        return {
            "acknowledged": self.acknowledged,
            "lost": len(self.lost),
            "doubled": len(self.doubled),
            "altered": len(self.altered),
            "foreign": len(self.foreign),
            "refused_present": len(self.refused_present),
        }

    def samples(self) -> str:
        """The first of each kind."""
        found = {name: getattr(self, name)[:5] for name in list(self.figures())[1:]}
        return str({name: ids for name, ids in found.items() if ids})


class Found(msgspec.Struct):
    """One event as a store holds it."""

    id: str
    uid: str
    text: bytes


def compare(found: Iterable[Found], ledger: Ledger, verdict: Verdict, *, store: str) -> None:
    """Add what one store holds of one tenant to a verdict."""
    where = f"{store}:{ledger.tenant.id}:"
    times: Counter[str] = Counter()
    verdict.acknowledged += len(ledger.acknowledged)
    for event in found:
        times[event.id] += 1
        wanted = ledger.acknowledged.get(event.id)
        if event.uid != ledger.tenant.uid or wanted is None:
            # An event under an id that was never acknowledged is another one's second copy.
            kind = verdict.refused_present if event.id in ledger.refused else verdict.foreign
            kind.append(where + event.id)
        elif event.text != wanted:
            verdict.altered.append(where + event.id)
    verdict.lost += [where + event_id for event_id in ledger.acknowledged if not times[event_id]]
    verdict.doubled += [where + event_id for event_id, number in times.items() if number > 1]


async def in_mongodb(
    database: AsyncDatabase[dict[str, Any]], tenant: Tenant, space: Space
) -> list[Found]:
    """What the tenant's collection holds; of a Dedicated one, whoever's it is."""
    query = {"t": tenant.uid} if tenant.shared else {}
    found = []
    async for document in events_of(database, space.collection).find(query):
        event = read_document(document)
        assert isinstance(event, StoredEvent), event
        key = store_key(tenant, event_id_of(document["_id"]))
        assert bytes(document["_id"]) == bytes(key), f"{document['_id']!r}: not this tenant's key"
        found.append(Found(format_id(event.id), event.uid, event.text.encode()))
    return found


class _Hit(msgspec.Struct):
    source: SearchDocument = msgspec.field(name="_source")
    sort: list[Any]


class _Hits(msgspec.Struct):
    hits: list[_Hit]


class _Answer(msgspec.Struct):
    hits: _Hits


_answers = msgspec.json.Decoder(_Answer)


async def in_opensearch(search: AsyncOpenSearch, tenant: Tenant, space: Space) -> list[Found]:
    """What the tenant's indices hold, past aliases and routing; raw answers, so texts are exact."""
    found: list[Found] = []
    query: dict[str, Any] = {"term": {"t": tenant.uid}} if tenant.shared else {"match_all": {}}
    for entry in space.indices:
        await search.indices.refresh(index=entry.index)
        after: list[Any] | None = None
        while True:
            body: dict[str, Any] = {"query": query, "size": _PAGE, "sort": ["id", "seq"]}
            if after is not None:
                body["search_after"] = after
            hits = _answers.decode(await search.search(index=entry.index, body=body)).hits.hits
            if not hits:
                break
            found += [Found(hit.source.id, hit.source.t, bytes(hit.source.event)) for hit in hits]
            after = hits[-1].sort
            await asyncio.sleep(0)
    return found
