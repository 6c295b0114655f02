import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Counter

from ocelot_common.probes import serve_probes


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@asynccontextmanager
async def serving(
    causes: dict[str, str], registry: CollectorRegistry | None = None
) -> AsyncIterator[aiohttp.ClientSession]:
    port = free_port()
    async with (
        serve_probes(
            host="127.0.0.1",
            port=port,
            readiness=lambda: causes,
            registry=registry or CollectorRegistry(),
        ),
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
    ):
        yield session


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
        )
        with pytest.raises(OSError, match="in use"):
            await probes.__aenter__()
