"""The number of connections, their end, and who is closed to make room."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from prometheus_client import CollectorRegistry
from starlette.types import Receive, Scope, Send

from ocelot_api.http.bounds import EdgeBounds
from ocelot_api.http.connection import Connection
from ocelot_api.http.connections import Connections
from ocelot_api.http.listener import Listener, bind
from ocelot_api.http.metrics import EdgeMetrics
from ocelot_api.middleware import DRAINING

GET = b"GET /first HTTP/1.1\r\nHost: x\r\n\r\n"
Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class App:
    """Answers `200`; `/held` waits until it is released, `/large` answers 30 MB."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.scopes: list[Scope] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        if scope["path"] == "/held":
            await self.release.wait()
        size = 30_000_000 if scope["path"] == "/large" else 2
        headers = [(b"content-length", b"%d" % size)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": bytes(size)})


class Edge:
    """A listener with its connections."""

    def __init__(self, **bounds: float) -> None:
        self.app = App()
        loop = asyncio.get_running_loop()
        self.registry = CollectorRegistry()
        self.connections = Connections(
            self.app,
            EdgeBounds(**bounds),  # type: ignore[arg-type]
            loop=loop,
            metrics=EdgeMetrics(self.registry),
        )
        bound = bind("127.0.0.1", 0)
        self.port: int = bound.getsockname()[1]
        self.listener = Listener(bound, self.connections, lambda: Connection(self.connections))
        self._clients: list[asyncio.StreamWriter] = []

    async def connect(self, first: bytes = b"") -> Client:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=2**16)
        self._clients.append(writer)
        if first:
            writer.write(first)
        return reader, writer

    def metric(self, name: str) -> float | None:
        return self.registry.get_sample_value(name)

    async def close(self) -> None:
        for writer in self._clients:
            writer.transport.abort()
        self.listener.close()
        await self.connections.cut()
        self.connections.close()


@asynccontextmanager
async def edge(**bounds: float) -> AsyncIterator[Edge]:
    made = Edge(**bounds)
    try:
        yield made
    finally:
        await made.close()


async def until(true: Callable[[], bool], *, timeout_sec: float = 20) -> None:
    async with asyncio.timeout(timeout_sec):
        while not true():  # noqa: ASYNC110 - from outside
            await asyncio.sleep(0.01)


async def answer(client: Client) -> bytes:
    async with asyncio.timeout(20):
        head = await client[0].readuntil(b"\r\n\r\n")
        await client[0].readexactly(2)
    return head


async def test_beyond_the_limit_connections_wait_until_there_is_room():
    async with edge(max_connections=3, evict_idle_sec=1e9) as server:
        held = [await server.connect(GET.replace(b"/first", b"/held")) for _ in range(3)]
        await until(lambda: len(server.app.scopes) == 3)
        waiting = await server.connect(GET)  # by the kernel
        await asyncio.sleep(0.3)
        assert server.connections.count == 3
        assert len(server.app.scopes) == 3
        server.app.release.set()
        for client in held:
            await answer(client)
        held[0][1].close()
        assert (await answer(waiting)).startswith(b"HTTP/1.1 200")


async def test_at_the_limit_the_longest_idle_is_closed_and_nobody_who_is_answered():
    async with edge(max_connections=4, evict_idle_sec=0.3) as server:
        busy = await server.connect(GET.replace(b"/first", b"/held"))
        await until(lambda: len(server.app.scopes) == 1)
        idle = [await server.connect(GET) for _ in range(3)]
        for client in idle:
            await answer(client)
        await asyncio.sleep(0.6)
        for client in idle[1:]:  # not idle for long any more
            client[1].write(GET)
            await answer(client)
        newcomer = await server.connect(GET)
        assert (await answer(newcomer)).startswith(b"HTTP/1.1 200")
        assert await idle[0][0].read() == b""
        assert server.metric("ocelot_api_connections") == 4
        assert server.metric("ocelot_api_connections_limit") == 4
        assert server.metric("ocelot_api_connections_evicted_total") == 1
        for client in idle[1:]:
            client[1].write(GET)
            await answer(client)
        server.app.release.set()
        assert (await answer(busy)).startswith(b"HTTP/1.1 200")


async def test_a_request_that_has_just_arrived_saves_its_connection():
    async with edge(keep_alive_sec=0.1) as server:
        client = await server.connect(GET)
        await answer(client)
        [connection] = server.connections._open
        connection.pause_reading()  # as if the loop had not come to read yet
        client[1].write(GET)
        await asyncio.sleep(1.0)
        connection.close_idle()
        connection.resume_reading()
        assert (await answer(client)).startswith(b"HTTP/1.1 200")


async def test_a_flood_of_idle_connections_does_not_keep_others_out():
    async with edge(max_connections=64, evict_idle_sec=0.2, head_timeout_sec=60) as server:
        flood = [asyncio.create_task(server.connect()) for _ in range(500)]
        steady = await server.connect(GET)
        await answer(steady)
        for _ in range(20):
            newcomer = await server.connect(GET)
            assert (await answer(newcomer)).startswith(b"HTTP/1.1 200")
            newcomer[1].close()
        await asyncio.gather(*flood, return_exceptions=True)
        assert server.connections.count <= 64


async def test_clients_that_hardly_read_their_answers_do_not_keep_others_out():
    """Each takes a little every moment, so none is stalled."""
    async with edge(max_connections=4, evict_idle_sec=0.5, stalled_sec=600) as server:
        held = [raw_client(server.port) for _ in range(4)]
        for client in held:
            client.sendall(GET.replace(b"/first", b"/large"))
        await until(lambda: len(server.app.scopes) == 4)

        async def sip() -> None:
            while True:
                for client in held:
                    with suppress(BlockingIOError, ConnectionError):
                        client.recv(200)
                await asyncio.sleep(0.1)

        sipping = asyncio.create_task(sip())
        newcomer = await server.connect(GET)
        assert (await answer(newcomer)).startswith(b"HTTP/1.1 200")
        sipping.cancel()
        for client in held:
            client.close()


def raw_client(port: int) -> socket.socket:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    client.connect(("127.0.0.1", port))
    client.setblocking(False)
    return client


async def test_no_answer_of_a_drain_is_lost_and_idle_connections_are_closed_last():
    async with edge() as server:
        idle = [await server.connect(GET) for _ in range(5)]
        for client in idle:
            await answer(client)
        held = await server.connect(GET.replace(b"/first", b"/held"))
        await until(lambda: len(server.app.scopes) == 6)
        server.connections.draining = True
        for client in idle[:3]:
            client[1].write(GET)
            assert b"connection: close" in await answer(client)
            assert await client[0].read() == b""
        newcomer = await server.connect(GET)
        assert b"connection: close" in await answer(newcomer)
        assert not idle[4][0].at_eof()
        # The end of the delay.
        idle[3][1].write(GET)  # crosses it
        await asyncio.sleep(0.1)
        server.listener.close()
        server.connections.drain()
        assert b"connection: close" in await answer(idle[3])
        assert await idle[4][0].read() == b""
        assert server.app.scopes[5]["state"][DRAINING]
        server.app.release.set()
        assert b"connection: close" in await answer(held)
        async with asyncio.timeout(10):
            await server.connections.ended()


async def test_pipelined_requests_are_all_answered_in_a_drain():
    async with edge() as server:
        client = await server.connect(GET.replace(b"/first", b"/held") + GET + GET)
        await until(lambda: len(server.app.scopes) == 1)
        server.connections.draining = True
        server.app.release.set()
        heads = [await answer(client) for _ in range(3)]
        assert [b"connection: close" in head for head in heads] == [False, False, True]


async def test_a_connection_in_the_kernels_backlog_is_served_when_listening_ends():
    async with edge() as server:
        server.listener._pause()
        clients = [await server.connect(GET) for _ in range(3)]
        server.listener.close()
        for client in clients:
            assert (await answer(client)).startswith(b"HTTP/1.1 200")
        with pytest.raises(ConnectionError):
            await server.connect()


async def test_a_client_that_reads_slowly_and_steadily_is_not_cut_off():
    """The transport's buffer may not shrink for long: the kernel's is read first.

    A receiving kernel tells the sender of room only once a sixteenth of its buffer is free. At the
    default of 6 MiB a client at 37 KB/s does so every 11 s of the 30 that it may pause.
    """
    async with edge(stalled_sec=3.0) as server:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, ("127.0.0.1", server.port))
        await loop.sock_sendall(client, GET.replace(b"/first", b"/large"))
        size = 0
        with client:
            ends_at = loop.time() + 10
            while loop.time() < ends_at:
                size += len(await loop.sock_recv(client, 15_000))
                await asyncio.sleep(0.4)
            assert server.connections.count == 1
            async with asyncio.timeout(60):
                while part := await loop.sock_recv(client, 1_000_000):
                    size += len(part)
                    if size > 30_000_000:
                        break
        assert size > 30_000_000
