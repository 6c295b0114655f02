"""One request and its answer: the ASGI side of a connection."""

import asyncio
import http
from typing import TYPE_CHECKING, Final

from starlette.types import ASGIApp, Message, Scope

from ocelot_api.http.bounds import BODY_HIGH_WATER_BYTES, WRITE_BYTES
from ocelot_api.problems import MEDIA_TYPE, Problem
from ocelot_common.telemetry.logs import get_logger

if TYPE_CHECKING:
    from ocelot_api.http.connection import Connection

_STATUS_LINES: Final = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()
    for status in http.HTTPStatus
}
_WITHOUT_CONTENT: Final = frozenset({204, 304})
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

log = get_logger(__name__)


def status_line(status: int) -> bytes:
    """Return the first line of an answer."""
    return _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status


class Exchange:
    """A request that is read, and the answer that is written.

    The answer's head waits for the first piece of its content: both leave in one write.

    Args:
        connection: that the request came on.
        scope: of the request, as ASGI has it.
        keep_alive: whether another request may follow on the connection.
        expects_continue: whether the client waits for `100 Continue` before it sends the body.

    Attributes:
        whole: the request's body has arrived.
        complete: the answer is written.
        gone: the client can't read an answer any more.
        refusal: what is answered in place of the application.
        task: that runs the application.
    """

    __slots__ = (
        "_body",
        "_chunked",
        "_connection",
        "_expects_continue",
        "_handed_over",
        "_head",
        "_left",
        "_waiter",
        "complete",
        "gone",
        "keep_alive",
        "refusal",
        "scope",
        "task",
        "whole",
    )

    def __init__(
        self, connection: "Connection", scope: Scope, *, keep_alive: bool, expects_continue: bool
    ) -> None:
        self._connection = connection
        self.scope = scope
        self.keep_alive = keep_alive
        self._expects_continue = expects_continue
        self._body: bytes | bytearray = b""  # arrived, and not taken by the application
        self._handed_over = False  # the whole body, to the application
        self._waiter: asyncio.Future[None] | None = None
        self._head: bytes | None = None  # of the answer; empty once it is written
        self._chunked = False
        self._left: int | None = None  # content that the answer's head promises
        self.whole = False
        self.complete = False
        self.gone = False
        self.refusal: Problem | None = None
        self.task: asyncio.Task[None] | None = None

    @property
    def started(self) -> bool:
        """Whether the answer's head is written."""
        return self._head == b""

    def add_body(self, body: bytes) -> None:
        """Take a piece of the request's body."""
        if self.complete or self.gone:
            return
        if not self._body:
            self._body = body
        else:  # pieces of a byte each would take forty times their size
            if not isinstance(self._body, bytearray):
                self._body = bytearray(self._body)
            self._body += body
        if len(self._body) > BODY_HIGH_WATER_BYTES:
            self._connection.pause_reading()
        if self._waiter is not None:
            self._wake()

    def end_body(self) -> None:
        """Note that the request's body has arrived."""
        self.whole = True
        if self._waiter is not None:
            self._wake()

    def disconnect(self) -> None:
        """Tell the application that the client can't read an answer any more."""
        self.gone = True
        self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def run(self, app: ASGIApp) -> None:
        """Have the application answer; close the connection if it does not."""
        try:
            await app(self.scope, self.receive, self.send)
            if not (self.complete or self.gone):
                log.error("answer_incomplete", path=self.scope["path"])
        except Exception:
            if not self.gone:
                log.exception("application_failed", path=self.scope["path"])
        finally:
            self._connection.finished(self)

    async def receive(self) -> Message:
        """ASGI's `receive`: the next piece of the body; later, that the client has gone."""
        if self._expects_continue and not (self.whole or self._body or self.started):
            self._expects_continue = False
            self._connection.write(_CONTINUE)
        while not (self.gone or self.complete):
            if self._body or (self.whole and not self._handed_over):
                body, self._body = bytes(self._body), b""
                self._handed_over = self.whole
                return {"type": "http.request", "body": body, "more_body": not self.whole}
            self._connection.resume_reading()
            self._waiter = self._connection.loop.create_future()
            await self._waiter
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """ASGI's `send`; it waits while the client has not taken enough of what was sent before.

        Raises:
            RuntimeError: the application breaks the order of messages, or the length that it
                promised.
        """
        connection = self._connection
        if connection.write_paused and not self.gone:
            await connection.writable()
        if self.gone:
            return
        if message["type"] == "http.response.start" and self._head is None:
            self._head = self._start(message)
            return
        if message["type"] != "http.response.body" or self._head is None or self.complete:
            raise RuntimeError(f"unexpected ASGI message {message['type']}")
        body: bytes = message.get("body", b"")
        last = not message.get("more_body", False)
        if self.scope["method"] == "HEAD":
            body = b""
        elif self._left is not None:
            self._left -= len(body)
            if self._left < 0 or (last and self._left):
                raise RuntimeError("the answer's content has another length than its head says")
        if len(body) <= WRITE_BYTES:
            self._write(body, last=last)
        else:
            await self._write_large(body, last=last)
        if last and not self.gone:
            self.complete = True
            self._wake()
            connection.answered(self)

    def _start(self, message: Message) -> bytes:
        """Put the answer's head together.

        Raises:
            RuntimeError: a header would break the framing.
        """
        connection = self._connection
        if connection.last_answers:
            self.keep_alive = False
        if self._expects_continue and not (self.whole or self._body):
            # The client may leave out the body that it announced: what it sends next is ambiguous.
            self.keep_alive = False
        status: int = message["status"]
        headers = list(message.get("headers", ()))
        head = [status_line(status), connection.date_line]
        sized = closed = False
        for name, value in headers:
            if name == b"content-length":
                sized = True
                self._left = int(value)
            elif name == b"connection" and b"close" in value.lower():
                closed = True
                self.keep_alive = False
            head += (name, b": ", value, b"\r\n")
        lines = 3 + len(headers)
        if not (sized or status in _WITHOUT_CONTENT or self.scope["method"] == "HEAD"):
            if self.scope["http_version"] == "1.1":
                self._chunked = True
                head.append(b"transfer-encoding: chunked\r\n")
                lines += 1
            else:  # the connection's end is the content's (RFC 9112 §6.3)
                self.keep_alive = False
        if not (self.keep_alive or closed):
            head.append(b"connection: close\r\n")
            lines += 1
        head.append(b"\r\n")
        block = b"".join(head)
        if block.count(b"\n") != lines or block.count(b"\r") != lines or b"\0" in block:
            raise RuntimeError("a response header contains a control character")
        return block

    def _write(self, body: bytes | memoryview, *, last: bool) -> None:
        """Write a piece of content, with the head if that is due."""
        parts: list[bytes | memoryview] = []
        if self._head:
            parts.append(self._head)
            self._head = b""
        if not self._chunked:
            parts.append(body)
        else:
            if body:
                parts += (b"%x\r\n" % len(body), body, b"\r\n")
            if last:
                parts.append(b"0\r\n\r\n")
        self._connection.write(parts[0] if len(parts) == 1 else b"".join(parts))

    async def _write_large(self, body: bytes, *, last: bool) -> None:
        """Write content piece by piece: all at once would be held until the client reads it."""
        connection = self._connection
        view = memoryview(body)
        for start in range(0, len(body), WRITE_BYTES):
            if connection.write_paused:
                await connection.writable()
            if self.gone:
                return
            end = start + WRITE_BYTES
            self._write(view[start:end], last=last and end >= len(body))


def problem_answer(problem: Problem, request_id: str, *, method: str) -> bytes:
    """Return a whole answer that is the last of its connection.

    Args:
        problem: what is wrong.
        request_id: of the answer.
        method: of the request; empty if it is not known. An answer to HEAD has no content.
    """
    body = problem.document(request_id)
    head = (
        b"content-type: %b\r\ncontent-length: %d\r\ncache-control: no-store\r\n"
        b"x-content-type-options: nosniff\r\nconnection: close\r\nx-request-id: %b\r\n\r\n"
    ) % (MEDIA_TYPE.encode(), len(body), request_id.encode())
    return status_line(problem.status) + head + (b"" if method == "HEAD" else body)
