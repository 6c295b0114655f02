"""What the jobs count."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from ocelot_common.telemetry.metrics import LATENCY_BUCKETS


class JobsMetrics:
    """Prometheus metrics of one process of jobs."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.running = Gauge(
            "ocelot_jobs_running", "Jobs that this process runs now", ["kind"], registry=registry
        )
        self.runs = Counter(
            "ocelot_jobs_runs",
            "Runs of jobs by outcome: succeeded, failed, cancelled, retried after an error,"
            " lost to another process, or unsaved because MongoDB was unavailable",
            ["kind", "outcome"],
            registry=registry,
        )
        self.events = Counter(
            "ocelot_jobs_events",
            "Events by operation: copied into an index, removed from an index that must not"
            " contain them, or purged from MongoDB",
            ["operation"],
            registry=registry,
        )
        self.letters = Counter(
            "ocelot_jobs_collected_messages",
            "Messages moved from SQS's dead letter queues to the dead letters in MongoDB",
            ["queue"],
            registry=registry,
        )
        self.sent_back = Counter(
            "ocelot_jobs_redriven_messages",
            "Messages returned from SQS's dead letter queues to their queues because they"
            " are authentic now",
            ["queue"],
            registry=registry,
        )
        self.unauthenticated_age = Gauge(
            "ocelot_jobs_unauthenticated_age_seconds",
            "Age of the oldest message in a dead letter queue of SQS that cannot be"
            " authenticated; 0 if this process has not read the queue for 10 minutes",
            ["queue"],
            registry=registry,
        )
        self.bulk_seconds = Histogram(
            "ocelot_jobs_bulk_seconds",
            "Duration of one _bulk request of a rebuild",
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
