from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from ocelot_common.batching import batched


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
