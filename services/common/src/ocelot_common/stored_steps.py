"""Reading stored events in steps of bounded memory.

MongoDB bounds an answer by a number of documents or by 16 MiB, and nothing in between: 2,000 of the
smallest events are 1 MiB, 2,000 of the largest 125 MiB. So each answer is taken as BSON and decoded
piece by piece: a single character outside of Unicode's first plane makes Python hold an event's
text in four times its bytes.
"""

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from sys import getsizeof
from typing import Any, Final

import bson
import pymongo
from pymongo.asynchronous.collection import AsyncCollection

from ocelot_common.batching import MAX_BATCH_BYTES, batched_by_bytes
from ocelot_common.mongo import EVENT_CODEC

Document = dict[str, Any]

#: Half a batch, so that a reader may put what one step holds to what it has from before.
STEP_BYTES: Final = MAX_BATCH_BYTES // 2
_STEP_EVENTS: Final = 10_000
#: A byte of UTF-8 takes up to four bytes of a `str`.
_MOST_BYTES_OF_A_BYTE: Final = 4


async def read_steps(
    collection: AsyncCollection[Document],
    query: Document,
    *,
    projection: Mapping[str, Any],
    sort: Sequence[tuple[str, int]] | None = None,
    limit: int = 0,
    timeout_sec: float | None = None,
) -> AsyncGenerator[list[Document]]:
    """Yield documents in steps of one document, or of at most 8 MiB as objects.

    Texts and writers are counted: nothing else that `ocelot_common.reading` asks for has a size
    that matters.

    Beside a step, one answer of MongoDB is held, of at most 16 MiB. Leave the generator by
    `contextlib.aclosing`, so that MongoDB's cursor is closed.

    Args:
        collection: of the space.
        query: for events.
        projection: with `event`, the text; as `ocelot_common.reading` makes it, so that no
            document of another form can stop the reader.
        sort: fields and directions; None for MongoDB's own order.
        limit: most documents; 0 for all.
        timeout_sec: of each answer; None for the client's own limits.

    Raises:
        pymongo.errors.PyMongoError: MongoDB does not answer, or not in time.
    """
    cursor = collection.find_raw_batches(
        query, projection, sort=sort, limit=limit, batch_size=_STEP_EVENTS
    )
    try:
        while True:
            with pymongo.timeout(timeout_sec):
                answer: Any = await anext(cursor, None)
            if answer is None:
                return
            for step in _cut(answer):
                yield step
            answer = None  # not kept while the next one is read
    finally:
        await cursor.close()


def _cut(answer: bytes) -> Iterator[list[Document]]:
    if len(answer) <= STEP_BYTES // _MOST_BYTES_OF_A_BYTE:
        # In one call, which takes half of the time.
        return iter([bson.decode_all(answer, EVENT_CODEC)])
    return batched_by_bytes(
        bson.decode_iter(answer, EVENT_CODEC),
        max_items=_STEP_EVENTS,
        max_bytes=STEP_BYTES,
        size=_size,
    )


def _size(document: Document) -> int:
    return getsizeof(document.get("event")) + getsizeof(document.get("writer"))
