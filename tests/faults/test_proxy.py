"""The proxy itself: a fault that does not happen proves nothing."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from faultkit.proxy import Direction, Proxy


@pytest_asyncio.fixture(loop_scope="session")
async def echo() -> AsyncIterator[tuple[Proxy, list[bytes]]]:
    """A proxy before a server that gives back what it gets, and what that server got."""
    got: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(1_000):
            got.append(chunk)
            writer.write(chunk)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with Proxy(f"{host}:{port}") as proxy:
        yield proxy, got
    server.close()


async def connect(proxy: Proxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = proxy.address.partition(":")
    return await asyncio.open_connection(host, int(port))


async def answer(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(60):
        return await reader.read(1_000)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not true():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.02)


async def test_it_passes_on_and_delays(echo: tuple[Proxy, list[bytes]]):
    proxy, _ = echo
    reader, writer = await connect(proxy)
    writer.write(b"one")
    assert await answer(reader) == b"one"
    proxy.delay(0.2)
    began = time.monotonic()
    writer.write(b"two")
    assert await answer(reader) == b"two"
    assert time.monotonic() - began >= 0.39
    writer.close()


async def test_what_goes_into_the_hole_arrives_when_it_heals(echo: tuple[Proxy, list[bytes]]):
    proxy, got = echo
    reader, writer = await connect(proxy)
    proxy.blackhole()
    writer.write(b"late")
    late_reader, late_writer = await connect(proxy)
    late_writer.write(b"later")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await reader.read(1)
    assert got == []
    await proxy.heal()
    assert await answer(reader) == b"late"
    assert await answer(late_reader) == b"later"
    writer.close()
    late_writer.close()


async def test_the_answer_alone_can_vanish(echo: tuple[Proxy, list[bytes]]):
    proxy, got = echo
    reader, writer = await connect(proxy)
    proxy.blackhole(Direction.TO_CLIENT)
    writer.write(b"arrives")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await reader.read(1)
    await until(lambda: got == [b"arrives"])
    writer.close()


async def test_a_cut_resets_what_is_open_and_serves_what_is_new(echo: tuple[Proxy, list[bytes]]):
    proxy, _ = echo
    reader, writer = await connect(proxy)
    writer.write(b"one")
    await answer(reader)
    assert proxy.cut() == 1
    with pytest.raises(ConnectionResetError):
        await answer(reader)
    reader, writer = await connect(proxy)
    writer.write(b"two")
    assert await answer(reader) == b"two"
    writer.close()


async def test_a_half_closed_client_sees_the_end_and_is_still_heard(
    echo: tuple[Proxy, list[bytes]],
):
    proxy, got = echo
    reader, writer = await connect(proxy)
    writer.write(b"one")
    await answer(reader)
    assert proxy.half_close() == 1
    assert await answer(reader) == b""
    writer.write(b"two")
    await until(lambda: got == [b"one", b"two"])
    writer.close()


async def test_it_refuses_connections_and_comes_back_under_the_same_address(
    echo: tuple[Proxy, list[bytes]],
):
    proxy, _ = echo
    reader, writer = await connect(proxy)
    address = proxy.address
    await proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        await connect(proxy)
    await proxy.heal()
    assert proxy.address == address
    reader, writer = await connect(proxy)
    writer.write(b"back")
    assert await answer(reader) == b"back"
    writer.close()
