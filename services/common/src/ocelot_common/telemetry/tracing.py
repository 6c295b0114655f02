"""OpenTelemetry traces over OTLP/HTTP, off unless an endpoint is set."""

from collections.abc import Iterable

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, SpanContext, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_propagator = TraceContextTextMapPropagator()


def configure_tracing(*, service: str, otlp_endpoint: str | None) -> TracerProvider | None:
    """Export this process's spans, if there is anywhere to send them.

    Returns:
        The provider, to be shut down at the end; None where tracing is off.
    """
    if otlp_endpoint is None:
        return None
    provider = TracerProvider(resource=Resource.create({"service.name": f"ocelot-{service}"}))
    exporter = OTLPSpanExporter(endpoint=f"{otlp_endpoint.rstrip('/')}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return provider


def links_to(traceparents: Iterable[str]) -> list[Link]:
    """Links to the requests whose events are in a batch (W3C trace context)."""
    links = []
    for traceparent in dict.fromkeys(traceparents):
        if not traceparent:
            continue
        context = _propagator.extract({"traceparent": traceparent})
        span = trace.get_current_span(context).get_span_context()
        if span.is_valid:
            links.append(Link(span))
    return links


def traceparent_of(span: SpanContext) -> str:
    """The W3C `traceparent` header of a span, or empty."""
    if not span.is_valid:
        return ""
    sampled = int(span.trace_flags) & TraceFlags.SAMPLED
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{sampled:02x}"
