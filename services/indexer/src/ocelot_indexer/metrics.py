"""What the indexer counts."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from ocelot_common.telemetry.metrics import AGE_BUCKETS, LATENCY_BUCKETS, SIZE_BUCKETS


class IndexerMetrics:
    """Prometheus metrics of one indexer."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.events = Counter(
            "ocelot_indexer_events",
            "Events by outcome: indexed, permanent, dropped, missing or transient",
            ["outcome"],
            registry=registry,
        )
        self.messages = Counter(
            "ocelot_indexer_messages",
            "Messages by result: deleted, released for redelivery, or moved to the dead"
            " letter queue as forged or newer",
            ["result"],
            registry=registry,
        )
        self.batch_events = Histogram(
            "ocelot_indexer_batch_events",
            "Events per batch",
            buckets=SIZE_BUCKETS,
            registry=registry,
        )
        self.bulk_seconds = Histogram(
            "ocelot_indexer_bulk_seconds",
            "Duration of one _bulk request",
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self.age_seconds = Histogram(
            "ocelot_indexer_lag_seconds",
            "Time from an event's arrival at the api until it was indexed",
            buckets=AGE_BUCKETS,
            registry=registry,
        )
        self.gate_open = Gauge(
            "ocelot_indexer_receiving",
            "1 while the indexer receives messages, 0 while it is paused",
            registry=registry,
        )
