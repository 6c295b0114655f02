"""Answers that count in a budget until the client has read them.

A client that asks and does not read would otherwise make the process hold any number of answers:
the server takes over whatever it is given in one piece. So an answer is handed over in small
pieces, each when the one before has mostly left, and what is left counts in the budget.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ocelot_api.budget import FairPool, Reservation
from ocelot_api.middleware import WITHOUT_BODY

JSON: Final = "application/json"
#: What the server is handed at a time: as much as it buffers before it makes the sender wait.
PIECE_BYTES: Final = 64 * 1024

#: Makes an answer's body. The reservation grows with what is held for it, and holds at least the
#: body at the end.
Produce = Callable[[Reservation], Awaitable[list[bytes]]]


class BudgetedResponse(Response):
    """Makes a JSON answer within a budget and sends it. Until it is made, it may be a problem.

    Args:
        budget: of all answers.
        uid: of the tenant that asks.
        produce: makes the body.
        first_bytes: held before anything else happens.
        status: of the answer.
        headers: of the answer, besides type and length.
    """

    def __init__(
        self,
        budget: FairPool,
        uid: str,
        produce: Produce,
        *,
        first_bytes: int,
        status: int = 200,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(None, status, headers, JSON)
        self._budget = budget
        self._uid = uid
        self._produce = produce
        self._first_bytes = first_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Make the answer and send it.

        Raises:
            Problem: nothing was sent.
        """
        del receive
        with self._budget.reservation(self._uid) as held:
            held.grow(self._first_bytes)
            parts = await self._produce(held)
            size = sum(map(len, parts))
            held.shrink_to(size)
            headers = [pair for pair in self.raw_headers if pair[0] != b"content-length"]
            headers.append((b"content-length", b"%d" % size))
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": headers}
            )
            if scope["state"].get(WITHOUT_BODY):
                parts.clear()
            await send_pieces(send, parts, held)


async def send_pieces(send: Send, parts: list[bytes], held: Reservation) -> None:
    """Send a body piece by piece, and give back what has been handed over.

    Args:
        send: of the ASGI connection; the answer's start was sent.
        parts: the body, which is emptied.
        held: what is held for the body.
    """
    for piece in _pieces(parts):
        await send({"type": "http.response.body", "body": piece, "more_body": bool(parts)})
        held.shrink(len(piece))


def _pieces(parts: list[bytes]) -> Iterator[bytes]:
    """Return the body in pieces of about the same size, at least one; `parts` loses its items."""
    parts.reverse()
    piece: list[bytes] = []
    size = 0
    while parts:
        part = parts.pop()
        if len(part) > PIECE_BYTES:
            parts += _slices(part)
            continue
        piece.append(part)
        size += len(part)
        if size >= PIECE_BYTES and parts:
            whole = b"".join(piece)
            piece.clear()
            size = 0
            yield whole
    yield b"".join(piece)


def _slices(part: bytes) -> Iterable[bytes]:
    """Return a large part's slices, the last one first."""
    starts: Sequence[int] = range(0, len(part), PIECE_BYTES)
    return [part[start : start + PIECE_BYTES] for start in reversed(starts)]
