"""Prometheus: a registry a process, and labels that can't grow without bound."""

from typing import Final

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

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
