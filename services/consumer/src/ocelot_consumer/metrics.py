"""What the consumer counts."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from ocelot_common.telemetry.metrics import (
    AGE_BUCKETS,
    LATENCY_BUCKETS,
    SIZE_BUCKETS,
    BoundedLabels,
)


class ConsumerMetrics:
    """Prometheus metrics of one consumer."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.events = Counter(
            "ocelot_consumer_events",
            "Events by outcome: stored, duplicate, conflict, permanent, dropped or transient",
            ["outcome"],
            registry=registry,
        )
        self.tenant_events = Counter(
            "ocelot_consumer_tenant_events",
            "Stored events by tenant; tenants after the first 200 count as other",
            ["tenant"],
            registry=registry,
        )
        self.messages = Counter(
            "ocelot_consumer_messages",
            "Messages by result: deleted, released for redelivery, ahead of the clock, or"
            " moved to the dead letter queue as forged or newer",
            ["result"],
            registry=registry,
        )
        self.batch_events = Histogram(
            "ocelot_consumer_batch_events",
            "Events per batch",
            buckets=SIZE_BUCKETS,
            registry=registry,
        )
        self.insert_seconds = Histogram(
            "ocelot_consumer_insert_seconds",
            "Duration of one insert into MongoDB",
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self.age_seconds = Histogram(
            "ocelot_consumer_lag_seconds",
            "Time from an event's arrival at the api until it was stored",
            buckets=AGE_BUCKETS,
            registry=registry,
        )
        self.gate_open = Gauge(
            "ocelot_consumer_receiving",
            "1 while the consumer receives messages, 0 while it is paused",
            registry=registry,
        )
        self.tenant_labels = BoundedLabels()
