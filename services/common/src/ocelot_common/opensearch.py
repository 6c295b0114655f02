"""The OpenSearch client, made one way everywhere."""

from typing import Any, Final

from opensearchpy import AsyncOpenSearch
from opensearchpy.exceptions import ConnectionError as OpenSearchConnectionError
from opensearchpy.exceptions import TransportError
from opensearchpy.serializer import JSONSerializer

#: Statuses of a node or shard that is busy or away, not of a request that is wrong.
TRANSIENT_STATUSES: Final = frozenset({408, 429, 500, 502, 503, 504})


class _RawAnswers(JSONSerializer):
    """Leaves answers as text, so that what is stored in them is passed on byte for byte."""

    def loads(self, s: Any) -> Any:
        return s


def connect(
    url: str,
    *,
    timeout_sec: float = 30.0,
    connections: int = 16,
    raw_answers: bool = False,
) -> AsyncOpenSearch:
    """A client for the event loop that runs. Retries are its callers' business.

    Args:
        url: of any node.
        timeout_sec: bound of one request.
        connections: kept at most.
        raw_answers: answers come as JSON text, not decoded.
    """
    return AsyncOpenSearch(
        hosts=[url],
        timeout=timeout_sec,
        max_retries=0,
        retry_on_timeout=False,
        pool_maxsize=connections,
        ssl_show_warn=False,
        serializer=_RawAnswers() if raw_answers else JSONSerializer(),
    )


def is_transient(error: TransportError) -> bool:
    """Whether the same request may succeed later."""
    return isinstance(error, OpenSearchConnectionError) or error.status_code in TRANSIENT_STATUSES


def error_type(error: TransportError) -> str:
    """OpenSearch's name of the error, `index_not_found_exception`, or empty."""
    info: Any = error.info
    if isinstance(info, dict) and isinstance(info.get("error"), dict):
        return str(info["error"].get("type", ""))
    return str(error.error)
