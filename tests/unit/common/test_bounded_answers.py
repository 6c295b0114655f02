"""Answers of OpenSearch's are read in bounds; a server of its own says what no real one does."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from opensearchpy import AsyncOpenSearch
from opensearchpy.exceptions import ConnectionError as OpenSearchConnectionError
from opensearchpy.exceptions import TransportError

from ocelot_common import opensearch
from ocelot_common.opensearch import AnswerTooLargeError, connect, counting

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
Say = Callable[[asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opensearch, "MAX_ANSWER_BYTES", 1_000_000)


class Server:
    """Answers every request alike and counts its connections."""

    def __init__(self, say: Say) -> None:
        self.say = say
        self.connections = 0
        self.sent = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                await self.say(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


@asynccontextmanager
async def served(say: Say) -> AsyncIterator[tuple[AsyncOpenSearch, Server]]:
    server = Server(say)
    listening = await asyncio.start_server(server, "127.0.0.1", 0)
    host, port = listening.sockets[0].getsockname()
    client = connect(f"http://{host}:{port}", raw_answers=True, bounded=True, timeout_sec=10)
    yield client, server
    await client.close()
    listening.close()


def whole(body: bytes, head: bytes = HEAD) -> Say:
    async def say(writer: asyncio.StreamWriter) -> None:
        writer.write(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()

    return say


async def get(client: AsyncOpenSearch) -> Any:
    return await client.transport.perform_request("GET", "/")


async def test_an_answer_comes_as_its_bytes_and_its_connection_is_used_again():
    body = '{"a":1e300,"f":"🦊"}'.encode()
    async with served(whole(body)) as (client, server):
        assert [bytes(await get(client)) for _ in range(3)] == [body] * 3
        assert server.connections == 1


async def test_an_answer_of_exactly_the_limit_is_read():
    async with served(whole(b"x" * 1_000_000)) as (client, _):
        assert len(await get(client)) == 1_000_000


async def test_a_larger_answer_that_says_so_is_not_read():
    async def say(writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"Content-Length: 5000000\r\n\r\n")  # and nothing more

    async with served(say) as (client, _):
        with pytest.raises(AnswerTooLargeError) as caught:
            await asyncio.wait_for(get(client), 5)
        assert caught.value.size == 5_000_000


async def test_an_answer_without_a_length_is_read_up_to_the_limit():
    sent = 0

    async def say(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"186a0\r\n" + b"x" * 100_000 + b"\r\n")
            sent += 100_000
            await writer.drain()

    counted: list[int] = []
    async with served(say) as (client, _):
        with counting(counted.append), pytest.raises(AnswerTooLargeError):
            await asyncio.wait_for(get(client), 30)
    assert sum(counted) == 1_000_001
    assert sent < 20_000_000, "the connection was left open"


async def test_what_counting_raises_ends_the_request():
    def refuse(size: int) -> None:
        raise KeyError(size)

    async with served(whole(b"x" * 500_000)) as (client, _):
        with counting(refuse), pytest.raises(KeyError):
            await get(client)
        assert len(await get(client)) == 500_000, "only within the context"


async def test_an_errors_text_is_cut_and_its_type_is_known():
    error = b'{"error":{"type":"index_not_found_exception"},"status":404}'
    head = b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\n"
    async with served(whole(error, head)) as (client, _):
        with pytest.raises(TransportError) as caught:
            await get(client)
        assert caught.value.status_code == 404
        assert opensearch.error_type(caught.value) == "index_not_found_exception"
    async with served(whole(b"<" * 5_000_000, head.replace(b"404", b"502"))) as (client, _):
        with pytest.raises(TransportError) as caught:
            await get(client)
        assert len(str(caught.value.error)) <= 65_536


async def test_an_answer_that_is_cut_short_is_a_connections_error():
    async def say(writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"Content-Length: 1000\r\n\r\n" + b"x" * 500)
        await writer.drain()
        writer.close()

    async with served(say) as (client, _):
        with pytest.raises(OpenSearchConnectionError):
            await get(client)
