"""Heads and framing that are too large, too slow or wrong, over a real connection."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry
from starlette.types import Receive, Scope, Send

from ocelot_api.http import connection
from ocelot_api.http.bounds import MAX_HEAD_BYTES, MAX_HEADERS, MAX_PIPELINED, EdgeBounds
from ocelot_api.http.connection import Connection
from ocelot_api.http.connections import Connections
from ocelot_api.http.listener import Listener, bind
from ocelot_api.http.metrics import EdgeMetrics
from ocelot_api.middleware import CUT

pytestmark = pytest.mark.asyncio(loop_scope="module")
GET = b"GET /first HTTP/1.1\r\nHost: x\r\n\r\n"


class App:
    """Reads the body and answers 200 with the path; `/early` answers before it reads."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []
        self.bodies: list[bytes] = []
        self.gone = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        if scope["path"].startswith("/endless"):
            await self._answer_without_end(scope, receive, send)
            return
        body = b""
        while scope["path"] != "/early":
            message = await receive()
            if message["type"] == "http.disconnect":
                self.gone += 1
                return
            body += message["body"]
            if not message["more_body"]:
                break
        self.bodies.append(body)
        answer = scope["path"].encode() * (10_000_000 if scope["path"] == "/large" else 1)
        headers = [(b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    async def _answer_without_end(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"piece", "more_body": True})
        if scope["path"] == "/endless/cut":
            scope["state"][CUT]()
        while (await receive())["type"] != "http.disconnect":
            pass
        self.gone += 1


@pytest.fixture
def app() -> App:
    return App()


@pytest_asyncio.fixture(loop_scope="module")
async def connections(app: App) -> AsyncIterator[Connections]:
    bounds = EdgeBounds(head_timeout_sec=0.3, stalled_sec=1.0, keep_alive_sec=1.0)
    connections = Connections(
        app, bounds, loop=asyncio.get_running_loop(), metrics=EdgeMetrics(CollectorRegistry())
    )
    yield connections
    await connections.cut()
    connections.close()


@pytest_asyncio.fixture(loop_scope="module")
async def port(connections: Connections) -> AsyncIterator[int]:
    bound = bind("127.0.0.1", 0)
    listener = Listener(bound, connections, lambda: Connection(connections))
    yield bound.getsockname()[1]
    listener.close()


async def exchange(port: int, *pieces: bytes, pause_sec: float = 0.0) -> bytes:
    """Send pieces and read until the server closes the connection.

    What is sent may cross the close, which is a reset then.
    """

    async def read() -> bytes:
        answer = bytearray()
        with suppress(ConnectionResetError):
            while block := await reader.read(65_536):
                answer.extend(block)
        return bytes(answer)

    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(5):
            reading = asyncio.create_task(read())
            with suppress(ConnectionResetError):
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(pause_sec)
                    if reading.done():
                        break
            return await reading
    finally:
        writer.close()


def problem(answer: bytes) -> dict[str, Any]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head
    assert b"connection: close" in head
    document: dict[str, Any] = json.loads(body)
    assert head.startswith(b"HTTP/1.1 %d " % document["status"])
    assert b"x-request-id: " + document["request_id"].encode() in head
    return document


def with_headers(*lines: bytes) -> bytes:
    return b"\r\n".join((b"GET / HTTP/1.1", b"Host: x", *lines, b"", b""))


async def test_requests_within_the_bounds_are_answered_on_one_connection(port: int, app: App):
    large = with_headers(*(b"a: b" for _ in range(150)), b"c: " + b"x" * 60_000)
    post = b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
    last = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = await exchange(port, GET, large, post[:20], post[20:], last, pause_sec=0.05)
    assert answer.count(b"HTTP/1.1 200 OK") == 4
    assert app.bodies == [b"", b"", b"hello", b""]


@pytest.mark.parametrize(
    "request_",
    [
        with_headers(b"a: " + b"x" * MAX_HEAD_BYTES),
        with_headers(*[b"a: b"] * MAX_HEADERS),
        with_headers(*[b"a: b"] * 100_000),
        with_headers(b"a" * 1_000_000 + b": b"),
        b"GET /" + b"x" * MAX_HEAD_BYTES + b" HTTP/1.1\r\n\r\n",
        GET[:-2] + b"a: " + b"x" * 10_000_000,
        b"\r\n" * 1_000_000,
    ],
    ids=["value", "number", "thousands", "name", "url", "endless value", "blank lines"],
)
async def test_a_head_that_is_too_large_is_431(port: int, app: App, request_: bytes):
    for pieces in ([request_], [request_[:30_000], request_[30_000:]]):
        answer = problem(await exchange(port, *pieces, pause_sec=0.02))
        assert (answer["status"], answer["code"]) == (431, "head_too_large")
    assert app.scopes == []


@pytest.mark.parametrize(
    "request_",
    [
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nbroken header\r\n\r\n",
        b"GET / HTTP/1.1\r\na: b\0c\r\n\r\n",
        b"CONNECT x:1 HTTP/1.1\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\nx",
    ],
)
async def test_what_is_not_http_is_400(port: int, app: App, request_: bytes):
    answer = problem(await exchange(port, request_))
    assert (answer["status"], answer["code"]) == (400, "invalid_http")
    assert app.bodies == []


@pytest.mark.parametrize(
    "request_",
    [
        b"HEAD /first HTTP/1.1\r\n\r\n",
        b"HEAD /first HTTP/1.1\r\nHost: x\r\nExpect: nothing\r\n\r\n",
        b"HEAD /first HTTP/1.1\r\nHost: x\r\nno header\r\n\r\n",
        b"HEAD /first HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * (MAX_HEADERS + 1) + b"\r\n",
        b"HEAD /first HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
    ],
    ids=["no host", "expectation", "a bad header", "too many headers", "broken chunks"],
)
async def test_a_refused_head_gets_no_content(port: int, request_: bytes):
    head, _, content = (await exchange(port, request_)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 4")
    assert b"connection: close" in head
    assert content == b""


async def test_junk_after_a_head_request_is_answered_with_content(port: int):
    head = GET.replace(b"GET", b"HEAD")
    answers = await exchange(port, head, b"junk\r\n\r\n", pause_sec=0.2)
    begin = answers.rindex(b"HTTP/1.1 ")
    assert problem(answers[begin:])["code"] == "invalid_http"


async def test_broken_chunks_end_the_request_that_reads_them(port: int, app: App):
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
    answer = problem(await exchange(port, head, b"zz\r\n", pause_sec=0.05))
    assert answer["code"] == "invalid_http"
    assert (app.gone, app.bodies) == (1, [])


async def test_junk_after_a_request_never_takes_its_answer(port: int, app: App):
    answer = await exchange(port, GET + GET + b"junk\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200 OK") == 2
    assert answer.count(b"HTTP/1.1 ") == 2
    assert len(app.bodies) == 2


async def test_broken_chunks_of_a_request_in_a_queue_are_told_in_its_turn(port: int, app: App):
    post = b"POST /b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
    first, _, rest = (await exchange(port, GET + post)).partition(b"/first")
    assert first.startswith(b"HTTP/1.1 200")
    assert problem(rest)["code"] == "invalid_http"
    assert len(app.scopes) == 1


async def test_a_slow_head_is_408_however_its_bytes_come(port: int, app: App):
    answer = await exchange(port, *(b"GET / HTTP/1.1\r\na: " + b"x" * 50,), pause_sec=0)
    assert problem(answer)["code"] == "head_timeout"
    dripping = [bytes([byte]) for byte in with_headers(b"a: " + b"x" * 100)]
    answer = await exchange(port, *dripping, pause_sec=0.02)
    assert (problem(answer)["status"], problem(answer)["code"]) == (408, "head_timeout")
    answer = await exchange(port, GET, *dripping, pause_sec=0.02)
    assert problem(answer.partition(b"/first")[2])["code"] == "head_timeout"


async def test_a_connection_that_says_nothing_is_closed(port: int):
    assert await exchange(port) == b""
    assert await exchange(port, *[b"\r\n"] * 100, pause_sec=0.02) == b""
    # After an answer, blank lines keep no connection longer than silence does.
    answer = await exchange(port, GET, *[b"\r\n"] * 200, pause_sec=0.02)
    assert answer.endswith(b"/first")


async def test_what_follows_an_early_answer_is_ignored_within_bounds(
    port: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(connection, "MAX_IGNORED_BYTES", 1_000_000)
    head = b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
    last = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    body = bytes(500_000)
    answer = await exchange(port, head % len(body), body, last, pause_sec=0.05)
    assert answer.count(b"HTTP/1.1 200 OK") == 2
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head % 10**9)
    with pytest.raises(ConnectionError):
        await pour(writer, 100_000_000)
    writer.close()


LARGE = b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


async def test_an_answer_that_nobody_reads_is_not_held(port: int, app: App):
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1_000)
    writer.write(LARGE)
    await asyncio.sleep(3)
    assert len(await reader.read()) < 60_000_000
    writer.close()
    assert len(app.bodies) == 1


async def test_an_answer_that_is_read_slowly_comes_whole(port: int):
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1_000)
    writer.write(LARGE)
    size = 0
    async with asyncio.timeout(20):
        while part := await reader.read(2_000_000):
            size += len(part)
            await asyncio.sleep(0.02)
    writer.close()
    assert size > 60_000_000


async def pour(writer: asyncio.StreamWriter, size: int) -> None:
    for _ in range(size // 100_000):
        writer.write(bytes(100_000))
        await writer.drain()


async def test_trailers_are_no_headers_and_end(port: int, app: App):
    head = b"POST /t HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    head += b"1\r\na\r\n0\r\n"
    answer = await exchange(port, head + b"Authorization: x\r\n\r\n")
    assert answer.endswith(b"/t")
    assert b"authorization" not in dict(app.scopes[0]["headers"])
    for trailer in (b"a: b\r\n" * 200_000, b"a: " + b"x" * 10_000_000):
        pieces = [trailer[start : start + 100_000] for start in range(0, len(trailer), 100_000)]
        answer = await exchange(port, head, *pieces[:20], pause_sec=0.01)
        assert problem(answer)["code"] == "invalid_http"


@pytest.mark.parametrize("upgrade", [b"", b"Connection: upgrade\r\nUpgrade: h2c\r\n"])
@pytest.mark.parametrize(
    "trailer",
    [
        b"Connection: close",
        b"Proxy-Connection: close",
        b"Connection: keep-alive",
        b"Connection: upgrade\r\nUpgrade: h2c",
        b"Content-Length: 5",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: gzip",
        b"Expect: 100-continue",
        b"Host: y",
    ],
)
@pytest.mark.parametrize("path", [b"/t", b"/early"])
async def test_no_trailer_hides_the_request_behind_it(
    port: int, path: bytes, upgrade: bytes, trailer: bytes
):
    """A proxy may send another client's request next: it is answered, or the connection ends."""
    head = b"POST " + path + b" HTTP/1.1\r\nHost: x\r\n" + upgrade
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(20):
            writer.write(head + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
            if path == b"/early":  # its answer does not wait for the body
                await reader.readuntil(path)
            writer.write(b"0\r\n" + trailer + b"\r\n\r\n")
            if path != b"/early":
                answer = await reader.readuntil(b"\r\n\r\n")
                if b" 200 " not in answer or b"connection: close" in answer.lower():
                    return
                await reader.readexactly(len(path))
            with suppress(TimeoutError, ConnectionResetError):
                async with asyncio.timeout(0.2):
                    if not await reader.read(1):
                        return
            writer.write(b"GET /next HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert (await reader.read()).endswith(b"/next")
    finally:
        writer.close()


async def test_small_chunks_are_no_framing_attack(port: int, app: App):
    head = b"POST /t HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    answer = await exchange(port, head, b"1\r\na\r\n" * 200_000, b"0\r\n\r\n")
    assert answer.endswith(b"/t")
    assert app.bodies == [b"a" * 200_000]


async def test_so_many_requests_may_wait_on_one_connection(port: int, app: App):
    answer = await exchange(port, GET * 10_000)
    assert answer.count(b"HTTP/1.1 200 OK") == MAX_PIPELINED + 1
    assert len(app.scopes) == MAX_PIPELINED + 1


async def test_an_upgrade_is_not_taken_and_the_request_answered(port: int):
    for upgrade in (b"websocket", b"h2c"):
        lines = (b"Connection: upgrade, close", b"Upgrade: " + upgrade)
        answer = await exchange(port, with_headers(*lines))
        assert answer.startswith(b"HTTP/1.1 200 OK")


UPGRADE = b"Connection: keep-alive, Upgrade\r\nUpgrade: h2c\r\n"
#: A body that would be a request of its own, if the server took it for one.
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
WITH_UPGRADE = {
    "content-length": b"POST /a HTTP/1.1\r\nHost: x\r\n%bContent-Length: %d\r\n\r\n%b"
    % (UPGRADE, len(SMUGGLED), SMUGGLED),
    "chunked": b"POST /a HTTP/1.1\r\nHost: x\r\n%bTransfer-Encoding: chunked\r\n\r\n"
    b"%x\r\n%b\r\n0\r\nTrailer: t\r\n\r\n" % (UPGRADE, len(SMUGGLED), SMUGGLED),
}


@pytest.mark.parametrize("first", WITH_UPGRADE.values(), ids=WITH_UPGRADE)
async def test_the_body_of_a_request_that_asks_for_an_upgrade_is_read_and_is_no_request(
    first: bytes, port: int, app: App
):
    requests = first + first + LAST
    for cut in range(1, len(requests)):
        app.scopes.clear()
        app.bodies.clear()
        answer = await exchange(port, requests[:cut], requests[cut:])
        assert answer.count(b"HTTP/1.1 200 OK") == 3, cut
        assert [scope["path"] for scope in app.scopes] == ["/a", "/a", "/last"], cut
        assert app.bodies == [SMUGGLED, SMUGGLED, b""], cut


async def test_an_upgrade_without_a_body_leaves_the_next_request_whole(port: int, app: App):
    first = b"GET /a HTTP/1.1\r\nHost: x\r\n" + UPGRADE + b"\r\n"
    for pieces in ((first + LAST,), (first, LAST), (first[:-1], b"\n" + LAST)):
        answer = await exchange(port, *pieces, pause_sec=0.01)
        assert answer.count(b"HTTP/1.1 200 OK") == 2
        assert answer.endswith(b"/last")


async def test_an_answer_that_is_cut_has_no_last_chunk_and_is_no_error_of_the_server(
    port: int, app: App, caplog: pytest.LogCaptureFixture
):
    answer = await exchange(port, b"GET /endless/cut HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.endswith(b"5\r\npiece\r\n")
    assert app.gone == 1
    assert not caplog.records


async def test_the_request_that_is_answered_is_told_that_the_client_left_and_not_the_last_alone(
    port: int, app: App
):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n" + GET)
    await reader.readuntil(b"piece")
    writer.transport.abort()
    async with asyncio.timeout(5):
        while not app.gone:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)
    assert [scope["path"] for scope in app.scopes] == ["/endless"]
