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
            "Time of a request, from its headers to the end of the answer",
            ["route"],
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self.problems = Counter(
            "ocelot_api_problems",
            "Requests answered with a problem, by its code",
            ["code"],
            registry=registry,
        )
        self.events = PlainCounter(
            "ocelot_api_events",
            "Events by what the api said of them: accepted, rejected or unknown",
            ["result"],
            registry=registry,
        )
        for result in (_ACCEPTED, _REJECTED, _UNKNOWN):
            self.events.add(result, 0)
        self.tenant_events = PlainCounter(
            "ocelot_api_tenant_events",
            "Events accepted, by tenant; tenants past the first 200 count as other",
            ["tenant"],
            registry=registry,
        )
        self.send_seconds = Histogram(
            "ocelot_api_sqs_send_seconds",
            "Time of one batch call to SQS",
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self.send_failures = Counter(
            "ocelot_api_sqs_send_failures", "Batch calls to SQS that failed", registry=registry
        )
        self.envelope_events = Histogram(
            "ocelot_api_envelope_events",
            "Events in one envelope",
            buckets=SIZE_BUCKETS,
            registry=registry,
        )
        self.budget_bytes = Gauge(
            "ocelot_api_body_budget_used_bytes",
            "Bytes of bodies, buffers and sends now",
            registry=registry,
        )
        self.budget_limit_bytes = Gauge(
            "ocelot_api_body_budget_bytes",
            "Bytes that bodies, buffers and sends may hold; beyond them, requests are refused",
            registry=registry,
        )
        self.answer_bytes = Gauge(
            "ocelot_api_response_budget_used_bytes",
            "Bytes of answers now, from the question to a backend until the client has read them",
            registry=registry,
        )
        self.answer_limit_bytes = Gauge(
            "ocelot_api_response_budget_bytes",
            "Bytes that answers may hold; beyond them, reads are refused",
            registry=registry,
        )
        self.searches_in_flight = Gauge(
            "ocelot_api_searches_in_flight",
            "Searches and statistics that wait for a backend now",
            registry=registry,
        )
        self.exports_in_flight = Gauge(
            "ocelot_api_exports_in_flight", "Exports under way now", registry=registry
        )
        self.registry_age = Gauge(
            "ocelot_api_registry_snapshot_age_seconds",
            "Seconds since the registry snapshot was confirmed",
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
            "1 while searches go to MongoDB because OpenSearch failed",
            registry=registry,
        )
        self.exports = Counter(
            "ocelot_api_exports",
            "Exports by their end: complete, incomplete or disconnected",
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
