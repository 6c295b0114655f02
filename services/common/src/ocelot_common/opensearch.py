"""The OpenSearch client, made one way everywhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

import aiohttp
from opensearchpy import AIOHttpConnection, AsyncOpenSearch
from opensearchpy.exceptions import ConnectionError as OpenSearchConnectionError
from opensearchpy.exceptions import TransportError
from opensearchpy.serializer import JSONSerializer

#: Statuses of a node or shard that is busy or away, not of a request that is wrong.
TRANSIENT_STATUSES: Final = frozenset({408, 429, 500, 502, 503, 504})
#: An error's text is read up to here.
_ERROR_BYTES: Final = 64 * 1024
#: The largest answer of a client that reads answers in bounds.
MAX_ANSWER_BYTES: Final = 16 * 1024 * 1024

_counting: ContextVar[Callable[[int], None] | None] = ContextVar("counting", default=None)


class AnswerTooLargeError(Exception):
    """An answer of OpenSearch's is larger than `MAX_ANSWER_BYTES`. It was dropped.

    Attributes:
        size: the answer's bytes, or those read of it where it does not say how many it has.
    """

    def __init__(self, size: int) -> None:
        super().__init__(f"the answer has {size:,} bytes; the limit is {MAX_ANSWER_BYTES:,}")
        self.size = size


@contextmanager
def counting(count: Callable[[int], None]) -> Iterator[None]:
    """Have the bytes of answers counted while they are read in bounds within this context.

    Args:
        count: called with the number of bytes that are about to be held. What it raises ends the
            request and is raised by the client's method.
    """
    token = _counting.set(count)
    try:
        yield
    finally:
        _counting.reset(token)


class _RawAnswers(JSONSerializer):
    """Leaves answers as text, so that what is stored in them is passed on byte for byte."""

    def loads(self, s: Any) -> Any:
        return s


class _BoundedResponse(aiohttp.ClientResponse):
    """Reads an answer into one buffer, in bounds.

    aiohttp joins the pieces that it has read, so that it holds an answer twice; and as text, an
    answer takes four bytes per character where one character needs them.
    """

    async def text(self, encoding: str | None = None, errors: str = "strict") -> Any:
        """Return the body's bytes, of an error the text, or the exception that ended the reading.

        An exception is returned, not raised: opensearch-py would log it with its traceback and
        make a ConnectionError of it.
        """
        del encoding, errors
        if self.status >= 300:
            return (await self._read_up_to(_ERROR_BYTES)).decode(errors="replace")
        announced = self.content_length or 0
        if announced > MAX_ANSWER_BYTES:
            self.close()
            return AnswerTooLargeError(announced)
        body = await self._read_up_to(MAX_ANSWER_BYTES + 1, _counting.get())
        if isinstance(body, bytearray) and len(body) > MAX_ANSWER_BYTES:
            self.close()
            return AnswerTooLargeError(len(body))
        return body

    async def _read_up_to(self, limit: int, count: Callable[[int], None] | None = None) -> Any:
        body = bytearray()
        async for chunk in self.content.iter_any():
            part = chunk[: limit - len(body)]
            if count is not None:
                try:
                    count(len(part))
                except Exception as error:  # noqa: BLE001 - raised by `perform_request`
                    self.close()
                    body.clear()  # which the error's traceback would hold
                    return error
            body += part
            if len(part) < len(chunk):
                self.close()
                break
        return body


class BoundedConnection(AIOHttpConnection):
    """Reads answers of at most `MAX_ANSWER_BYTES`, and gives their bytes as a `bytearray`."""

    async def perform_request(self, *arguments: Any, **options: Any) -> Any:
        """Ask, as the class above it.

        Raises:
            AnswerTooLargeError: the answer is over its bound.
        """
        status, headers, body = await super().perform_request(*arguments, **options)
        if isinstance(body, Exception):
            try:
                raise body
            finally:
                del body  # or error and frame hold each other until the garbage collector runs
        return status, headers, body

    async def _create_aiohttp_session(self) -> Any:
        await super()._create_aiohttp_session()
        session: Any = self.session
        session._response_class = _BoundedResponse  # noqa: SLF001 - no parameter sets it


def connect(
    url: str,
    *,
    timeout_sec: float = 30.0,
    connections: int = 16,
    raw_answers: bool = False,
    bounded: bool = False,
) -> AsyncOpenSearch:
    """A client for the event loop that runs. Retries are its callers' business.

    Args:
        url: of any node.
        timeout_sec: bound of one request.
        connections: kept at most.
        raw_answers: answers come as JSON text, not decoded.
        bounded: answers are read up to `MAX_ANSWER_BYTES`; with `raw_answers` they come as the
            bytes of that text.
    """
    return AsyncOpenSearch(
        hosts=[url],
        timeout=timeout_sec,
        max_retries=0,
        retry_on_timeout=False,
        pool_maxsize=connections,
        ssl_show_warn=False,
        serializer=_RawAnswers() if raw_answers else JSONSerializer(),
        connection_class=BoundedConnection if bounded else AIOHttpConnection,
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
