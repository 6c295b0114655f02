import pytest
from opentelemetry.trace import SpanContext, TraceFlags

from ocelot_common.telemetry.tracing import configure_tracing, links_to, traceparent_of

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OTHER = "00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


def test_tracing_is_off_without_an_endpoint() -> None:
    assert configure_tracing(service="api", otlp_endpoint=None) is None


@pytest.mark.parametrize("parent", [PARENT, OTHER])
def test_a_traceparent_survives_its_link(parent: str) -> None:
    (link,) = links_to([parent])
    assert traceparent_of(link.context) == parent


def test_each_request_is_linked_once_and_only_if_it_was_traced() -> None:
    links = links_to(
        [PARENT, "", OTHER, PARENT, "garbage", "00-0-0-00", f"00-{'0' * 32}-{'0' * 16}-01"]
    )
    assert [traceparent_of(link.context) for link in links] == [PARENT, OTHER]


def test_an_invalid_span_has_no_traceparent() -> None:
    assert traceparent_of(SpanContext(0, 0, is_remote=False, trace_flags=TraceFlags(1))) == ""


def test_other_flags_than_sampled_are_not_passed_on() -> None:
    span = SpanContext(1, 2, is_remote=False, trace_flags=TraceFlags(0xFF))
    assert traceparent_of(span) == f"00-{1:032x}-{2:016x}-01"
