"""One export as an HTTP response of unknown length."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any, Final

import msgspec
from pymongo.errors import PyMongoError
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ocelot_api.budget import FairPool
from ocelot_api.export.bound import Bound, bound_of
from ocelot_api.export.encoding import Encoder, encoder_of, pick_encoding
from ocelot_api.export.formats import MEDIA_TYPES, End, writer_of
from ocelot_api.export.parameters import ExportRequest
from ocelot_api.export.walk import Walk
from ocelot_api.metrics import ApiMetrics
from ocelot_api.middleware import (
    CUT,
    DRAINING,
    WITHOUT_BODY,
    headers_of,
    note_problem,
    to_problem,
)
from ocelot_api.problems import Problem, invalid_parameter, unavailable
from ocelot_api.search.mongo_backend import MongoBackend
from ocelot_api.search.page import Item, Stretch
from ocelot_api.search.query import Position, write_cursor
from ocelot_common.reading import Unreadable, answer_of
from ocelot_common.registry.model import Home
from ocelot_common.tasks import cancel_and_wait
from ocelot_common.telemetry.logs import get_logger

#: An export may go on for so long after SIGTERM; the process has 20 s to end.
_DRAIN_SEC: Final = 10.0
#: Where nothing fits for so long, the client is sent what means nothing.
_PAUSE_SEC: Final = 5.0
#: What an export holds: one part that is being sent, as events, encoded and packed, and the next
#: one, which is being read. It is taken once: an export that has begun is not refused later.
EXPORT_BYTES: Final = 8 * 1024 * 1024
#: What the server is handed at a time; it holds as much for a client that reads slowly.
_PIECE_BYTES: Final = 64 * 1024

_DISPLACED: Final = "documents without a valid id or time are stored, which are not events"

log = get_logger(__name__)


class ExportResponse(Response):
    """Streams an export. Until its first stretch is read, it may still be a problem.

    Args:
        wanted: what to export.
        present_home: the tenant as it is now, or why the client may not read on.
        store: holds the events.
        slots: bound the exports under way.
        answers: the budget of answers.
        metrics: counts.
    """

    def __init__(
        self,
        wanted: ExportRequest,
        *,
        present_home: Callable[[], Awaitable[Home]],
        store: MongoBackend,
        slots: FairPool,
        answers: FairPool,
        metrics: ApiMetrics,
    ) -> None:
        super().__init__()
        self._wanted = wanted
        self._query = wanted.query
        self._present_home = present_home
        self._store = store
        self._slots = slots
        self._answers = answers
        self._metrics = metrics
        self._writer = writer_of(wanted.form, wanted.columns)
        self._bound = Bound(0, 0)
        self._events = 0
        self._unreadable = 0
        self._end: Position | None = None
        self._sent_at: float | None = None
        self._ends_at = float("inf")
        self._problem: Problem | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, for as long as the client is there.

        Raises:
            Problem: 400, 401, 403, 503 or 504; nothing was sent.
            PyMongoError: nothing was sent.
        """
        uid = self._query.home.tenant.uid
        with self._slots.slot(uid), self._answers.reservation(uid) as held:
            held.grow(EXPORT_BYTES)
            work = asyncio.create_task(self._answer(scope, send))
            gone = asyncio.create_task(_until_gone(receive))
            try:
                await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
                if work.done() and not work.exception() and not work.result():
                    await _cut(scope, gone)
            finally:
                await cancel_and_wait((work, gone))
                self._note_end(work)
            if not work.cancelled():
                work.result()

    async def _answer(self, scope: Scope, send: Send) -> bool:
        """Whether the client can tell how it ended."""
        walk = await self._begin()
        async with aclosing(walk.stretches()) as stretches:
            stretch = await anext(stretches)
            encoding = pick_encoding(headers_of(scope).get(b"accept-encoding", b""))
            head = {"type": "http.response.start", "status": 200}
            await send(head | {"headers": self._head_of(encoding)})
            if scope["state"].get(WITHOUT_BODY):
                await send({"type": "http.response.body"})
                return True
            encoder = encoder_of(encoding)
            await self._send(send, encoder.encode(self._writer.begin()))
            try:
                await self._send_stretch(send, encoder, stretch)
                async for stretch in stretches:
                    self._check_draining(scope)
                    await self._send_stretch(send, encoder, stretch)
                if walk.displaced:
                    await self._send_displaced(send, encoder)
            except (Problem, PyMongoError) as error:
                self._problem = to_problem(error)
                note_problem(scope, self._problem)
        cursor = write_cursor(self._query, self._end) if self._end else None
        end = End(self._events, self._unreadable, cursor, self._problem, self._bound)
        trailer = self._writer.end(end)
        if trailer is None:
            return False
        body = encoder.encode(trailer) + encoder.end()
        await send({"type": "http.response.body", "body": body})
        return True

    async def _begin(self) -> Walk:
        newest = await self._store.newest_seq()
        self._bound = bound_of(self._wanted.stored_until, newest)
        if self._wanted.after is not None:
            position = await self._store.find_position(self._query, self._wanted.after)
            if position is None:
                raise invalid_parameter("after", "must be the id of a stored event")
            self._query = msgspec.structs.replace(self._query, after=position)
        return Walk(
            self._query,
            store=self._store,
            stored_until=self._bound.stored_until,
            limit=self._wanted.limit,
            present_home=self._present_home,
        )

    def _head_of(self, encoding: str) -> list[tuple[bytes, bytes]]:
        form = self._wanted.form
        name = f"{self._query.home.tenant.id}-audit-log.{form}"
        headers = {
            "content-type": MEDIA_TYPES[form],
            "content-disposition": f'attachment; filename="{name}"',
            "cache-control": "no-store",
            "vary": "Accept-Encoding",
            "ocelot-stored-until": str(self._bound.stored_until),
            "ocelot-complete-until": self._bound.complete_until,
        }
        if encoding != "identity":
            headers["content-encoding"] = encoding
        return [(name.encode(), value.encode()) for name, value in headers.items()]

    async def _send_stretch(self, send: Send, encoder: Encoder, stretch: Stretch) -> None:
        if stretch.items:
            await self._send(send, await asyncio.to_thread(self._encoded, encoder, stretch.items))
            self._events += len(stretch.items)
            self._unreadable += sum([not item.is_event for item in stretch.items])
            self._metrics.exported_events.inc(len(stretch.items))
        elif self._sent_at is not None and time.monotonic() - self._sent_at > _PAUSE_SEC:
            await self._send(send, encoder.encode(self._writer.pause()))
        self._end = stretch.end

    async def _send_displaced(self, send: Send, encoder: Encoder) -> None:
        """Say that documents are stored which stand nowhere in the order."""
        unreadable = Unreadable(id=None, received_at=None, occurred_at=None, reason=_DISPLACED)
        answer = answer_of(unreadable, self._query.home.tenant.id)
        await self._send(send, encoder.encode(self._writer.write([answer])))
        self._events += 1
        self._unreadable += 1

    async def _send(self, send: Send, body: bytes) -> None:
        """Hand the body over in pieces: the server would take it whole, and hold it beside ours."""
        self._sent_at = time.monotonic()
        for start in range(0, len(body), _PIECE_BYTES):
            piece = body[start : start + _PIECE_BYTES]
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            self._sent_at = time.monotonic()

    def _encoded(self, encoder: Encoder, items: Sequence[Item]) -> bytes:
        return encoder.encode(self._writer.write([item.json for item in items]))

    def _check_draining(self, scope: Scope) -> None:
        if not scope["state"].get(DRAINING):
            return
        now = time.monotonic()
        self._ends_at = min(self._ends_at, now + _DRAIN_SEC)
        if now >= self._ends_at:
            raise unavailable(
                "shutting_down",
                "This api process is shutting down. Continue the export from `next_cursor`.",
            )

    def _note_end(self, work: asyncio.Task[bool]) -> None:
        if self._sent_at is None:
            return
        if work.cancelled():
            result, code = "disconnected", ""
        elif work.exception():
            result, code = "incomplete", "internal"
        else:
            code = self._problem.code if self._problem else ""
            result = "incomplete" if code else "complete"
        self._metrics.exports.labels(result).inc()
        log.info(
            "export_ended",
            tenant=self._query.home.tenant.id,
            result=result,
            code=code,
            events=self._events,
            unreadable=self._unreadable,
        )


async def _until_gone(receive: Receive) -> None:
    message: Any = {}
    while message.get("type") != "http.disconnect":
        message = await receive()


async def _cut(scope: Scope, gone: asyncio.Task[None]) -> None:
    """End the connection, which alone tells the client that the answer is not whole."""
    cut = scope["state"].get(CUT)
    if cut is not None:
        cut()
        await gone
