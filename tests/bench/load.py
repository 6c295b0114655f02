"""A load generator that costs little: raw HTTP/1.1 over asyncio protocols, prebuilt requests."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

EVENT = (
    b'{"action":"document.update","actor":{"id":"user-%06d","type":"user","name":"Jane Doe",'
    b'"email":"jane.doe@example.com","session_id":"s-4711"},"occurred_at":"2026-11-24T12:00:%02d.123Z",'
    b'"targets":[{"type":"document","id":"doc-%08d","name":"Quarterly report"}],'
    b'"outcome":"success","severity":"info","message":"Jane changed the title of the report",'
    b'"source":{"ip":"192.0.2.%d","user_agent":"Mozilla/5.0 (X11; Linux x86_64)","service":"docs"},'
    b'"request_id":"req-%08x","tags":["docs","eu"],'
    b'"metadata":{"plan":"pro","region":"eu-west-1","attempt":1,"flags":["a","b"],'
    b'"nested":{"k":"v","n":12.5}}}'
)


def event(number: int) -> bytes:
    """One event of about 580 bytes; each number gives another."""
    return EVENT % (number % 1_000_000, number % 60, number, number % 250, number)


def request(url: str, token: str, body: bytes, content_type: str) -> bytes:
    """A whole POST request."""
    parts = urlsplit(url)
    return (
        f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


class LoadResult(NamedTuple):
    """What a run of requests took."""

    requests: int
    seconds: float
    statuses: dict[bytes, int]


class _Client(asyncio.Protocol):
    """Sends its next request when the answer to the last one is whole."""

    def __init__(self, run: "_Run") -> None:
        self._run = run
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def _send(self) -> None:
        assert self._transport is not None
        following = self._run.next_request()
        if following is None:
            self._transport.close()
        else:
            self._transport.write(following)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end].lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(self._buffer) < end + 4 + length:
            return
        self._run.answered(self._buffer[9:12])
        self._buffer = self._buffer[end + 4 + length :]
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        self._run.closed()


class _Run:
    def __init__(self, requests: Sequence[bytes], connections: int) -> None:
        self._requests = iter(requests)
        self._open = connections
        self.statuses: dict[bytes, int] = {}
        self.done = asyncio.get_running_loop().create_future()

    def next_request(self) -> bytes | None:
        return next(self._requests, None)

    def answered(self, status: bytes) -> None:
        self.statuses[status] = self.statuses.get(status, 0) + 1

    def closed(self) -> None:
        self._open -= 1
        if self._open == 0 and not self.done.done():
            self.done.set_result(None)


async def run_load(url: str, requests: Sequence[bytes], *, connections: int) -> LoadResult:
    """Send prebuilt requests over so many connections, each one request at a time."""
    parts = urlsplit(url)
    loop = asyncio.get_running_loop()
    run = _Run(requests, connections)
    began = time.perf_counter()
    factory: Callable[[], _Client] = lambda: _Client(run)  # noqa: E731
    for _ in range(connections):
        await loop.create_connection(factory, parts.hostname, parts.port)
    await run.done
    return LoadResult(sum(run.statuses.values()), time.perf_counter() - began, run.statuses)
