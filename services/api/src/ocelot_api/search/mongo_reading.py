"""Reading events from MongoDB in steps of a bounded size.

MongoDB bounds a batch by a number of documents or by 16 MiB, and nothing in between: 500 of the
smallest events are 100 KiB, 500 of the largest 125 MiB. So the texts of large events are left out
of the first answer, which gives their sizes instead, and are asked for by their keys, in order, as
many at a time as make a step. Most events are small and cost one query, as before.
"""

from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import contextmanager
from sys import getsizeof
from typing import Any, Final, NamedTuple

from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.cursor import AsyncCursor

from ocelot_api.budget import Reservation
from ocelot_common.reading import (
    MAX_TEXT_BYTES,
    TEXT_BYTES,
    Stored,
    read_document,
    read_event,
    read_projection,
    text_projection,
)
from ocelot_common.registry.model import Tenant

Document = dict[str, Any]

#: Bound of the texts in one answer of MongoDB's.
STEP_BYTES: Final = 2 * 1024 * 1024
#: Documents of one answer at most.
_STEP_EVENTS: Final = 500
#: What a document holds beside its text, in objects.
_EVENT_BYTES: Final = 1_000


class Step(NamedTuple):
    """Some documents in order.

    Attributes:
        events: those that are still stored, and in their places what is no event.
        found: all documents that were found, of which retention may have deleted some since; a text
            that was left out may still be missing.
    """

    events: list[Stored]
    found: list[Stored]


def projection_for(tenant: Tenant, limit: int) -> Document:
    """Return the projection for `read_steps` with the same limit."""
    at_once = min(limit, _STEP_EVENTS)
    most = min(STEP_BYTES // at_once, MAX_TEXT_BYTES)
    return read_projection(tenant, most_text_bytes=most)


async def read_steps(
    collection: AsyncCollection[Document],
    cursor: AsyncCursor[Document],
    *,
    limit: int,
    timeout_ms: int,
    held: Reservation | None = None,
) -> AsyncGenerator[Step]:
    """Read at most `limit` events in steps.

    Args:
        collection: of the space.
        cursor: finds the events, with the projection for this limit.
        limit: most events.
        timeout_ms: what a query for large events may take on the server.
        held: grows with what a step holds until the next one is asked for.

    Raises:
        PyMongoError: MongoDB does not answer, or not in time.
        Problem: 503, the budget of answers is used up.
    """
    at_once = min(limit, _STEP_EVENTS)
    async with cursor.limit(limit).batch_size(at_once):
        while documents := await cursor.to_list(at_once):
            with _holding(held, documents):
                for part in _parts(documents):
                    if texts := await _large_texts(collection, part, timeout_ms):
                        with _holding(held, texts.values()):
                            yield _step(part, texts)
                            texts.clear()
                    else:
                        yield _step(part, texts)


@contextmanager
def _holding(held: Reservation | None, documents: Iterable[Document]) -> Iterator[None]:
    if held is None:
        yield
        return
    size = sum([_EVENT_BYTES + getsizeof(document.get("event")) for document in documents])
    held.grow(size)
    try:
        yield
    finally:
        held.shrink(size)


def _parts(documents: list[Document]) -> Iterator[list[Document]]:
    """Return the documents in parts whose large events make a step; most often one part."""
    part: list[Document] = []
    size = 0
    for document in documents:
        large = document[TEXT_BYTES] if _is_left_out(document) else 0
        if size and size + large > STEP_BYTES:
            yield part
            part = []
            size = 0
        part.append(document)
        size += large
    yield part


async def _large_texts(
    collection: AsyncCollection[Document], documents: list[Document], timeout_ms: int
) -> dict[bytes, Document]:
    """Fetch the texts that were left out, by their keys."""
    keys = [document["_id"] for document in documents if _is_left_out(document)]
    if not keys:
        return {}
    cursor = collection.find({"_id": {"$in": keys}}, text_projection()).max_time_ms(timeout_ms)
    return {document["_id"]: document async for document in cursor}


def _is_left_out(document: Document) -> bool:
    """Whether the text is to be asked for; an event has none that is longer than the bound."""
    return (
        document["event"] is None
        and document[TEXT_BYTES] is not None
        and document[TEXT_BYTES] <= MAX_TEXT_BYTES
        and document["_id"] is not None
    )


def _step(documents: list[Document], texts: dict[bytes, Document]) -> Step:
    events, found = [], []
    for document in documents:
        if not _is_left_out(document):
            stored = read_event(document)
            events.append(stored)
            found.append(stored)
            continue
        found.append(read_document(document))
        if (large := texts.get(document["_id"])) is not None:
            events.append(read_event(document | {"event": large["event"]}))
    return Step(events, found)
