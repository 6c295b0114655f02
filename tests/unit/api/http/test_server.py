"""The server as a process: what it uses of uvicorn, its start, and its end."""

import asyncio
import json
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from ocelot_api.http import server
from ocelot_api.http.server import RESERVED_DESCRIPTORS, EdgeServer

PROGRAM = """
import json, sys
from prometheus_client import CollectorRegistry
from ocelot_api.http.bounds import EdgeBounds
from ocelot_api.http.metrics import EdgeMetrics
from ocelot_api.http.server import EdgeServer
from ocelot_common.probes import ProcessReadiness

readiness = ProcessReadiness()

def say(event):
    print(json.dumps([event, sorted(readiness())]), flush=True)

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            say(message["type"])
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    say(scope["path"])
    headers = [(b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body"})

EdgeServer(
    app, host="127.0.0.1", port=int(sys.argv[1]), bounds=EdgeBounds(),
    shutdown_delay_sec=float(sys.argv[2]), readiness=readiness,
    metrics=EdgeMetrics(CollectorRegistry()),
).run()
"""
GET = b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n"


class Running:
    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process = process
        self.port = port

    async def said(self) -> list[object]:
        """The next line that the process prints."""
        assert self.process.stdout is not None
        async with asyncio.timeout(60):
            while not (line := await self.process.stdout.readline()).startswith(b'["'):
                assert line, "the process ended"  # others are log lines
        said: list[object] = json.loads(line)
        return said

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with asyncio.timeout(60):
            while True:
                try:
                    return await asyncio.open_connection("127.0.0.1", self.port)
                except ConnectionRefusedError:
                    await asyncio.sleep(0.05)


@asynccontextmanager
async def running(*, delay_sec: float = 0.0) -> AsyncIterator[Running]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, str(port), str(delay_sec), stdout=asyncio.subprocess.PIPE
    )
    try:
        yield Running(process, port)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def ask(client: tuple[asyncio.StreamReader, asyncio.StreamWriter], path: bytes) -> bytes:
    client[1].write(GET % path)
    async with asyncio.timeout(60):
        return await client[0].readuntil(b"\r\n\r\n")


async def test_the_application_starts_before_clients_connect_and_ends_after_the_drain():
    async with running(delay_sec=3.0) as api:
        assert await api.said() == ["lifespan.startup", ["starting"]]
        first, idle = await api.connect(), await api.connect()
        assert b"connection" not in await ask(first, b"before")
        assert await api.said() == ["/before", []]
        api.process.send_signal(signal.SIGTERM)
        while b"connection: close" not in (head := await ask(first, b"drain")):
            assert await api.said() == ["/drain", []]  # before the signal is noticed
            assert head
        assert await api.said() == ["/drain", ["shutting_down"]]
        late = await api.connect()
        assert b"connection: close" in await ask(late, b"late")
        assert await api.said() == ["/late", ["shutting_down"]]
        async with asyncio.timeout(60):
            assert await idle[0].read() == b""
        assert await api.said() == ["lifespan.shutdown", ["shutting_down"]]
        assert await api.process.wait() in {0, -signal.SIGTERM}


async def test_a_port_that_is_taken_is_told_in_one_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PROGRAM, str(port), "0", stderr=asyncio.subprocess.PIPE
        )
        _, errors = await process.communicate()
    assert process.returncode == 1
    assert errors.decode().strip().startswith(f"cannot listen on 127.0.0.1:{port}: ")


def test_what_is_overridden_of_uvicorn_is_public_and_there():
    for name in ("startup", "shutdown"):
        assert getattr(EdgeServer, name) is not getattr(EdgeServer.__mro__[1], name)
    assert EdgeServer.__mro__[1].__module__ == "uvicorn.server"
    private = {name for name in vars(EdgeServer) if name.startswith("_") and name[1] != "_"}
    assert not private & set(dir(EdgeServer.__mro__[1])), "a private part of uvicorn's is hidden"


@pytest.mark.parametrize(
    ("soft", "hard", "allowed"), [(8_192, 8_192, 4_096), (1_024, 2_000, 1_744)]
)
def test_connections_leave_descriptors_for_the_backends(
    soft: int, hard: int, allowed: int, monkeypatch: pytest.MonkeyPatch
):
    limits = [(soft, hard)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, given: limits.append(given))
    assert server._affordable(4_096) == allowed
    assert limits[-1][0] >= allowed + RESERVED_DESCRIPTORS


def test_too_few_open_files_are_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (200, 200))
    monkeypatch.setattr(resource, "setrlimit", lambda _, given: None)
    with pytest.raises(SystemExit, match="ulimit -n"):
        server._affordable(4_096)
