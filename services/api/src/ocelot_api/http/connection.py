"""One connection of the public port: HTTP/1.1 within bounds, for a client that is not trusted.

The parser is llhttp, through httptools' public interface. What it leaves open is decided here: how
large and how slow a head may be, how much framing a body may have, in which order pipelined
requests are answered, and when a connection ends. Whatever a client sends, it gets an answer in
the order of its requests, or a closed connection.

Time limits have no timers of their own. `Connections` asks each connection twice a second whether
it is overdue, which costs less than a timer per request.
"""

import asyncio
import urllib.parse
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import httptools
from starlette.types import ASGIApp, Receive, Scope, Send

from ocelot_api.http.bounds import (
    FRAMING_FACTOR,
    MAX_FRAMING_BYTES,
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    MAX_IGNORED_BYTES,
    MAX_PIPELINED,
    MAX_PIPELINED_HEADERS,
    READ_BYTES,
)
from ocelot_api.http.exchange import Exchange, problem_answer
from ocelot_api.http.head import (
    FRAMING_HEADERS,
    HeadError,
    Headers,
    check_head,
    framing_of,
    head_bytes,
    head_too_large,
    split_target,
)
from ocelot_api.http.kernel import unread_bytes, unsent_bytes
from ocelot_api.middleware import CUT, DRAINING, send_problem
from ocelot_api.problems import Problem, bad_request
from ocelot_common.ids import format_id, new_id
from ocelot_common.telemetry.logs import get_logger

if TYPE_CHECKING:
    from ocelot_api.http.connections import Connections

_ASGI: Final = {"version": "3.0", "spec_version": "2.3"}

log = get_logger(__name__)


class Connection(asyncio.BufferedProtocol):
    """Reads requests, has the application answer them one after the other, and ends in time.

    Args:
        connections: of the process; they count this one and hold its bounds.

    Attributes:
        loop: runs it.
        slow: the client takes its answer so slowly that it may be cut off to make room.
        write_paused: the transport holds enough of an answer.
    """

    __slots__ = (
        "_arrived_bytes",
        "_between_bytes",
        "_connections",
        "_fd",
        "_framing",
        "_framing_bytes",
        "_head_bytes",
        "_headers",
        "_in_body",
        "_in_head",
        "_lingering",
        "_mark",
        "_parser",
        "_peer",
        "_queue",
        "_reading_paused",
        "_request",
        "_served",
        "_server",
        "_since",
        "_stalled_since",
        "_taken_bytes",
        "_target",
        "_transport",
        "_waiting_headers",
        "_writer",
        "_written_bytes",
        "loop",
        "slow",
        "write_paused",
    )

    def __init__(self, connections: "Connections") -> None:
        self._connections = connections
        self.loop = connections.loop
        self._parser = self._new_parser(self)
        self._transport: asyncio.Transport
        self._peer: tuple[str, int] | None = None
        self._server: tuple[str, int] | None = None

        # Of the request that is being read.
        self._target = b""
        self._headers: Headers = []
        self._framing: Headers = []
        self._in_head = False
        self._in_body = False
        self._head_bytes = 0
        self._framing_bytes = 0
        self._request: Exchange | None = None

        self._arrived_bytes = 0  # with the last read
        self._between_bytes = 0  # outside of any request, or of one that is already answered
        self._queue: deque[Exchange] = deque()  # the first is being answered
        self._waiting_headers = 0  # of the others
        self._since = self.loop.time()  # it has been idle, or in this head
        self._served = False  # a request

        self.write_paused = False
        self._writer: asyncio.Future[None] | None = None
        self._reading_paused = False
        self._written_bytes = 0
        self._taken_bytes = 0
        self._stalled_since: float | None = None
        self._mark = (0.0, 0)  # when the client's speed was measured, and what it had taken then
        self.slow = False
        self._lingering = False  # nothing more is read as a request

    @staticmethod
    def _new_parser(callbacks: object) -> httptools.HttpRequestParser:
        parser = httptools.HttpRequestParser(callbacks)
        # What follows a request with `Connection: close` is ignored, and the request answered.
        parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return parser

    # What exchanges need.

    @property
    def date_line(self) -> bytes:
        """The Date header of an answer that is sent now."""
        return self._connections.date_line

    @property
    def last_answers(self) -> bool:
        """Whether the process drains: the next answer is the last of its connection."""
        return self._connections.draining and len(self._queue) == 1

    def write(self, data: bytes | memoryview) -> None:
        """Hand bytes to the transport."""
        self._written_bytes += len(data)
        self._transport.write(data)

    async def writable(self) -> None:
        """Wait until the client has taken most of what was written, or has gone."""
        while self.write_paused:
            if self._writer is None or self._writer.done():  # its task was cancelled
                self._writer = self.loop.create_future()
            await self._writer

    def pause_reading(self) -> None:
        """Leave what the client sends on in the kernel."""
        if not self._reading_paused and not self._transport.is_closing():
            self._reading_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on: an application waits for the body, or for the client's end."""
        if not self._lingering:
            self._read_on()

    def _read_on(self) -> None:
        if self._reading_paused and not self._transport.is_closing():
            self._reading_paused = False
            self._transport.resume_reading()

    def answered(self, exchange: Exchange) -> None:
        """Go on after a complete answer: with the next request, or with the connection's end."""
        if self._transport.is_closing() or not self._queue or exchange is not self._queue[0]:
            return
        self._queue.popleft()
        self._since = self.loop.time()
        self._between_bytes = 0
        if not exchange.keep_alive:
            self._end(linger=self._in_body or self._in_head or self._lingering)
            return
        if self._queue:
            self._waiting_headers -= len(self._queue[0].scope["headers"])
            self._begin(self._queue[0])
        if len(self._queue) < 2:  # each answer would let another read wait in memory
            self.resume_reading()

    def finished(self, exchange: Exchange) -> None:
        """End a connection whose application ended without a whole answer."""
        if exchange.task is not None:
            self._connections.tasks.discard(exchange.task)
        if exchange.complete or exchange.gone or self._transport.is_closing():
            return
        if exchange.started:
            self._transport.abort()  # a cut connection tells that the answer is not whole
        else:
            exchange.gone = True
            self._answer_and_end(
                Problem(500, "internal", "The service failed. Its log has the error.")
            )

    # The transport's callbacks.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin; the first head is due."""
        self._transport = transport
        self._fd: int = transport.get_extra_info("socket").fileno()
        self._peer = _address(transport.get_extra_info("peername"))
        self._server = _address(transport.get_extra_info("sockname"))
        self._connections.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """End, and tell the application."""
        del exc
        self._connections.closed(self)
        self.resume_writing()
        del self._parser  # its callbacks refer to this connection
        self._request = None  # and so does this; it holds a body
        for exchange in self._queue:
            exchange.disconnect()
        self._queue.clear()

    def eof_received(self) -> None:
        """End: a client that sends nothing more is taken for one that reads nothing more."""

    def pause_writing(self) -> None:
        """The client is slower than its answer."""
        self.write_paused = True

    def resume_writing(self) -> None:
        """It has taken enough."""
        self.write_paused = False
        writer, self._writer = self._writer, None
        if writer is not None and not writer.done():
            writer.set_result(None)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the buffer for the next read; all connections share it, one after the other."""
        del sizehint
        return self._connections.read_buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was read into the buffer."""
        self.data_received(bytes(self._connections.read_buffer[:nbytes]))

    def data_received(self, data: bytes) -> None:
        """Parse what came, and bound what is not whole yet."""
        if self._lingering:
            return
        self._arrived_bytes = len(data)
        between = not (self._in_head or self._in_body)
        try:
            self._feed(data)
        except httptools.HttpParserError as error:
            self._refuse(_problem_of(error))
            return
        if self._in_body:
            self._bound_body()
        elif self._in_head:
            self._bound_head()
        elif between and not self._queue:
            self._bound_between()

    def _feed(self, data: bytes) -> None:
        """Parse data; read a request that asks for an upgrade as any other (RFC 9110 §7.8)."""
        while True:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                # The parser takes what follows the head for another protocol. Left to itself, it
                # would parse this request's body as the next request.
                data = data[upgrade.args[0] :]
                self._replace_parser()
            else:
                return

    def _replace_parser(self) -> None:
        """Continue with a parser that stands between this request's head and its body."""
        request = self._request
        if request is None:
            raise RuntimeError("the parser upgrades outside of a request")
        callbacks = _BehindHead(self)
        self._parser = self._new_parser(callbacks)
        self._parser.feed_data(framing_of(request.scope["headers"], keep_alive=request.keep_alive))
        callbacks.muted = False

    # The parser's callbacks.

    def on_message_begin(self) -> None:
        """Begin a head."""
        self._in_head = True
        self._target = b""
        self._headers = []
        self._framing = []
        if not self._queue:
            self._since = self.loop.time()

    def on_url(self, url: bytes) -> None:
        """Take a piece of the target."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header. Trailers are no headers (RFC 9110 §6.5.1) and are dropped."""
        if not self._in_head:
            return
        name = name.lower()
        self._headers.append((name, value))
        if name in FRAMING_HEADERS:
            self._framing.append((name, value))

    def on_headers_complete(self) -> None:
        """Start the request, if its head is within the bounds.

        Raises:
            HeadError: it is not.
        """
        parser = self._parser
        headers = self._headers
        if len(headers) > MAX_HEADERS or (
            # Measured only where so much came that it may be too much.
            self._head_bytes + self._arrived_bytes > MAX_HEAD_BYTES
            and head_bytes(self._target, headers) > MAX_HEAD_BYTES
        ):
            raise HeadError(head_too_large())
        if (
            len(self._queue) > MAX_PIPELINED
            or self._waiting_headers + len(headers) > MAX_PIPELINED_HEADERS
        ):
            raise HeadError(
                bad_request(
                    "too_many_pipelined",
                    f"The connection has over {MAX_PIPELINED} requests without an answer, or they"
                    f" have over {MAX_PIPELINED_HEADERS:,} headers. Read the answers before you"
                    " send more requests.",
                )
            )
        method, version = parser.get_method(), parser.get_http_version()
        check_head(method, version, self._framing)
        path, query = split_target(self._target)
        self._in_head = False
        self._in_body = True
        self._head_bytes = self._framing_bytes = self._between_bytes = 0
        state: dict[str, Any] = {CUT: self._transport.close}
        scope: Scope = {
            "type": "http",
            "asgi": _ASGI,
            "http_version": version,
            "server": self._server,
            "client": self._peer,
            "scheme": "http",
            "method": method.decode("ascii"),
            "root_path": "",
            "path": urllib.parse.unquote(path) if "%" in path else path,
            "raw_path": path.encode("ascii"),
            "query_string": query,
            "headers": headers,
            "state": state,
        }
        exchange = Exchange(
            self,
            scope,
            keep_alive=version == "1.1" and parser.should_keep_alive(),
            expects_continue=len(self._framing) > 1
            and version == "1.1"
            and any(name == b"expect" for name, _ in self._framing),
        )
        self._served = True
        self._request = exchange
        self._queue.append(exchange)
        if len(self._queue) == 1:
            self._begin(exchange)
        else:
            self._waiting_headers += len(headers)
            self.pause_reading()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._framing_bytes -= len(body) * (FRAMING_FACTOR + 1)
        if self._request is not None:
            self._request.add_body(body)

    def on_message_complete(self) -> None:
        """End the request, unless its body was skipped because of an upgrade."""
        if self._parser.should_upgrade():
            return
        self._in_body = False
        request, self._request = self._request, None
        if request is None:
            return
        request.end_body()
        if request.keep_alive and not self._parser.should_keep_alive():
            # A trailer said so. It must not (RFC 9110 §6.5.1), but this parser reads nothing more.
            request.keep_alive = False
            if request.complete:
                self._end(linger=True)

    # Bounds on what is not whole yet.

    def _bound_head(self) -> None:
        # Of the first piece, most may belong to the request before; of a header that is not whole,
        # the parser does not tell the size.
        self._head_bytes += self._arrived_bytes
        if (
            len(self._headers) > MAX_HEADERS
            or self._head_bytes > MAX_HEAD_BYTES + READ_BYTES
            or (
                self._head_bytes > MAX_HEAD_BYTES
                and head_bytes(self._target, self._headers) > MAX_HEAD_BYTES
            )
        ):
            self._refuse(head_too_large())

    def _bound_body(self) -> None:
        """Bound the framing of a body: the parser keeps a trailer until it is whole."""
        self._framing_bytes = max(0, self._framing_bytes + self._arrived_bytes)
        request = self._request
        if request is None or request.complete:
            self._between_bytes += self._arrived_bytes
            if self._between_bytes > MAX_IGNORED_BYTES or self._framing_bytes > MAX_FRAMING_BYTES:
                self._transport.close()
            return
        if self._framing_bytes > MAX_FRAMING_BYTES:
            self._refuse(
                bad_request(
                    "invalid_http", "The chunks of the body are too small. Send larger chunks."
                )
            )

    def _bound_between(self) -> None:
        """Bound blank lines, which the parser skips before a request."""
        self._between_bytes += self._arrived_bytes
        if self._between_bytes > MAX_HEAD_BYTES + READ_BYTES:
            self._refuse(head_too_large())

    # Answering, refusing, ending.

    def _begin(self, exchange: Exchange) -> None:
        refusal = exchange.refusal
        app = self._connections.app if refusal is None else _answering(refusal)
        task = self.loop.create_task(exchange.run(app))
        exchange.task = task
        self._connections.tasks.add(task)

    def _refuse(self, problem: Problem) -> None:
        """Answer what can't be read on, after the requests before it, and end the connection."""
        log.info("http_refused", code=problem.code, client=self._peer[0] if self._peer else "")
        broken, self._request = self._request, None
        self._lingering = True  # nothing is read on
        if broken is not None and broken.complete:
            # A second answer would be taken for that of the next request.
            self._end(linger=True)
        elif broken is not None and broken is not self._queue[0]:
            # It waits for its turn; its problem is the last answer.
            broken.keep_alive = False
            broken.refusal = problem
        elif broken is not None:
            self._queue.clear()
            started = broken.started
            broken.disconnect()
            if started:
                self._transport.close()
            else:
                self._answer_and_end(problem, method=broken.scope["method"])
        elif self._queue:
            self._queue[-1].keep_alive = False  # a whole request, whose answer is the last
        else:
            # Once the target is there, the method is known.
            known = self._in_head and self._target
            method = self._parser.get_method().decode("ascii") if known else ""
            self._answer_and_end(problem, method=method)
        if self._queue:
            self.pause_reading()

    def _answer_and_end(self, problem: Problem, *, method: str = "") -> None:
        if self._transport.is_closing():
            return
        self.write(problem_answer(problem, format_id(new_id()), method=method))
        self._end(linger=True)

    def _end(self, *, linger: bool) -> None:
        """Close once everything is written.

        Args:
            linger: read on for a moment: the client may still be sending. A close at once would
                reset the connection, and the client lose the answer with it (RFC 9112 §9.6).
        """
        self._lingering = True
        self._since = self.loop.time()
        self._queue.clear()
        if not linger or not self._transport.can_write_eof():
            self._transport.close()
            return
        self._transport.write_eof()
        self._read_on()

    # What `Connections` asks.

    def idle_sec(self, now: float) -> float:
        """Return the seconds in which the client has not completed a head; 0 while it is answered.

        Args:
            now: of the event loop's clock.
        """
        if self._queue or self._transport.is_closing():
            return 0.0
        return now - self._since

    def check(self, now: float) -> None:
        """End the connection if it is overdue.

        Args:
            now: of the event loop's clock.
        """
        bounds = self._connections.bounds
        unsent = self._transport.get_write_buffer_size()
        if unsent:
            self._check_stalled(now, unsent)
        else:
            self._stalled_since = None
            self.slow = False
        if self._queue or self._transport.is_closing():
            return
        idle_sec = now - self._since
        if self._lingering:
            if idle_sec > bounds.linger_sec and not unsent:
                self._transport.abort()
        elif self._in_head:
            if idle_sec > bounds.head_timeout_sec:
                timeout = f"{bounds.head_timeout_sec:g} s"
                self._refuse(
                    Problem(
                        408,
                        "head_timeout",
                        f"The request line and headers did not arrive within {timeout}. Send the"
                        " request again.",
                    )
                )
        elif idle_sec > (bounds.keep_alive_sec if self._served else bounds.head_timeout_sec):
            self.close_idle()

    def close_idle(self) -> None:
        """Close the connection unless a request is being answered or has begun to arrive."""
        if not (self._queue or self._in_head or unread_bytes(self._fd)):
            self._transport.close()

    def evict(self) -> None:
        """Make room for another connection."""
        if self.slow:
            self._transport.abort()
        elif not (self._queue or unread_bytes(self._fd)):
            self._transport.close()

    def drain(self) -> None:
        """End after the present answers, and tell an answer without a near end to come to one."""
        for exchange in self._queue:
            exchange.scope["state"][DRAINING] = True
        self.close_idle()

    def abort(self) -> None:
        """Cut the connection."""
        self._transport.abort()

    def _check_stalled(self, now: float, unsent: int) -> None:
        """Cut off a client that takes nothing of its answer.

        The transport's buffer alone does not tell: it stays full while the kernel's is being read.
        """
        bounds = self._connections.bounds
        taken = self._written_bytes - unsent - unsent_bytes(self._fd)
        if self._stalled_since is None:
            self._mark = (now, taken)
        marked_at, marked = self._mark
        if now - marked_at >= bounds.evict_idle_sec:
            self.slow = taken - marked < bounds.evict_bytes_per_sec * (now - marked_at)
            self._mark = (now, taken)
        if self._stalled_since is None or taken > self._taken_bytes:
            self._taken_bytes = taken
            self._stalled_since = now
        elif now - self._stalled_since > bounds.stalled_sec:
            log.info("client_stalled", client=self._peer[0] if self._peer else "")
            self._transport.abort()


class _BehindHead:
    """Passes a parser's callbacks on to a connection, but those of the head that it is fed first.

    Attributes:
        muted: that head is being fed.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.muted = True
        self.on_body = connection.on_body
        self.on_message_complete = connection.on_message_complete

    def on_message_begin(self) -> None:
        """Begin a later request."""
        if not self.muted:
            self._connection.on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Take a piece of a later request's target."""
        if not self.muted:
            self._connection.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header of a later request, or a trailer."""
        if not self.muted:
            self._connection.on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start a later request."""
        if not self.muted:
            self._connection.on_headers_complete()


def _problem_of(error: httptools.HttpParserError) -> Problem:
    """Return what the client is told; here, so that no frame of a connection holds the cause."""
    cause = error.__context__
    if isinstance(cause, HeadError):
        return cause.problem
    return bad_request("invalid_http", "The request is not valid HTTP/1.1.")


def _address(address: Any) -> tuple[str, int] | None:
    """Return host and port; None for a Unix socket."""
    return (str(address[0]), int(address[1])) if isinstance(address, tuple) else None


def _answering(problem: Problem) -> ASGIApp:
    """Return an application that answers one problem."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        request_id = format_id(new_id())
        problem.headers |= {"X-Request-ID": request_id, "X-Content-Type-Options": "nosniff"}
        await send_problem(send, problem, request_id)

    return answer
