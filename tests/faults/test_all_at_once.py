"""Idle sockets, unread searches and slow exports of one tenant at once: another tenant is served.

Each attack has a test of its own (`test_connections.py`, `test_readers.py`). Here they come
together, because each takes something that the others need: connections, descriptors, slots for
searches and exports, the budget of answers, and the event loop's time.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx
import pytest

from faultkit.connections import accepted_connections, idle_connections
from faultkit.harness import Access, Harness, holds
from faultkit.memory import allowed_growth, growth_of
from faultkit.readers import UnreadAnswer
from ocelot_devstack.services import ServiceProcess

pytestmark = [pytest.mark.mongodb, pytest.mark.sqs, pytest.mark.opensearch]

_MIB: Final = 1024 * 1024
LOGS: Final = "/api/v1/logs"
EXPORT: Final = "/api/v1/logs/export"
#: One tenant may hold half of OCELOT_MAX_EXPORTS, which is 8.
EXPORTS: Final = 4
BODIES: Final = 8 * _MIB
ANSWERS: Final = 128 * _MIB
#: What the attacker's exports read, per second: enough not to be cut off where room is needed.
SLOW_BYTES: Final = 16 * 1024
#: The attacker asks again for what was refused, and for what it has left unread for so long; the
#: api has cut that by then.
REFUSED_SEC: Final = 10.0
HELD_SEC: Final = 35.0
#: Searches that it asks for together. More of them would fetch large events from OpenSearch at the
#: same time, which is a load on OpenSearch and not on the api.
AT_ONCE: Final = 6


class Size(NamedTuple):
    """How large the attacks are."""

    bound: int
    sockets: int
    per_process: int
    searches: int
    seconds: float


QUICK = Size(bound=128, sockets=600, per_process=150, searches=12, seconds=12.0)
LONG = Size(bound=4_096, sockets=20_000, per_process=4_000, searches=60, seconds=90.0)


class Attacker:
    """One tenant's searches that nobody reads, and its exports that are read slowly.

    Attributes:
        answers: by what was asked and the status; `waited`: it did not come within 30 s.
    """

    def __init__(self, api: ServiceProcess, access: Access, searches: int) -> None:
        self._api = api
        self._access = access
        self._searches = searches
        self._turn = asyncio.Semaphore(AT_ONCE)
        self.answers: Counter[str] = Counter()

    async def run(self) -> None:
        """Hold all of them, and ask again for each that ends, until cancelled."""
        held = [self._hold("export", self._read_slowly) for _ in range(EXPORTS)]
        held += [self._hold("search", self._leave_unread) for _ in range(self._searches)]
        await asyncio.gather(*held)

    async def _hold(self, what: str, read: Callable[[UnreadAnswer], Awaitable[None]]) -> None:
        while True:
            try:
                async with self._turn, asyncio.timeout(30):
                    answer = await self._ask(what)
            except TimeoutError:
                self.answers[f"{what} waited"] += 1
                continue
            except OSError as error:
                self.answers[f"{what} {type(error).__name__}"] += 1
                await asyncio.sleep(0.5)
                continue
            self.answers[f"{what} {answer.status}"] += 1
            try:
                if answer.status == 200:
                    await read(answer)
            finally:
                answer.close()
            if answer.status != 200:
                await asyncio.sleep(REFUSED_SEC)

    async def _ask(self, what: str) -> UnreadAnswer:
        if what == "export":
            return await UnreadAnswer.get(self._api, EXPORT, self._access.auditor)
        return await UnreadAnswer.get(self._api, LOGS, self._access.reader, limit="1000")

    async def _leave_unread(self, answer: UnreadAnswer) -> None:
        del answer
        await asyncio.sleep(HELD_SEC)

    async def _read_slowly(self, answer: UnreadAnswer) -> None:
        while True:
            try:
                async with asyncio.timeout(30):
                    if not await answer.some(SLOW_BYTES):
                        return
            except OSError:  # cut off, or silent for 30 s
                return
            await asyncio.sleep(1.0)


class Other:
    """A tenant that writes, searches and exports on three connections, which it keeps.

    An ingress keeps connections as well. One that comes late waits for its turn behind the idle
    sockets (`test_connections.py`).

    Attributes:
        answers: by what was asked and what came.
        slowest_sec: by what was asked.
        ids: of the events that were taken.
    """

    def __init__(self, url: str, access: Access) -> None:
        self._url = url
        self._access = access
        self.answers: Counter[str] = Counter()
        self.slowest_sec: dict[str, float] = {}
        self.ids: list[str] = []

    async def run(self, until: asyncio.Event) -> None:
        """Ask until told to stop."""
        await asyncio.gather(
            self._repeat("write", self._write, 0.1, until),
            self._repeat("search", self._search, 0.3, until),
            self._repeat("export", self._export, 0.5, until),
        )

    def served(self, times: int) -> bool:
        """Whether each was answered so often."""
        return all(
            self.answers[each] >= times for each in ("write 202", "search 200", "export 200")
        )

    async def _repeat(
        self,
        what: str,
        ask: Callable[[httpx.AsyncClient], Awaitable[httpx.Response]],
        pause_sec: float,
        until: asyncio.Event,
    ) -> None:
        async with httpx.AsyncClient(base_url=self._url, timeout=60, trust_env=False) as http:
            while not until.is_set():
                began = time.monotonic()
                try:
                    answer = await ask(http)
                except httpx.HTTPError as error:
                    outcome = type(error).__name__
                else:
                    outcome = str(answer.status_code)
                    if answer.is_error:
                        outcome += f" {_code(answer)}"
                took = time.monotonic() - began
                self.slowest_sec[what] = max(self.slowest_sec.get(what, 0.0), took)
                self.answers[f"{what} {outcome}"] += 1
                await asyncio.sleep(pause_sec)

    async def _write(self, http: httpx.AsyncClient) -> httpx.Response:
        event = {"action": "other", "actor": {"id": "u"}}
        answer = await http.post(LOGS, json=event, headers=self._access.writer)
        if answer.status_code == 202:
            self.ids.append(answer.json()["id"])
        return answer

    async def _search(self, http: httpx.AsyncClient) -> httpx.Response:
        answer = await http.get(LOGS, params={"q": "small"}, headers=self._access.reader)
        if answer.status_code == 200:
            assert answer.json()["backend"] == "opensearch"
            assert answer.json()["total"]["value"] == 20
        return answer

    async def _export(self, http: httpx.AsyncClient) -> httpx.Response:
        answer = await http.get(EXPORT, headers=self._access.auditor)
        if answer.status_code == 200:
            assert json.loads(answer.content.splitlines()[-1])["export"]["complete"]
        return answer


def _code(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["code"])
    except ValueError:  # no problem document
        return "without code"


@pytest.mark.timeout(900)
async def test_another_tenant_is_served_beside_sockets_searches_and_exports(
    faults: Harness, large: Access, small: Access, tmp_path: Path
):
    size = LONG if faults.long else QUICK
    api = await faults.start(
        "api",
        OCELOT_MAX_CONNECTIONS=str(size.bound),
        OCELOT_BODY_BUDGET_BYTES=str(BODIES),
        OCELOT_MAX_BULK_BYTES=str(_MIB),
        OCELOT_MAX_BULK_EVENTS="1000",
        OCELOT_RESPONSE_BUDGET_BYTES=str(ANSWERS),
        OCELOT_SEARCH_TIMEOUT_SEC="30",
    )
    stored_before = await faults.stored_count([small])
    stop = asyncio.Event()
    growth = asyncio.create_task(growth_of(api.pid, stop))
    attacker = Attacker(api, large, size.searches)
    accepted = 0
    held_bytes: list[float] = []
    other = Other(api.url, small)
    serving = asyncio.create_task(other.run(stop))

    async def served() -> bool:
        return other.served(3)

    assert await holds(served, timeout_sec=60), other.answers
    attacking = asyncio.create_task(attacker.run())

    async def attacked() -> bool:
        answered = attacker.answers
        return (
            answered["export 200"] >= EXPORTS
            and answered["search 200"] + answered["search 503"] >= size.searches
        )

    assert await holds(attacked, timeout_sec=120), attacker.answers
    before = other.answers.copy()
    async with idle_connections(
        api.port, size.sockets, folder=tmp_path, per_process=size.per_process
    ) as sockets:

        async def all_there() -> bool:
            now = sockets.now()
            return now.open + now.waiting >= size.sockets

        assert await holds(all_there, timeout_sec=180), sockets.now()
        ends = time.monotonic() + size.seconds
        while time.monotonic() < ends:
            # In a thread: the table of all connections is long.
            accepted = max(
                accepted, await asyncio.to_thread(accepted_connections, api.pid, api.port)
            )
            held_bytes.append(await faults.metric(api, "ocelot_api_response_budget_used_bytes"))
            await asyncio.sleep(1.0)
        idle = sockets.now()
        assert sockets.running()
        during = other.answers - before
        stop.set()
        await serving
        attacking.cancel()
        await asyncio.gather(attacking, return_exceptions=True)
    allowed = allowed_growth(bodies=BODIES, answers=ANSWERS, connections=size.bound)
    faults.note(
        f"{size.sockets:,} sockets at a bound of {size.bound:,}, {size.searches} unread searches "
        f"and {EXPORTS} slow exports for {size.seconds:g} s: {accepted:,} connections accepted at "
        f"most, {idle.closed:,} idle ones closed; another tenant {_sorted(during)}, slowest "
        f"{ {what: round(sec, 2) for what, sec in other.slowest_sec.items()} } s; the attacker "
        f"{_sorted(attacker.answers)}, {max(held_bytes) / _MIB:.0f} MiB of answers held; "
        f"api grew by {await growth / _MIB:.0f} MiB, allowed {allowed / _MIB:.0f}"
    )
    assert set(other.answers) == {"write 202", "search 200", "export 200"}, other.answers
    assert other.served(before["search 200"] + 5), other.answers
    assert accepted == size.bound, "the limit was never reached, or was exceeded"
    assert idle.closed > 0, "no idle connection was closed above the bound"
    assert max(held_bytes) > 0, "the attacker held no answers"
    assert await growth <= allowed

    async def stored() -> bool:
        return await faults.stored_count([small]) == stored_before + len(other.ids)

    assert await holds(stored, timeout_sec=120)
    await api.stop()


def _sorted(counted: Counter[str]) -> dict[str, Any]:
    return dict(sorted(counted.items()))
