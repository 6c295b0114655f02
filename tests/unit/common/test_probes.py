import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Counter

from ocelot_common.build_info import BuildInfo
from ocelot_common.probes import MAX_CONNECTIONS, ProcessReadiness, serve_probes

BUILD = BuildInfo("api", "1.2.3", "3.11.2")
GET = b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@asynccontextmanager
async def on_a_port(**changes: Any) -> AsyncIterator[int]:
    port = free_port()
    arguments: dict[str, Any] = {"readiness": dict, "registry": CollectorRegistry()}
    async with serve_probes(host="127.0.0.1", port=port, build=BUILD, **(arguments | changes)):
        yield port


@asynccontextmanager
async def serving(
    causes: dict[str, str], registry: CollectorRegistry | None = None
) -> AsyncIterator[aiohttp.ClientSession]:
    async with (
        on_a_port(readiness=lambda: causes, registry=registry or CollectorRegistry()) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
    ):
        yield session


async def exchange(port: int, sent: bytes) -> bytes:
    """Everything that comes back until the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = b""
    with suppress(ConnectionError):
        writer.write(sent)
        await writer.drain()
        async with asyncio.timeout(20):
            while piece := await reader.read(65_536):
                answer += piece
    writer.close()
    return answer


async def test_a_process_is_ready_while_no_cause_speaks_against_it() -> None:
    causes: dict[str, str] = {}
    async with serving(causes) as http:
        async with http.get("/readyz") as answer:
            assert answer.status == 200
            assert await answer.json() == {"status": "ready", "causes": {}}
        causes["mongodb"] = "AutoReconnect: away"
        async with http.get("/readyz") as answer:
            assert answer.status == 503
            assert await answer.json() == {"status": "unavailable", "causes": causes}


async def test_a_process_that_is_not_ready_is_alive() -> None:
    async with serving({"mongodb": "away"}) as http, http.get("/healthz") as answer:
        assert answer.status == 200
        assert await answer.json() == {"status": "ok"}


async def test_metrics_are_those_of_the_registry() -> None:
    registry = CollectorRegistry()
    Counter("ocelot_things", "Things", registry=registry).inc(3)
    async with serving({}, registry) as http, http.get("/metrics") as answer:
        assert answer.content_type == "text/plain"
        assert "ocelot_things_total 3.0" in await answer.text()


async def test_a_taken_port_is_an_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        probes = serve_probes(
            host="127.0.0.1",
            port=taken.getsockname()[1],
            readiness=dict,
            registry=CollectorRegistry(),
            build=BUILD,
        )
        with pytest.raises(OSError, match="in use"):
            await probes.__aenter__()


async def test_the_build_is_told_as_json_and_as_a_metric() -> None:
    registry = CollectorRegistry()
    async with serving({}, registry) as http:
        async with http.get("/version") as answer:
            assert await answer.json() == {
                "service": "api",
                "version": "1.2.3",
                "python": "3.11.2",
            }
        async with http.get("/metrics") as answer:
            text = await answer.text()
    assert 'ocelot_build_info{python="3.11.2",service="api",version="1.2.3"} 1.0' in text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PURGE"])
async def test_other_methods_are_refused(method: str) -> None:
    async with serving({}) as http, http.request(method, "/metrics", data=b"x") as answer:
        assert answer.status == 405
        assert answer.headers["Allow"] == "GET"


@pytest.mark.parametrize("path", ["/", "/api/v1/logs", "/healthz/", "/metrics/x"])
async def test_nothing_else_is_served(path: str) -> None:
    async with serving({}) as http, http.get(path) as answer:
        assert answer.status == 404


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/version", "/x"])
async def test_no_answer_may_be_kept_or_interpreted(path: str) -> None:
    async with serving({}) as http, http.get(path) as answer:
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_a_readiness_that_raises_is_500_and_the_process_goes_on() -> None:
    def broken() -> dict[str, str]:
        raise ValueError("broken")

    async with on_a_port(readiness=broken) as port:
        assert (await exchange(port, GET % b"/readyz")).startswith(b"HTTP/1.1 500 ")
        assert (await exchange(port, GET % b"/healthz")).startswith(b"HTTP/1.1 200 ")


class TestReadiness:
    """What a process adds to, and a probe asks."""

    def test_a_process_is_ready_without_causes(self) -> None:
        assert ProcessReadiness()() == {}

    def test_a_cause_holds_until_it_is_released(self) -> None:
        readiness = ProcessReadiness()
        readiness.hold("shutting_down", "the process ends")
        readiness.hold("starting", "the process starts")
        readiness.release("starting")
        assert readiness() == {"shutting_down": "the process ends"}
        readiness.release("shutting_down")
        readiness.release("unheard_of")
        assert readiness() == {}

    def test_a_check_is_asked_each_time(self) -> None:
        reasons: list[str | None] = [None, "away", None]
        readiness = ProcessReadiness()
        readiness.add_check("registry", lambda: reasons.pop(0))
        assert [readiness(), readiness(), readiness()] == [{}, {"registry": "away"}, {}]


class TestHostileClients:
    """The port must answer the kubelet whatever others do to it."""

    async def test_a_silent_connection_is_closed(self) -> None:
        async with on_a_port(connection_sec=0.2) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert await asyncio.wait_for(reader.read(), 20) == b""
            writer.close()

    async def test_a_head_that_never_ends_is_cut(self) -> None:
        async with on_a_port(connection_sec=0.3) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /healthz HTTP/1.1\r\n")
            with suppress(ConnectionError):
                async with asyncio.timeout(20):
                    while not reader.at_eof():
                        writer.write(b"a: b\r\n")
                        await asyncio.sleep(0.05)
                        with suppress(TimeoutError):
                            await asyncio.wait_for(reader.read(100), 0.01)
            assert reader.at_eof() or reader.exception()
            writer.close()

    async def test_a_connection_serves_one_request(self) -> None:
        async with on_a_port() as port:
            answer = await exchange(port, (GET % b"/healthz") * 3)
        assert answer.count(b"HTTP/1.1 ") == 1
        assert b"Connection: close" in answer

    @pytest.mark.parametrize(
        "head",
        [
            b"GET /healthz HTTP/1.1\r\nHost: x\r\na: %b\r\n\r\n" % (b"x" * 10_000),
            b"GET /healthz HTTP/1.1\r\nHost: x\r\na: %b" % (b"x" * 1_000_000),
            b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n" % (b"x" * 10_000),
            b"GET /healthz HTTP/1.1\r\nHost: x\r\n%b\r\n" % (b"a: b\r\n" * 1_000),
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 10,
        ],
        ids=["header", "endless header", "request line", "number of headers", "TLS"],
    )
    async def test_a_head_that_is_too_large_or_no_http_is_refused_and_not_logged(
        self, head: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with on_a_port() as port:
            answer = await exchange(port, head)
            assert answer == b"" or answer.startswith(b"HTTP/1.0 400 ")
            assert (await exchange(port, GET % b"/healthz")).startswith(b"HTTP/1.1 200 ")
        assert caplog.records == [], "a stranger could fill the log with tracebacks"

    async def test_probes_are_answered_while_others_hold_every_connection_they_can(self) -> None:
        async with on_a_port() as port:
            held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(200)]
            for _, writer in held:
                writer.write(b"GET /healthz HTTP/1.1\r\n")
            for _ in range(3):
                answer = await asyncio.wait_for(exchange(port, GET % b"/healthz"), 10)
                assert answer.startswith(b"HTTP/1.1 200 ")
            closed = 0
            for reader, _ in held:
                with suppress(ConnectionError, TimeoutError):
                    await asyncio.wait_for(reader.read(1), 0.02)
                closed += reader.at_eof() or reader.exception() is not None
            assert closed >= 200 - MAX_CONNECTIONS
            for _, writer in held:
                writer.close()
