"""What the api counts."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from ocelot_common.telemetry.metrics import (
    LATENCY_BUCKETS,
    SIZE_BUCKETS,
    BoundedLabels,
    PlainCounter,
    PlainHistogram,
)

_ACCEPTED: Final = ("accepted",)
_REJECTED: Final = ("rejected",)
_UNKNOWN: Final = ("unknown",)


class ApiMetrics:
    """Prometheus metrics of one api process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = PlainCounter(
            "ocelot_api_requests",
            "HTTP requests",
            ["method", "route", "status"],
            registry=registry,
        )
        self.request_seconds = PlainHistogram(
            "ocelot_api_request_seconds",
            "Duration of a request, from its headers to the end of the response",
            ["route"],
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self.problems = Counter(
            "ocelot_api_problems",
            "Requests answered with a problem document, by its code",
            ["code"],
            registry=registry,
        )
        self.events = PlainCounter(
            "ocelot_api_events",
            "Received events by result: accepted, rejected, or unknown because SQS did not answer",
            ["result"],
            registry=registry,
        )
        for result in (_ACCEPTED, _REJECTED, _UNKNOWN):
            self.events.add(result, 0)
        self.tenant_events = PlainCounter(
            "ocelot_api_tenant_events",
            "Accepted events by tenant; tenants after the first 200 count as other",
            ["tenant"],
            registry=registry,
        )
        self.send_seconds = Histogram(
            "ocelot_api_sqs_send_seconds",
            "Duration of one batch call to SQS",
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self.send_failures = Counter(
            "ocelot_api_sqs_send_failures", "Failed batch calls to SQS", registry=registry
        )
        self.envelope_events = Histogram(
            "ocelot_api_envelope_events",
            "Events per envelope",
            buckets=SIZE_BUCKETS,
            registry=registry,
        )
        self.budget_bytes = Gauge(
            "ocelot_api_body_budget_used_bytes",
            "Memory that request bodies, buffers and sends use now, in bytes",
            registry=registry,
        )
        self.budget_limit_bytes = Gauge(
            "ocelot_api_body_budget_bytes",
            "Memory limit of request bodies, buffers and sends, in bytes; requests over it"
            " are rejected",
            registry=registry,
        )
        self.answer_bytes = Gauge(
            "ocelot_api_answer_budget_used_bytes",
            "Memory that responses use now, from the request to a backend until the client"
            " has read them, in bytes",
            registry=registry,
        )
        self.answer_limit_bytes = Gauge(
            "ocelot_api_answer_budget_bytes",
            "Memory limit of responses, in bytes; reads over it are rejected",
            registry=registry,
        )
        self.searches_in_flight = Gauge(
            "ocelot_api_searches_in_flight",
            "Searches and statistics requests that wait for a backend now",
            registry=registry,
        )
        self.exports_in_flight = Gauge(
            "ocelot_api_exports_in_flight", "Exports in progress now", registry=registry
        )
        self.registry_age = Gauge(
            "ocelot_api_registry_snapshot_age_seconds",
            "Seconds since this process last read the registry",
            registry=registry,
        )
        self.searches = Counter(
            "ocelot_api_searches",
            "Searches by the backend that answered",
            ["backend"],
            registry=registry,
        )
        self.search_index_away = Gauge(
            "ocelot_api_search_index_unavailable",
            "1 while searches run on MongoDB because OpenSearch failed",
            registry=registry,
        )
        self.exports = Counter(
            "ocelot_api_exports",
            "Finished exports by result: complete, incomplete or disconnected",
            ["result"],
            registry=registry,
        )
        self.exported_events = Counter(
            "ocelot_api_exported_events", "Events sent in exports", registry=registry
        )
        self._tenant_labels = BoundedLabels()

    def observe_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request; its method and route must be among few."""
        self.requests.add((method, route, str(status)))
        self.request_seconds.observe((route,), seconds)

    def count_accepted(self, tenant_id: str, number: int) -> None:
        """Count events that SQS has taken."""
        self.events.add(_ACCEPTED, number)
        self.tenant_events.add((self._tenant_labels.label(tenant_id),), number)

    def count_rejected(self, number: int) -> None:
        """Count events that broke a rule."""
        self.events.add(_REJECTED, number)

    def count_unknown(self, number: int) -> None:
        """Count events that SQS may have taken."""
        self.events.add(_UNKNOWN, number)
