"""Cutting sequences into parts (itertools.batched comes with Python 3.12)."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Final, TypeVar

T = TypeVar("T")

#: A batch of events ends here, though it has fewer events than it may have: 4,000 of the largest
#: are 250 MiB.
MAX_BATCH_BYTES: Final = 16 * 1024 * 1024


def batched(items: Iterable[T], size: int) -> Iterator[tuple[T, ...]]:
    """Parts of up to `size` items, in order."""
    iterator = iter(items)
    while part := tuple(islice(iterator, size)):
        yield part


def batched_by_bytes(
    items: Iterable[T], *, max_items: int, max_bytes: int, size: Callable[[T], int]
) -> Iterator[list[T]]:
    """Return parts in order, each of up to `max_items` items and `max_bytes` bytes.

    A part has one item at least, which may exceed `max_bytes` alone.

    Args:
        items: to cut. One more than a part holds is taken from it before the part is returned.
        max_items: most items of a part.
        max_bytes: most bytes of a part.
        size: the bytes of an item.
    """
    part: list[T] = []
    bytes_ = 0
    for item in items:
        of_item = size(item)
        if part and (len(part) == max_items or bytes_ + of_item > max_bytes):
            yield part
            part, bytes_ = [], 0
        part.append(item)
        bytes_ += of_item
    if part:
        yield part
