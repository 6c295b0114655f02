"""What a client without a token can make the process hold, and for how long."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from prometheus_client import CollectorRegistry
from starlette.types import Receive, Scope, Send

from ocelot_api.http.bounds import EdgeBounds
from ocelot_api.http.connection import Connection
from ocelot_api.http.connections import Connections
from ocelot_api.http.listener import Listener, bind
from ocelot_api.http.metrics import EdgeMetrics

Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]
_H = b" HTTP/1.1\r\nHost: x\r\n"


class _Watched(Connection):
    __slots__ = ("__weakref__",)


class Edge:
    """Answers `401` without reading; `/held` waits, `/tick` waits a moment, `/read` reads."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.connections = Connections(
            self,
            EdgeBounds(),
            loop=asyncio.get_running_loop(),
            metrics=EdgeMetrics(CollectorRegistry()),
        )
        self.made: list[weakref.ref[Connection]] = []
        bound = bind("127.0.0.1", 0)
        self.port: int = bound.getsockname()[1]
        self.listener = Listener(bound, self.connections, self._protocol)

    def _protocol(self) -> Connection:
        connection = _Watched(self.connections)
        self.made.append(weakref.ref(connection))
        return connection

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/held":
            await self.release.wait()
        if scope["path"] == "/tick":
            await asyncio.sleep(0.02)
        while scope["path"] == "/read":
            message = await receive()
            if message["type"] == "http.disconnect" or not message["more_body"]:
                break
        headers = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 401, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})

    async def connect(self, data: bytes) -> Client:
        client = await asyncio.open_connection("127.0.0.1", self.port)
        client[1].write(data)
        return client


@asynccontextmanager
async def edge() -> AsyncIterator[Edge]:
    server = Edge()
    try:
        yield server
    finally:
        server.release.set()
        server.listener.close()
        await server.connections.cut()
        server.connections.close()


async def answer(client: Client) -> bytes:
    async with asyncio.timeout(20):
        head = await client[0].readuntil(b"\r\n\r\n")
        await client[0].readexactly(2)
    return head


async def push(client: Client, size: int) -> int:
    """Send up to `size` bytes for as long as the server takes them within a second."""
    sent = 0
    try:
        while sent < size:
            client[1].write(bytes(65536))
            async with asyncio.timeout(1):
                await client[1].drain()
            sent += 65536
    except (TimeoutError, ConnectionError):
        pass
    return sent


async def test_a_trailer_of_an_answered_request_is_bounded() -> None:
    async with edge() as server:
        client = await server.connect(b"POST /x" + _H + b"Transfer-Encoding: chunked\r\n\r\n")
        await answer(client)
        client[1].write(b"0\r\nx: ")
        for _ in range(1_024):  # 16 MiB
            client[1].write(b"a" * 16_384)
            try:
                await client[1].drain()
            except ConnectionError:
                break
        with suppress(ConnectionError):
            async with asyncio.timeout(20):
                assert await client[0].read() == b""


async def test_the_body_of_a_request_that_waits_stays_in_the_kernel() -> None:
    async with edge() as server:
        first = (b"GET /tick" + _H + b"\r\n") * 60 + b"GET /held" + _H + b"\r\n"
        client = await server.connect(
            first + b"POST /x" + _H + b"Content-Length: 1000000000\r\n\r\n"
        )
        for _ in range(60):
            client[1].write(bytes(262_144))
            await answer(client)
        [connection] = server.connections._open
        await push(client, 8 * 2**20)
        held = len(connection._queue[-1]._body)
        print(f"{held:,} bytes held")  # noqa: T201
        assert held <= 2 * 256 * 1024


async def test_headers_of_waiting_requests_are_bounded() -> None:
    async with edge() as server:
        many = b"".join(b"%c%c:\r\n" % (97 + i % 26, 97 + i // 26) for i in range(199))
        client = await server.connect(
            b"GET /held" + _H + b"\r\n" + (b"GET /x" + _H + many + b"\r\n") * 63
        )
        await asyncio.sleep(0.3)
        [connection] = server.connections._open
        held = sum(len(each.scope["headers"]) for each in connection._queue)
        print(f"{held:,} headers held")  # noqa: T201
        assert held <= 1_000
        server.release.set()
        while b"connection: close" not in await answer(client):
            pass


async def test_requests_behind_one_that_waits_stay_in_the_kernel() -> None:
    async with edge() as server:
        client = await server.connect(b"GET /held" + _H + b"\r\n")
        for _ in range(30):
            client[1].write(b"GET /x" + _H + b"\r\n")
            await asyncio.sleep(0.02)  # in segments of their own
        [connection] = server.connections._open
        assert len(connection._queue) < 10  # 2, where no segments were read together
        server.release.set()
        for _ in range(31):
            assert (await answer(client)).startswith(b"HTTP/1.1 401")


async def test_nothing_is_read_behind_a_fault_while_requests_wait() -> None:
    async with edge() as server:
        client = await server.connect(
            b"GET /held" + _H + b"\r\nPOST /x" + _H + b"Transfer-Encoding: chunked\r\n\r\n"
        )
        async with asyncio.timeout(20):
            while not server.connections._open:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            [connection] = server.connections._open
            while len(connection._queue) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            connection.resume_reading()  # as a request that waits for its body does
            client[1].write(b"zz\r\n")
            while connection._transport.is_reading():  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        server.release.set()
        await answer(client)
        assert (await answer(client)).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"GET /x HTTP/1.1\r\n\r\n", id="refused"),
        pytest.param(b"POST /x" + _H + b"Content-Length: 9\r\n\r\na", id="answered early"),
        pytest.param(b"POST /read" + _H + b"Content-Length: 9\r\n\r\na", id="being read"),
        pytest.param(
            b"GET /held" + _H + b"\r\nPOST /x" + _H + b"Content-Length: 9\r\n\r\na", id="waits"
        ),
        pytest.param(
            b"POST /x" + _H + b"Upgrade: a\r\nConnection: upgrade\r\nContent-Length: 9\r\n\r\na",
            id="upgrade",
        ),
    ],
)
async def test_a_closed_connection_is_freed_without_the_collector(sent: bytes) -> None:
    """The collector runs rarely in a service: after 50,000 objects, whatever their size."""
    async with edge() as server:
        gc.collect()
        gc.disable()
        try:
            client = await server.connect(sent)
            await asyncio.sleep(0.2)
            client[1].transport.abort()
            server.release.set()
            async with asyncio.timeout(20):
                while server.connections.count or server.connections.tasks:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            await asyncio.sleep(0.1)
            assert [made() for made in server.made] == [None]
        finally:
            gc.enable()


async def test_a_body_that_was_not_asked_for_ends_the_connection() -> None:
    """A client may leave out what it announced with Expect; its next request is no body."""
    async with edge() as server:
        client = await server.connect(
            b"POST /x" + _H + b"Expect: 100-continue\r\nContent-Length: 70\r\n\r\n"
        )
        assert b"connection: close" in await answer(client)


async def test_a_fault_behind_an_early_answer_gets_no_second_answer() -> None:
    async with edge() as server:
        client = await server.connect(b"POST /x" + _H + b"Transfer-Encoding: chunked\r\n\r\n")
        await answer(client)
        client[1].write(b"ZZ\r\n")
        async with asyncio.timeout(20):
            assert await client[0].read() == b""
