import pytest
from opensearchpy.exceptions import (
    ConnectionError as OpenSearchConnectionError,
)
from opensearchpy.exceptions import ConnectionTimeout, TransportError

from ocelot_common.opensearch import error_type, is_transient


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_busy_node_is_transient(status: int) -> None:
    assert is_transient(TransportError(status, "busy", {}))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413])
def test_a_wrong_request_is_not(status: int) -> None:
    assert not is_transient(TransportError(status, "wrong", {}))


@pytest.mark.parametrize("kind", [OpenSearchConnectionError, ConnectionTimeout])
def test_a_node_that_is_away_is_transient(kind: type[TransportError]) -> None:
    assert is_transient(kind("N/A", "refused", Exception("refused")))


def test_an_error_is_named_as_opensearch_names_it() -> None:
    info = {"error": {"type": "index_not_found_exception", "reason": "none"}, "status": 404}
    assert error_type(TransportError(404, "summary", info)) == "index_not_found_exception"


@pytest.mark.parametrize("info", [{}, {"error": "text"}, "text", None])
def test_an_error_without_a_type_is_named_by_its_summary(info: object) -> None:
    assert error_type(TransportError(404, "summary", info)) == "summary"
