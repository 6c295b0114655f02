import itertools
from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from ocelot_common.batching import batched, batched_by_bytes


@given(st.lists(st.integers()), st.integers(1, 10))
def test_parts_hold_all_items_in_order_and_only_the_last_may_be_short(
    items: list[int], size: int
) -> None:
    parts = list(batched(items, size))
    assert [item for part in parts for item in part] == items
    assert all(len(part) == size for part in parts[:-1])
    assert all(0 < len(part) <= size for part in parts)


def test_items_are_taken_only_as_parts_are_asked_for() -> None:
    numbers = count()
    assert next(batched(numbers, 3)) == (0, 1, 2)
    assert next(numbers) == 3


@given(st.lists(st.integers(0, 50)), st.integers(1, 10), st.integers(1, 100))
def test_parts_are_bounded_by_items_and_by_bytes(
    sizes: list[int], max_items: int, max_bytes: int
) -> None:
    def size(item: int) -> int:
        return item

    parts = list(batched_by_bytes(sizes, max_items=max_items, max_bytes=max_bytes, size=size))
    assert [item for part in parts for item in part] == sizes
    assert all(0 < len(part) <= max_items for part in parts)
    assert all(len(part) == 1 or sum(part) <= max_bytes for part in parts)
    for part, after in itertools.pairwise(parts):
        assert len(part) == max_items or sum(part) + after[0] > max_bytes


def test_parts_bounded_by_bytes_are_taken_only_as_they_are_asked_for() -> None:
    numbers = count(1)
    parts = batched_by_bytes(numbers, max_items=9, max_bytes=6, size=lambda number: number)
    assert next(parts) == [1, 2, 3]
    assert next(numbers) == 5
