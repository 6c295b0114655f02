"""Prepared events, and an api that answers by a script."""

import asyncio
import json
from collections.abc import Callable, Sequence

import httpx
import pytest
import zstandard

from ocelot_cli.transfer.delivery import Delivery
from ocelot_cli.transfer.lines import Line
from ocelot_cli.transfer.preparing import Prepared
from ocelot_cli.transfer.repeating import Repeater

Step = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]


def events_in(request: httpx.Request) -> list[bytes]:
    return zstandard.ZstdDecompressor().decompressobj().decompress(request.content).split(b"\n")


def taken(request: httpx.Request) -> httpx.Response:
    events = events_in(request)
    ids = [json.loads(event)["id"] for event in events]
    return httpx.Response(202, json={"accepted": len(ids), "rejected": 0, "ids": ids, "errors": []})


class ScriptedApi:
    """Answers request after request by its steps, then takes everything."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = list(steps)
        self.requests: list[httpx.Request] = []

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        step = self._steps.pop(0) if self._steps else taken
        if isinstance(step, Exception):
            raise step
        return step(request) if callable(step) else step


class Scene:
    """A delivery to a scripted api, what it reported, and its pauses, which are not waited for."""

    def __init__(self, steps: Sequence[Step], patience_sec: float) -> None:
        self.api = ScriptedApi(steps)
        self.reports: list[str] = []
        self.pauses: list[float] = []
        self.http = httpx.AsyncClient(
            base_url="http://api.test", transport=httpx.MockTransport(self.api.handle)
        )
        repeater = Repeater(
            self.http.base_url,
            patience_sec=patience_sec,
            report=self.reports.append,
            sleep=self._sleep,
        )
        self.delivery = Delivery(self.http, repeater)

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0.01)


@pytest.fixture
def scene() -> Callable[..., Scene]:
    def make(*steps: Step, patience_sec: float = 60) -> Scene:
        return Scene(steps, patience_sec)

    return make


@pytest.fixture
def batch() -> Callable[[int], list[Prepared]]:
    def make(number: int) -> list[Prepared]:
        return [
            Prepared(Line("a.ndjson", n + 1, b"{}", too_long=False), b'{"id":"%d"}' % n)
            for n in range(number)
        ]

    return make


@pytest.fixture
def events_of() -> Callable[[httpx.Request], list[bytes]]:
    return events_in
