"""Idle connections, however many, leave descriptors for the backends and a place for requests.

An attacker needs no token for them. Beside them a proxy with kept connections continues to send, as
an ingress does: all of its requests are answered. The attacker opens a connection for each that the
api closes.
"""

import asyncio
import resource
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import pytest_asyncio

from edgekit.nginx import nginx_before
from faultkit.connections import accepted_connections, descriptors, idle_connections
from faultkit.harness import Access, Harness, holds
from faultkit.memory import CONNECTION_BYTES, peak_bytes, resident_bytes
from ocelot_devstack.services import ServiceProcess

pytestmark = [
    pytest.mark.mongodb,
    pytest.mark.sqs,
    pytest.mark.opensearch,
    pytest.mark.nginx,
]

#: Descriptors for backends, besides those of connections.
RESERVED = 256
#: What a process has open before anything connects: libraries, logs, the listener, the event loop.
OWN = 64
#: Above the bound, connections that are idle for longer are closed.
IDLE_SEC = 5.0


class Size(NamedTuple):
    """How large an attack is."""

    bound: int
    idle: int
    seconds: float
    env: dict[str, str]


QUICK = Size(64, 300, 20.0, {"OCELOT_MAX_CONNECTIONS": "64"})
LONG = Size(4_096, 20_000, 90.0, {})  # as it ships


class Attacked(NamedTuple):
    """An api of its own, with as many descriptors as its bound asks for and no more."""

    process: ServiceProcess
    size: Size


@pytest_asyncio.fixture(loop_scope="session")
async def attacked(faults: Harness) -> AsyncIterator[Attacked]:
    size = LONG if faults.long else QUICK
    process = await faults.start("api", **size.env)
    allowed = size.bound + RESERVED + OWN
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (allowed, allowed))
    yield Attacked(process, size)
    await process.stop()


class Steady:
    """Sends an event each 100 ms, one after the other, on one connection."""

    def __init__(self, url: str, access: Access) -> None:
        self._url = f"{url}/api/v1/logs"
        self._access = access
        self.answers: Counter[str] = Counter()
        self.slowest_sec = 0.0
        self.ids: list[str] = []

    async def send(self, http: httpx.AsyncClient) -> str:
        event = {"action": "steady", "actor": {"id": "u"}}
        began = time.monotonic()
        try:
            answer = await http.post(self._url, json=event, headers=self._access.writer)
        except httpx.HTTPError as error:
            outcome = type(error).__name__
        else:
            outcome = str(answer.status_code)
            if answer.status_code == 503:
                outcome = f"503 {answer.json()['code']}"
            elif answer.status_code == 202:
                self.ids.append(answer.json()["id"])
        self.slowest_sec = max(self.slowest_sec, time.monotonic() - began)
        self.answers[outcome] += 1
        return outcome

    async def run(self, until: asyncio.Event) -> None:
        async with httpx.AsyncClient(timeout=60, trust_env=False) as http:
            while not until.is_set():
                await self.send(http)
                await asyncio.sleep(0.1)


@pytest.mark.timeout(600)
async def test_a_proxy_gets_every_answer_beside_idle_connections_without_number(
    faults: Harness, attacked: Attacked, nginx_program: str, tmp_path: Path
):
    process, size = attacked
    access = await faults.tenant()
    stop = asyncio.Event()
    most = accepted = 0
    async with nginx_before(process.port, program=nginx_program, folder=tmp_path) as nginx:
        steady = Steady(f"http://127.0.0.1:{nginx.port}", access)
        sending = asyncio.create_task(steady.run(stop))
        assert await holds(_answered(steady), timeout_sec=30)
        async with idle_connections(process.port, size.idle, folder=tmp_path) as attack:

            async def all_there() -> bool:
                now = attack.now()
                return now.open + now.waiting >= size.idle

            assert await holds(all_there, timeout_sec=120), attack.now()
            ends = time.monotonic() + size.seconds
            while time.monotonic() < ends:
                most = max(most, descriptors(process.pid))
                accepted = max(accepted, accepted_connections(process.pid, process.port))
                await asyncio.sleep(0.2)
            idle = attack.now()
            assert attack.running()
            stop.set()
            await sending
        errors = nginx.errors()
    faults.note(
        f"{size.idle:,} idle connections for {size.seconds:g} s at a bound of {size.bound:,}: "
        f"api had {accepted:,} connections and {most:,} descriptors at most, closed "
        f"{idle.closed:,}; behind nginx {dict(steady.answers)}, slowest {steady.slowest_sec:.2f} s"
    )
    assert set(steady.answers) == {"202"}, errors[:3]
    assert accepted <= size.bound
    assert most <= size.bound + RESERVED + OWN
    assert idle.closed > 0, "no idle connection was closed above the bound"

    async def stored() -> bool:
        return await faults.stored_count([access]) == len(steady.ids)

    assert await holds(stored, timeout_sec=120)


@pytest.mark.timeout(300)
async def test_a_proxy_that_comes_late_waits_its_turn_and_is_answered(
    faults: Harness, attacked: Attacked, nginx_program: str, tmp_path: Path
):
    """Its connection waits behind the idle ones; those leave as they have been idle for 5 s."""
    process, size = attacked
    if faults.long:
        pytest.skip(
            "the listener's queue is smaller than 20,000: its turn would be a matter of luck"
        )
    access = await faults.tenant()
    async with nginx_before(process.port, program=nginx_program, folder=tmp_path) as nginx:
        late = Steady(f"http://127.0.0.1:{nginx.port}", access)
        # nginx keeps the connection of its own readiness probe: it is idle, and closed in its turn.
        async with idle_connections(process.port, size.idle, folder=tmp_path) as attack:

            async def full() -> bool:
                now = attack.now()
                return now.open + now.waiting >= size.idle and now.closed > 0

            assert await holds(full, timeout_sec=120), attack.now()
            began = time.monotonic()
            async with httpx.AsyncClient(timeout=120, trust_env=False) as http:
                outcomes = [await late.send(http) for _ in range(5)]
            took = time.monotonic() - began
        errors = nginx.errors()
    turns = size.idle / size.bound
    faults.note(f"a proxy that comes late waited {took:.1f} s; {turns:.0f} turns of {IDLE_SEC:g} s")
    assert outcomes == ["202"] * 5, errors[:3]
    assert took <= 6 * (turns + 1) * IDLE_SEC


async def test_a_connection_that_is_used_is_not_closed_for_idle_ones(
    faults: Harness, attacked: Attacked, tmp_path: Path
):
    """Directly, without a proxy: requests 2 s apart on one connection, for longer than 5 s."""
    process, size = attacked
    access = await faults.tenant()
    reader, writer = await asyncio.open_connection("127.0.0.1", process.port)
    sent = (
        f"GET /api/v1/logs?limit=1 HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: {access.reader['Authorization']}\r\n\r\n"
    ).encode()
    async with idle_connections(process.port, size.idle, folder=tmp_path) as attack:
        for _ in range(6):
            writer.write(sent)
            async with asyncio.timeout(60):
                answer = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(_content_length(answer))
            assert answer.startswith(b"HTTP/1.1 200 ")
            await asyncio.sleep(2)
        assert attack.now().closed > 0
    writer.close()


@pytest.mark.parametrize("kind", ["fresh", "after a write"])
async def test_an_idle_connection_costs_no_more_memory_than_is_promised(faults: Harness, kind: str):
    """Fresh connections are closed after 10 s, so all of them are opened and measured before."""
    number = 4_000 if faults.long else 1_000
    access = await faults.tenant()
    body = b'{"action":"idle","actor":{"id":"u"}}'
    sent = (
        f"POST /api/v1/logs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Authorization: {access.writer['Authorization']}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    process = await faults.start("api")
    before = resident_bytes(process.pid)
    statuses: Counter[bytes] = Counter()
    opened: list[socket.socket] = []

    def use() -> None:
        address = ("127.0.0.1", process.port)
        opened.extend(socket.create_connection(address, timeout=60) for _ in range(number))
        if kind == "fresh":
            return
        for first in range(0, number, 50):
            part = opened[first : first + 50]
            for each in part:
                each.sendall(sent)
            for each in part:
                statuses[each.recv(65_536)[:12]] += 1

    try:
        await asyncio.to_thread(use)

        async def accepted() -> bool:
            return accepted_connections(process.pid, process.port) == number

        assert await holds(accepted, timeout_sec=8, every_sec=0.5), "some were closed meanwhile"
        each_bytes = (peak_bytes(process.pid) - before) / number
    finally:
        for connection in opened:
            connection.close()
        await process.stop()
    faults.note(f"{number:,} connections, {kind}: {each_bytes / 1024:.1f} KiB each")
    assert statuses == ({} if kind == "fresh" else {b"HTTP/1.1 202": number})
    assert each_bytes <= CONNECTION_BYTES


def _content_length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    raise AssertionError(head)


def _answered(steady: Steady) -> Any:
    async def answered() -> bool:
        return steady.answers["202"] >= 3

    return answered
