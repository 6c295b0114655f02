"""Clients of several kinds that each post an event again and again over one kept connection."""

import asyncio
import json
import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import aiohttp
import httpx
import requests

from edgekit import __path__ as edgekit_folders
from ocelot_devstack.process import ManagedProcess

PATH: Final = "/api/v1/logs"
#: Pauses between the requests of one client: two or more within a delay of 5 s on a slow machine.
PAUSE_SEC: Final = 0.7
_TIMEOUT_SEC: Final = 30.0
_JAVA: Final = Path(next(iter(edgekit_folders))) / "SteadyClients.java"


class Sent(NamedTuple):
    """One request.

    Attributes:
        client: which one sent it.
        began: seconds since the epoch.
        outcome: a status; `refused`: no connection was made; `lost`: there is no answer.
        closing: whether the answer says `Connection: close`.
        detail: of an error.
    """

    client: int
    began: float
    outcome: str
    closing: bool = False
    detail: str = ""


class Clients(ABC):
    """Some clients of one kind; a client ends when its connection is refused.

    Attributes:
        name: of the kind.
        sent: every request that ended.
    """

    name = ""

    def __init__(self, url: str, headers: dict[str, str], number: int) -> None:
        self.url = f"{url}{PATH}"
        self.headers = headers
        self.number = number
        self.sent: list[Sent] = []
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Send nothing more."""
        self._stopped.set()

    @abstractmethod
    async def run(self) -> None:
        """Send until stopped or refused."""

    def event(self) -> dict[str, Any]:
        return {"action": f"drain.{self.name}", "actor": {"id": "u"}}

    def note(self, client: int, began: float, status: int, connection: str) -> None:
        closing = "close" in connection.lower()
        self.sent.append(Sent(client, began, str(status), closing))

    def fail(self, client: int, began: float, error: Exception, *, refused: bool) -> None:
        outcome = "refused" if refused else "lost"
        self.sent.append(Sent(client, began, outcome, detail=repr(error)[:200]))


class HttpxClients(Clients):
    """httpx.AsyncClient, one for each."""

    name = "httpx"

    async def run(self) -> None:
        await asyncio.gather(*(self._run(number) for number in range(self.number)))

    async def _run(self, client: int) -> None:
        async with httpx.AsyncClient(
            timeout=_TIMEOUT_SEC, trust_env=False, headers=self.headers
        ) as http:
            while not self._stopped.is_set():
                began = time.time()
                try:
                    answer = await http.post(self.url, json=self.event())
                except httpx.ConnectError as error:
                    self.fail(client, began, error, refused=True)
                    return
                except httpx.HTTPError as error:
                    self.fail(client, began, error, refused=False)
                else:
                    connection = answer.headers.get("connection", "")
                    self.note(client, began, answer.status_code, connection)
                await asyncio.sleep(PAUSE_SEC)


class ThroughNginx(HttpxClients):
    """The same behind nginx: its answers say nothing of the api's connection."""

    name = "nginx"


class AiohttpClients(Clients):
    """aiohttp.ClientSession, one for each."""

    name = "aiohttp"

    async def run(self) -> None:
        await asyncio.gather(*(self._run(number) for number in range(self.number)))

    async def _run(self, client: int) -> None:
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SEC)
        async with aiohttp.ClientSession(headers=self.headers, timeout=timeout) as http:
            while not self._stopped.is_set():
                began = time.time()
                try:
                    async with http.post(self.url, json=self.event()) as answer:
                        await answer.read()
                except aiohttp.ClientConnectorError as error:
                    self.fail(client, began, error, refused=True)
                    return
                except (aiohttp.ClientError, TimeoutError) as error:
                    self.fail(client, began, error, refused=False)
                else:
                    connection = answer.headers.get("connection", "")
                    self.note(client, began, answer.status, connection)
                await asyncio.sleep(PAUSE_SEC)


class RequestsClients(Clients):
    """requests.Session, one for each, in threads."""

    name = "requests"

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(self.number) as threads:
            await asyncio.gather(
                *(loop.run_in_executor(threads, self._run, number) for number in range(self.number))
            )

    def _run(self, client: int) -> None:
        with requests.Session() as session:
            session.trust_env = False
            session.headers.update(self.headers)
            while not self._stopped.is_set():
                began = time.time()
                try:
                    answer = session.post(self.url, json=self.event(), timeout=_TIMEOUT_SEC)
                except requests.RequestException as error:
                    refused = "NewConnectionError" in repr(error)
                    self.fail(client, began, error, refused=refused)
                    if refused:
                        return
                else:
                    connection = answer.headers.get("connection", "")
                    self.note(client, began, answer.status_code, connection)
                self._stopped.wait(PAUSE_SEC)


class JavaClients(Clients):
    """java.net.http.HttpClient, one for each, in a process of their own."""

    name = "java"

    def __init__(
        self, url: str, headers: dict[str, str], number: int, *, program: str, folder: Path
    ) -> None:
        super().__init__(url, headers, number)
        self._log = folder / "java.log"
        token = headers["Authorization"].removeprefix("Bearer ")
        pause_ms = str(round(PAUSE_SEC * 1_000))

        async def ready() -> bool:
            return self._log.stat().st_size > 0

        self._process = ManagedProcess(
            "the Java clients",
            (program, str(_JAVA), self.url, token, str(number), pause_ms),
            env={"PATH": os.environ.get("PATH", os.defpath)},
            log_path=self._log,
            ready=ready,
        )

    async def run(self) -> None:
        await self._process.start()
        try:
            while not self._stopped.is_set() and self._process.running:
                await asyncio.sleep(0.1)
                self._read()
        finally:
            await self._process.kill()
            self._read()

    def _read(self) -> None:
        lines = [line.split("\t") for line in self._log.read_text().splitlines()]
        self.sent = [
            Sent(int(line[0]), int(line[1]) / 1_000, line[2], line[3] == "close", line[3])
            for line in lines
            if len(line) == 4
        ]


@asynccontextmanager
async def steady(kinds: list[Clients]) -> AsyncIterator[None]:
    """Let all clients send."""
    async with AsyncExitStack() as cleanup:
        tasks = [asyncio.create_task(kind.run()) for kind in kinds]

        async def end() -> None:
            for kind in kinds:
                kind.stop()
            await asyncio.gather(*tasks)

        cleanup.push_async_callback(end)
        yield


def figures(kinds: list[Clients]) -> str:
    """How often each outcome occurred, by kind."""
    counted: dict[str, dict[str, int]] = {}
    for kind in kinds:
        of_kind = counted.setdefault(kind.name, {})
        for each in kind.sent:
            of_kind[each.outcome] = of_kind.get(each.outcome, 0) + 1
    return json.dumps(counted)
