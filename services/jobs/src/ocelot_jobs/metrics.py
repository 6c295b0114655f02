"""What the jobs count."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from ocelot_common.telemetry.metrics import LATENCY_BUCKETS


class JobsMetrics:
    """Prometheus metrics of one process of jobs."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.running = Gauge(
            "ocelot_jobs_running", "Jobs that this process works on", ["kind"], registry=registry
        )
        self.runs = Counter(
            "ocelot_jobs_runs",
            "Jobs that this process worked on, by how that ended: succeeded, failed, cancelled,"
            " retried after an error, lost to another owner, or unsaved",
            ["kind", "outcome"],
            registry=registry,
        )
        self.events = Counter(
            "ocelot_jobs_events",
            "Events by what was done: copied into an index, removed from one that should not have"
            " them, purged from the store",
            ["operation"],
            registry=registry,
        )
        self.letters = Counter(
            "ocelot_jobs_collected_messages",
            "Messages moved from SQS's dead letter queues to the dead letters",
            ["queue"],
            registry=registry,
        )
        self.sent_back = Counter(
            "ocelot_jobs_redriven_messages",
            "Messages that verify by now, sent from SQS's dead letter queues back to their queues",
            ["queue"],
            registry=registry,
        )
        self.unauthenticated_age = Gauge(
            "ocelot_jobs_unauthenticated_age_seconds",
            "Age of the oldest message that does not verify in a dead letter queue of SQS, as this"
            " process last saw it; 0 if it has not looked for ten minutes",
            ["queue"],
            registry=registry,
        )
        self.bulk_seconds = Histogram(
            "ocelot_jobs_bulk_seconds",
            "Time of one _bulk request of a rebuild",
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
