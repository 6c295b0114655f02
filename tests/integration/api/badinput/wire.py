"""Bytes over a socket, for what no HTTP client sends."""

import asyncio
import json
from collections.abc import Iterable
from typing import Any, NamedTuple


class Answer(NamedTuple):
    """One response as it came."""

    status: int
    headers: dict[str, str]
    body: bytes

    def problem(self) -> dict[str, Any]:
        """The problem document that it must be."""
        assert self.headers["content-type"] == "application/problem+json", self
        assert self.headers["cache-control"] == "no-store"
        document: dict[str, Any] = json.loads(self.body)
        assert document["type"] == f"urn:ocelot:problem:{document['code']}"
        assert document["status"] == self.status
        assert document["title"]
        assert document["detail"]
        assert document["request_id"] == self.headers["x-request-id"]
        return document


class ClosedError(ConnectionError):
    """The server closed the connection without an answer."""


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    """The next response of a connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        raise ClosedError(repr(error)) from None
    lines = head.decode("latin-1").split("\r\n")
    headers = {
        name.lower(): value.strip()
        for name, _, value in (line.partition(":") for line in lines[1:] if line)
    }
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Answer(int(lines[0].split()[1]), headers, body)


def request(
    method: str, url: str, headers: Iterable[tuple[str, str | bytes]], body: bytes = b""
) -> bytes:
    """A request as it goes over the wire; its size is stated unless a header says how it comes."""
    lines = [f"{method} {url} HTTP/1.1".encode(), b"Host: ocelot"]
    names = set()
    for name, value in headers:
        names.add(name.lower())
        lines.append(name.encode() + b": " + (value.encode() if isinstance(value, str) else value))
    if not names & {"content-length", "transfer-encoding"}:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, b"", body])


async def talk(
    port: int,
    pieces: Iterable[bytes],
    *,
    pause_sec: float = 0.0,
    answers: int = 1,
    timeout_sec: float = 60,
    close_writing: bool = False,
) -> list[Answer]:
    """Send pieces over one connection and read that many answers.

    Raises:
        TimeoutError: the connection hangs.
        ClosedError: it was closed without (another) answer.
    """
    async with asyncio.timeout(timeout_sec):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)

        async def send() -> None:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(pause_sec)
            if close_writing:
                writer.write_eof()

        sending = asyncio.create_task(send())
        try:
            return [await read_answer(reader) for _ in range(answers)]
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            writer.close()
