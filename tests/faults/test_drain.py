"""SIGTERM with a delay: whoever sends at least once per delay loses no request.

An orchestrator sends SIGTERM and tells the load balancers at the same time, so requests arrive for
a while. The api accepts them for `OCELOT_SHUTDOWN_DELAY_SEC`, and says with each answer that the
connection ends. A connection that is closed while it is idle may meet a request on its way, which
the client can't repeat unless it knows that nothing was done; so idle connections are closed last.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import pytest_asyncio

from edgekit.nginx import nginx_before
from faultkit.harness import Access, Harness, holds
from faultkit.steady import (
    AiohttpClients,
    Clients,
    HttpxClients,
    JavaClients,
    RequestsClients,
    Sent,
    ThroughNginx,
    figures,
    steady,
)
from ocelot_devstack.services import ServiceProcess

pytestmark = [pytest.mark.mongodb, pytest.mark.sqs, pytest.mark.opensearch]

DELAY_SEC: Final = 5.0
#: The api's grace, and some slack for a shared machine.
DRAIN_SEC: Final = 20.0 + 5.0
#: Of each kind.
CLIENTS: Final = 24
#: Between the signal and the process's answer to it, and the clocks' beginnings.
SLACK_SEC: Final = 1.0


@pytest_asyncio.fixture(loop_scope="session")
async def delaying(faults: Harness) -> AsyncIterator[ServiceProcess]:
    """An api of its own that delays its end."""
    process = await faults.start("api", OCELOT_SHUTDOWN_DELAY_SEC=f"{DELAY_SEC:g}")
    yield process
    await process.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def access(faults: Harness) -> Access:
    return await faults.tenant()


async def all_answered(kinds: list[Clients], times: int) -> float:
    """Wait until every client has written so many events; the time then, since the epoch.

    A busy machine may answer the first of them with 503: the api asks for a new tenant first.
    """

    async def answered() -> bool:
        return all(
            len([1 for each in kind.sent if (each.client, each.outcome) == (client, "202")])
            >= times
            for kind in kinds
            for client in range(kind.number)
        )

    assert await holds(answered, timeout_sec=90), figures(kinds)
    return time.time()


async def drain(
    faults: Harness, access: Access, process: ServiceProcess, kinds: list[Clients]
) -> None:
    """SIGTERM under the clients' requests; none is lost until the delay is over."""
    async with steady(kinds):
        warm = await all_answered(kinds, 2)
        await asyncio.sleep(1.0)
        signalled = time.time()
        stopping = asyncio.create_task(process.stop(DELAY_SEC + DRAIN_SEC))
        assert await stopping, "the api had to be killed"
        took = time.time() - signalled
        await asyncio.sleep(1.0)
    until = signalled + DELAY_SEC - SLACK_SEC
    sent: list[tuple[str, Sent]] = [(kind.name, each) for kind in kinds for each in kind.sent]
    early = [(name, each) for name, each in sent if warm < each.began < until]
    during = [(name, each) for name, each in early if each.began > signalled + SLACK_SEC]
    faults.note(
        f"SIGTERM with a delay of {DELAY_SEC:g} s: exit after {took:.1f} s; "
        f"{len(during)} requests begun within the delay, "
        f"{sum(each.began >= until for _, each in sent)} at its end or later; {figures(kinds)}"
    )
    lost = [(name, each) for name, each in early if each.outcome != "202"]
    assert lost == [], f"{len(lost)} of {len(early)}: {lost[:5]}"
    assert took >= DELAY_SEC - SLACK_SEC
    for kind in kinds:
        late = [each for name, each in during if name == kind.name]
        assert {each.client for each in late} == set(range(kind.number)), kind.name
        if not isinstance(kind, ThroughNginx):
            assert [each for each in late if not each.closing] == [], kind.name
    acknowledged = sum(each.outcome == "202" for _, each in sent)

    async def stored() -> bool:
        # Of a request that was cut at the end nobody knows.
        return await faults.stored_count([access]) >= acknowledged

    assert await holds(stored, timeout_sec=120)


@pytest.mark.parametrize("kind", [HttpxClients, AiohttpClients, RequestsClients])
async def test_clients_of_python_lose_no_request(
    faults: Harness, access: Access, delaying: ServiceProcess, kind: Any
):
    await drain(faults, access, delaying, [kind(delaying.url, access.writer, CLIENTS)])


@pytest.mark.java
async def test_clients_of_java_lose_no_request(
    faults: Harness,
    access: Access,
    delaying: ServiceProcess,
    java_program: str,
    tmp_path: Path,
):
    clients = JavaClients(
        delaying.url, access.writer, CLIENTS, program=java_program, folder=tmp_path
    )
    await drain(faults, access, delaying, [clients])


@pytest.mark.nginx
async def test_clients_behind_nginx_lose_no_request(
    faults: Harness,
    access: Access,
    delaying: ServiceProcess,
    nginx_program: str,
    tmp_path: Path,
):
    async with nginx_before(
        delaying.port, program=nginx_program, folder=tmp_path, keepalive=8
    ) as nginx:
        clients = ThroughNginx(f"http://127.0.0.1:{nginx.port}", access.writer, CLIENTS)
        async with steady([clients]):
            warm = await all_answered([clients], 2)
            signalled = time.time()
            assert await delaying.stop(DELAY_SEC + DRAIN_SEC), "the api had to be killed"
    until = signalled + DELAY_SEC - SLACK_SEC
    early = [each for each in clients.sent if warm < each.began < until]
    faults.note(f"SIGTERM behind nginx, with a delay: {figures([clients])}")
    assert [each for each in early if each.outcome != "202"] == []
    assert len([each for each in early if each.began > signalled]) >= CLIENTS


class Kept:
    """A connection that has had one answer, or none."""

    def __init__(self, access: Access) -> None:
        body = b'{"action":"drain.kept","actor":{"id":"u"}}'
        self.request = (
            f"POST /api/v1/logs HTTP/1.1\r\nHost: ocelot\r\nContent-Type: application/json\r\n"
            f"Authorization: {access.writer['Authorization']}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body

    async def open(self, process: ServiceProcess, *, used: bool) -> "Kept":
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", process.port)
        if used:
            assert (await self.ask()).startswith(b"HTTP/1.1 202 ")
        return self

    async def ask(self) -> bytes:
        """The head of an answer."""
        self.writer.write(self.request)
        async with asyncio.timeout(60):
            head = await self.reader.readuntil(b"\r\n\r\n")
            size = next(
                int(line.partition(b":")[2])
                for line in head.lower().split(b"\r\n")
                if line.startswith(b"content-length:")
            )
            await self.reader.readexactly(size)
        return head


async def test_idle_connections_are_closed_last_and_readiness_ends_first(
    access: Access, delaying: ServiceProcess
):
    """One connection that was used and one that never was; each is used once, late in the delay."""
    used = await Kept(access).open(delaying, used=True)
    fresh = await Kept(access).open(delaying, used=False)
    unused = await Kept(access).open(delaying, used=True)
    loop = asyncio.get_running_loop()
    signalled = loop.time()
    stopping = asyncio.create_task(delaying.stop(DELAY_SEC + DRAIN_SEC))
    url = f"{delaying.probes_url}/readyz"
    causes: dict[str, str] = {}
    async with httpx.AsyncClient(timeout=10, trust_env=False) as http:

        async def not_ready() -> bool:
            answer = await http.get(url)
            causes.update(answer.json()["causes"])
            return answer.status_code == 503

        assert await holds(not_ready, timeout_sec=DELAY_SEC - 2 * SLACK_SEC), causes
        assert "shutting_down" in causes
        # A client that comes now is served.
        answer = await http.post(
            f"{delaying.url}/api/v1/logs",
            json={"action": "drain.new", "actor": {"id": "u"}},
            headers=access.writer,
        )
        assert answer.status_code == 202
        assert answer.headers["connection"].lower() == "close"
    await asyncio.sleep(max(0.0, signalled + DELAY_SEC - 1.5 * SLACK_SEC - loop.time()))
    for kept in (used, fresh):
        head = (await kept.ask()).lower()
        assert head.startswith(b"http/1.1 202 ")
        assert b"connection: close" in head
        async with asyncio.timeout(30):
            assert await kept.reader.read() == b""
    assert await stopping, "the api had to be killed"
    assert loop.time() - signalled >= DELAY_SEC - SLACK_SEC
    assert await unused.reader.read() == b""
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", delaying.port)
    for kept in (used, fresh, unused):
        kept.writer.close()


async def test_a_request_in_the_api_at_the_end_of_the_delay_is_answered(
    faults: Harness, access: Access, delaying: ServiceProcess
):
    """Sends take long enough that the delay ends meanwhile."""
    kept = await Kept(access).open(delaying, used=True)
    loop = asyncio.get_running_loop()
    signalled = loop.time()
    stopping = asyncio.create_task(delaying.stop(DELAY_SEC + DRAIN_SEC))
    faults.proxies["sqs"].delay(0.4)  # each way: the api gives up after seconds
    await asyncio.sleep(DELAY_SEC - 0.5)
    head = (await kept.ask()).lower()
    assert head.startswith(b"http/1.1 202 ")
    assert b"connection: close" in head
    assert loop.time() - signalled >= DELAY_SEC - SLACK_SEC
    faults.proxies["sqs"].delay(0.0)
    assert await stopping, "the api had to be killed"
    kept.writer.close()
