import pytest
from prometheus_client.exposition import generate_latest

from ocelot_common.telemetry.metrics import (
    AGE_BUCKETS,
    LATENCY_BUCKETS,
    OTHER,
    SIZE_BUCKETS,
    BoundedLabels,
    process_registry,
)


def test_labels_are_told_apart_up_to_a_number_and_stay_what_they_are() -> None:
    labels = BoundedLabels(limit=2)
    assert [labels.label(value) for value in ("a", "b", "c", "a", "d", "b")] == [
        "a", "b", OTHER, "a", OTHER, "b",
    ]  # fmt: skip


def test_thousands_of_tenants_make_a_few_hundred_labels() -> None:
    labels = BoundedLabels()
    assert len({labels.label(f"tenant-{number}") for number in range(5_000)}) == 201


@pytest.mark.parametrize("buckets", [LATENCY_BUCKETS, AGE_BUCKETS, SIZE_BUCKETS])
def test_buckets_grow(buckets: tuple[float, ...]) -> None:
    assert list(buckets) == sorted(set(buckets))


def test_each_registry_is_fresh_and_tells_of_the_process() -> None:
    first, second = process_registry(), process_registry()
    assert first is not second
    text = generate_latest(first).decode()
    for name in ("process_cpu_seconds_total", "python_info", "python_gc_collections_total"):
        assert f"# HELP {name.removesuffix('_total')}" in text
