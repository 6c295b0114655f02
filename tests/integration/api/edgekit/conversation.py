"""Conversations with the api over raw sockets, to their end: an answer too many counts as well."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from badinput.wire import Answer, ClosedError, read_answer

#: The silence after which a conversation is over; generous, since only a hanging one is meant.
PATIENCE_SEC: Final = 30.0


class Conversation(NamedTuple):
    """What came over one connection.

    Attributes:
        answers: all of them, without `100 Continue`.
        closed: whether the server closed the connection.
    """

    answers: list[Answer]
    closed: bool

    @property
    def ids(self) -> list[str]:
        """The request ids that the answers carry: a client's own, where it sent one."""
        return [answer.headers.get("x-request-id", "") for answer in self.answers]

    @property
    def statuses(self) -> list[int]:
        """The answers' statuses."""
        return [answer.status for answer in self.answers]


async def converse(
    port: int, pieces: Iterable[bytes], *, pause_sec: float = 0.0, timeout_sec: float = PATIENCE_SEC
) -> Conversation:
    """Send pieces, each in a segment of its own, and read until the server closes.

    The last request should carry `Connection: close`, or be one after which the server closes.
    After `timeout_sec` of silence the conversation ends with `closed` False.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)  # with TCP_NODELAY

    async def send() -> None:
        for number, piece in enumerate(pieces):
            if number:
                await asyncio.sleep(pause_sec)
            writer.write(piece)
            await writer.drain()

    sending = asyncio.create_task(send())
    answers: list[Answer] = []
    try:
        while True:
            async with asyncio.timeout(timeout_sec):
                answer = await read_answer(reader)
            if answer.status >= 200:
                answers.append(answer)
    except ClosedError:
        return Conversation(answers, closed=True)
    except TimeoutError:
        return Conversation(answers, closed=False)
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        writer.close()


def head(
    method: str,
    target: str,
    fields: Iterable[tuple[str, str | int]] = (),
    *,
    version: str = "HTTP/1.1",
    host: str | None = "ocelot",
) -> bytes:
    """A head as it goes over the wire; nothing is added but Host."""
    lines = [f"{method} {target} {version}"]
    if host is not None:
        lines.append(f"Host: {host}")
    lines += [f"{name}: {value}" for name, value in fields]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def chunked(body: bytes, sizes: Sequence[int] = ()) -> bytes:
    """A body in chunks of these sizes, the rest in one more."""
    chunks = []
    for size in (*sizes, len(body)):
        chunk, body = body[:size], body[size:]
        if chunk:
            chunks.append(b"%x\r\n%b\r\n" % (len(chunk), chunk))
    return b"".join([*chunks, b"0\r\n\r\n"])
