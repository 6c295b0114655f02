"""Cutting sequences into parts (itertools.batched comes with Python 3.12)."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def batched(items: Iterable[T], size: int) -> Iterator[tuple[T, ...]]:
    """Parts of up to `size` items, in order."""
    iterator = iter(items)
    while part := tuple(islice(iterator, size)):
        yield part
