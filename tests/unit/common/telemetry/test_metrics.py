import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import generate_latest

from ocelot_common.telemetry.metrics import (
    AGE_BUCKETS,
    LATENCY_BUCKETS,
    OTHER,
    SIZE_BUCKETS,
    BoundedLabels,
    PlainCounter,
    PlainHistogram,
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


def without_times(registry: CollectorRegistry) -> list[str]:
    """What a registry exports, without the times at which prometheus_client made its series."""
    lines = generate_latest(registry).decode().split("\n")
    return [line for line in lines if "_created" not in line]


def test_plain_metrics_export_what_prometheus_clients_own_do() -> None:
    plain, own = CollectorRegistry(), CollectorRegistry()
    counter = PlainCounter("c", "a count", ["a", "b"], registry=plain)
    histogram = PlainHistogram("h", "a time", ["a"], buckets=LATENCY_BUCKETS, registry=plain)
    own_counter = Counter("c", "a count", ["a", "b"], registry=own)
    own_histogram = Histogram("h", "a time", ["a"], buckets=LATENCY_BUCKETS, registry=own)
    for labels, number in ((("x", 'quoted " \n'), 2), (("x", "z"), 0), (("x", "z"), 5)):
        counter.add(labels, number)
        own_counter.labels(*labels).inc(number)
    for value in (0.0, 0.001, 0.0011, 0.05, 7.0, 60.0, 1e9):
        for label in ("x", "y"):
            histogram.observe((label,), value)
            own_histogram.labels(label).observe(value)
    assert without_times(plain) == without_times(own)
