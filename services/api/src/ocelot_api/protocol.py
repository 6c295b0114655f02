"""HTTP/1.1 within bounds: uvicorn's protocol takes heads of any size, and as slowly as they come.

Everything that costs something happens off the usual path, where a request's head arrives in one
piece.
"""

import asyncio
from typing import Any, Final

import httptools
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from ocelot_api.middleware import CUT, DRAINING, send_problem
from ocelot_api.problems import MEDIA_TYPE, Problem, bad_request
from ocelot_common.ids import format_id, new_id
from ocelot_common.telemetry.logs import get_logger

MAX_HEAD_BYTES: Final = 64 * 1024
MAX_HEADERS: Final = 200
#: From a connection's start, or a request's first byte, to the end of its head.
HEAD_TIMEOUT_SEC: Final = 10.0
#: In which a client that is slow to read must take something of its answer.
READ_TIMEOUT_SEC: Final = 30.0
#: Requests that may wait on one connection for the answers of those before them.
MAX_PIPELINED: Final = 64
#: What a client may still send of a request that is already answered.
MAX_IGNORED_BYTES: Final = 64 * 1024 * 1024
#: Chunk sizes, extensions and trailers: bytes of framing beside each byte of content.
_FRAMING_FACTOR: Final = 8
#: What uvloop reads at a time, at most.
_READ_BYTES: Final = 256 * 1024
_LINGER_SEC: Final = 1.0

log = get_logger(__name__)


class _HeadError(Exception):
    """Ends the parsing of a request; raised inside the parser's callbacks."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.code)
        self.problem = problem


class _Trailers(list[tuple[bytes, bytes]]):
    """Where uvicorn puts the fields after a chunked body, which nobody reads.

    They are no headers (RFC 9110 §6.5.1), and there is no end to them.
    """

    def append(self, item: tuple[bytes, bytes], /) -> None:
        """Forget a field."""


_TRAILERS: Final = _Trailers()


class BoundedProtocol(HttpToolsProtocol):
    """Refuses heads that are too large, too slow or not HTTP with a problem document."""

    head_timeout_sec: float = HEAD_TIMEOUT_SEC
    read_timeout_sec: float = READ_TIMEOUT_SEC

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.url, self.headers = b"", []
        self._head_bytes = 0
        self._chunk_bytes = 0
        self._beside_bytes = 0  # of a request: what came of it and is no content
        self._body: bytearray | None = None
        self._body_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._reading: asyncio.TimerHandle | None = None
        self._unsent_bytes = 0
        self._answering: Any = None  # its cycle: others may wait behind it

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin; the first head is due."""
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """End, for the request that is being answered too: uvicorn tells the last one alone."""
        self._head_is_there()
        self._forget_reading()
        cycle = self._answering
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """SIGTERM: an answer that has no near end is told to come to one."""
        super().shutdown()
        if self._answering is not None:
            self._answering.scope["state"][DRAINING] = True

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def pause_writing(self) -> None:
        """Watch a client that reads more slowly than it is answered."""
        super().pause_writing()
        self._unsent_bytes = self.transport.get_write_buffer_size()
        self._reading = self.loop.call_later(self.read_timeout_sec, self._check_reading)

    def resume_writing(self) -> None:
        """It has read enough."""
        self._forget_reading()
        super().resume_writing()

    def _forget_reading(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _check_reading(self) -> None:
        unsent = self.transport.get_write_buffer_size()
        if unsent >= self._unsent_bytes:
            self.transport.abort()  # its answer would be held for ever
            return
        self._unsent_bytes = unsent
        self._reading = self.loop.call_later(self.read_timeout_sec, self._check_reading)

    def data_received(self, data: bytes) -> None:
        """Parse what came, and look after requests that came in part."""
        self._chunk_bytes = len(data)
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None
        try:
            self._feed(data)
        except httptools.HttpParserError as error:
            cause = error.__context__
            if isinstance(cause, _HeadError):
                self._refuse(cause.problem)
            else:
                self._refuse(bad_request("invalid_http", "this is not HTTP/1.1"))
            return
        if self.headers is not _TRAILERS:
            self._head_continues()
            return
        cycle = self.cycle
        if cycle.response_complete:
            self._ignore()
            return
        if self._deadline is not None:
            self._head_is_there()
        if cycle.more_body:
            self._body_continues(cycle)

    def _feed(self, data: bytes) -> None:
        """Parse data; read a request that asks for an upgrade as any other (RFC 9110 §7.8)."""
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                # The parser takes what follows the head for another protocol. Left to itself, it
                # would parse this request's body as the next request.
                data = data[upgrade.args[0] :]
                self._replace_parser()
            else:
                return

    def _replace_parser(self) -> None:
        """Continue with a parser that stands between this request's head and its body."""
        callbacks = _BehindHead(self)
        self.parser = httptools.HttpRequestParser(callbacks)
        # As uvicorn's: what follows the last request is ignored, and that request still answered.
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        head = [b"POST / HTTP/1.1\r\n"]
        if not self.cycle.keep_alive:
            head.append(b"connection: close\r\n")
        for name, value in self.scope["headers"]:
            if name in (b"content-length", b"transfer-encoding"):
                head += (name, b": ", value, b"\r\n")
        self.parser.feed_data(b"".join((*head, b"\r\n")))
        callbacks.muted = False

    def on_message_complete(self) -> None:
        """End the request, unless its body was skipped for the sake of an upgrade."""
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def on_headers_complete(self) -> None:
        """Start the request, if its head is within the bounds."""
        if self.parser.get_method() == b"CONNECT":
            raise _HeadError(bad_request("invalid_http", "CONNECT is for proxies"))
        if len(self.headers) > MAX_HEADERS or (
            # Measured only where so much came that it may be too much.
            self._head_bytes + self._chunk_bytes > MAX_HEAD_BYTES
            and self._head_size() > MAX_HEAD_BYTES
        ):
            raise _HeadError(_head_too_large())
        if len(self.pipeline) >= MAX_PIPELINED:
            raise _HeadError(
                bad_request("too_many_pipelined", f"over {MAX_PIPELINED} requests wait for answers")
            )
        HttpToolsProtocol.on_headers_complete(self)
        scope: Any = self.scope
        scope["state"][CUT] = self.transport.close
        self.headers = _TRAILERS
        self._beside_bytes = 0

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _head_continues(self) -> None:
        if self._deadline is None:
            self._expect_head()
        self._head_bytes += self._chunk_bytes
        # Of the first piece, most may belong to the request before; of a header that is not whole,
        # the parser does not tell the size.
        if (
            len(self.headers) > MAX_HEADERS
            or self._head_size() > MAX_HEAD_BYTES
            or self._head_bytes > MAX_HEAD_BYTES + _READ_BYTES
        ):
            self._refuse(_head_too_large())

    def _expect_head(self) -> None:
        self._deadline = self.loop.call_later(self.head_timeout_sec, self._head_is_late)

    def _head_is_there(self) -> None:
        self._head_bytes = 0
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _head_is_late(self) -> None:
        self._deadline = None
        if self.transport.is_closing():
            return
        scope: Any = self.scope
        if scope is None:  # nothing came: there is no request to answer
            self.transport.close()
            return
        timeout = f"{self.head_timeout_sec:g} s"
        self._refuse(Problem(408, "head_timeout", f"the head did not arrive within {timeout}"))

    def _ignore(self) -> None:
        """The rest of a request that is answered, or blank lines before the next."""
        self._beside_bytes += self._chunk_bytes
        if self._beside_bytes > MAX_IGNORED_BYTES:
            self.transport.close()
        elif self._deadline is None and not self.transport.is_closing():
            self._deadline = self.loop.call_later(self.timeout_keep_alive, self._close_idle)

    def _close_idle(self) -> None:
        self._deadline = None
        self.transport.close()

    def _body_continues(self, cycle: RequestResponseCycle) -> None:
        """Bound what is no content: the parser keeps a trailer until it is whole."""
        body = cycle.body  # another object once the application has taken it
        content = len(body) - (self._body_bytes if body is self._body else 0)
        self._body, self._body_bytes = body, len(body)
        beside = self._beside_bytes + self._chunk_bytes - _FRAMING_FACTOR * content
        self._beside_bytes = max(0, beside)
        if beside > MAX_HEAD_BYTES + _READ_BYTES:
            self._refuse(bad_request("invalid_http", "the body's framing outweighs its content"))

    def _refuse(self, problem: Problem) -> None:
        """Answer what can't be read on, after the requests before it, and close."""
        self._head_is_there()
        log.info("http_refused", code=problem.code)
        cycle: Any = self.cycle
        if cycle is None or cycle.response_complete:
            self._answer_and_close(problem)
        elif not cycle.more_body:
            cycle.keep_alive = False  # a whole request, whose answer is the last
        elif self.pipeline:  # cut short, and waiting for its turn
            cycle.keep_alive = False
            self.pipeline[0] = (cycle, _refusal(problem))
        elif cycle.response_started:
            self.transport.close()
        else:
            cycle.disconnected = True
            cycle.message_event.set()
            self._answer_and_close(problem)

    def _answer_and_close(self, problem: Problem) -> None:
        if self.transport.is_closing():
            return
        request_id = format_id(new_id())
        body = problem.document(request_id)
        head = (
            b"content-type: %b\r\ncontent-length: %d\r\ncache-control: no-store\r\n"
            b"connection: close\r\nx-request-id: %b\r\n\r\n"
        ) % (MEDIA_TYPE.encode(), len(body), request_id.encode())
        self.transport.write(STATUS_LINE[problem.status] + head + body)
        self.connections.discard(self)
        self.flow.resume_reading()
        self.transport.set_protocol(_Lingering(self.transport, self.loop))


class _BehindHead:
    """Passes a parser's callbacks on to a protocol, except those of the head that it is fed first.

    Attributes:
        muted: the head is being fed.
    """

    def __init__(self, protocol: BoundedProtocol) -> None:
        self._protocol = protocol
        self.muted = True
        self.on_body = protocol.on_body
        self.on_message_complete = protocol.on_message_complete

    def on_message_begin(self) -> None:
        """Begin a later request."""
        if not self.muted:
            self._protocol.on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Take a piece of a later request's target."""
        if not self.muted:
            self._protocol.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header of a later request, or a trailer."""
        if not self.muted:
            self._protocol.on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start a later request."""
        if not self.muted:
            self._protocol.on_headers_complete()


class _Lingering(asyncio.Protocol):
    """Reads on for a moment after the last answer (RFC 9112 §9.6).

    A close at once would reset the connection, and the client lose the answer with it.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        if transport.can_write_eof():
            transport.write_eof()
        self._timer = loop.call_later(_LINGER_SEC, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._timer.cancel()


def _refusal(problem: Problem) -> Any:
    """An application that answers one problem."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        request_id = format_id(new_id())
        problem.headers["X-Request-ID"] = request_id
        await send_problem(send, problem, request_id)

    return answer


def _head_too_large() -> Problem:
    return Problem(
        431,
        "head_too_large",
        f"request line and headers may have {MAX_HEAD_BYTES:,} bytes, and {MAX_HEADERS} headers",
    )
