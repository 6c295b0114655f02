"""Prometheus: a registry a process, and labels that can't grow without bound."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

#: Seconds, from a millisecond to a minute.
LATENCY_BUCKETS: Final = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1,
    2.5,
    5,
    10,
    60,
)
#: Seconds, from 50 ms to a day: the age of what waited in a queue.
AGE_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 1_800, 7_200, 86_400)
#: Events, documents or ids in one batch.
SIZE_BUCKETS: Final = (1, 3, 10, 30, 100, 300, 1_000, 2_000, 4_000, 10_000, 30_000)

_MAX_TENANT_LABELS: Final = 200
OTHER: Final = "other"


def process_registry() -> CollectorRegistry:
    """A fresh registry with the process's own figures."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


class BoundedLabels:
    """Label values as they come, up to a number; the rest are `other`."""

    def __init__(self, limit: int = _MAX_TENANT_LABELS) -> None:
        self._limit = limit
        self._known: set[str] = set()

    def label(self, value: str) -> str:
        """The label to use for a value."""
        if value in self._known:
            return value
        if len(self._known) >= self._limit:
            return OTHER
        self._known.add(value)
        return value


class PlainCounter(Collector):
    """A counter for what happens with every request, on one thread.

    prometheus_client's own takes a lock each time: counting a request in four of its metrics took
    7.5 µs, in these 1.

    Args:
        name: without `_total`.
        documentation: one sentence.
        labels: their names.
        registry: that it belongs to.
    """

    def __init__(
        self, name: str, documentation: str, labels: Sequence[str], *, registry: CollectorRegistry
    ) -> None:
        self._name = name
        self._documentation = documentation
        self._labels = labels
        self._values: dict[tuple[str, ...], int] = {}
        registry.register(self)

    def add(self, labels: tuple[str, ...], number: int = 1) -> None:
        """Count `number` more; with 0, only export the series from now on."""
        self._values[labels] = self._values.get(labels, 0) + number

    def collect(self) -> Iterator[CounterMetricFamily]:
        """What is exported; called by the registry."""
        family = CounterMetricFamily(self._name, self._documentation, labels=self._labels)
        for labels, value in self._values.items():
            family.add_metric(labels, value)
        yield family


class _Series:
    """One histogram: a number for each bucket, and the sum."""

    __slots__ = ("numbers", "sum")

    def __init__(self, buckets: int) -> None:
        self.numbers = [0] * buckets
        self.sum = 0.0


class PlainHistogram(Collector):
    """A histogram as `PlainCounter` is a counter.

    Args:
        name: of the metric.
        documentation: one sentence.
        labels: their names.
        buckets: upper bounds, growing; infinity is added.
        registry: that it belongs to.
    """

    def __init__(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str],
        *,
        buckets: Iterable[float],
        registry: CollectorRegistry,
    ) -> None:
        self._name = name
        self._documentation = documentation
        self._labels = labels
        self._bounds = [*buckets, float("inf")]
        self._series: dict[tuple[str, ...], _Series] = {}
        registry.register(self)

    def observe(self, labels: tuple[str, ...], value: float) -> None:
        """Count one value, in the bucket whose bound is the first not below it."""
        series = self._series.get(labels)
        if series is None:
            series = self._series[labels] = _Series(len(self._bounds))
        series.numbers[bisect_left(self._bounds, value)] += 1
        series.sum += value

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """What is exported; called by the registry."""
        family = HistogramMetricFamily(self._name, self._documentation, labels=self._labels)
        names = [floatToGoString(bound) for bound in self._bounds]  # type: ignore[no-untyped-call]
        for labels, series in self._series.items():
            buckets = list(zip(names, accumulate(series.numbers), strict=True))
            family.add_metric(labels, buckets, series.sum)
        yield family
