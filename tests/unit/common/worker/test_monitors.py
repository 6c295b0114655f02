import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from ocelot_common.queue.gate import Gate
from ocelot_common.registry.snapshot import RegistrySnapshot
from ocelot_common.worker import monitors
from ocelot_common.worker.monitors import BackendMonitor, watch_registry


class AwayError(Exception):
    """What the backend's client raises."""


class Backend:
    """Fails its probes while it is away; a probe that hangs does so for ever."""

    def __init__(self) -> None:
        self.away = False
        self.hangs = False
        self.probes = 0

    async def probe(self) -> None:
        self.probes += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.away:
            raise AwayError("refused")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitors, "_CHECK_SEC", 0.005)
    monkeypatch.setattr(monitors, "_PROBE_TIMEOUT_SEC", 0.02)


@asynccontextmanager
async def running(*work: Any) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(one) for one in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        _, pending = await asyncio.wait(tasks, timeout=60)
        assert not pending, "a monitor outlived its cancellation"


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - any condition
            await asyncio.sleep(0.001)


def monitor(gate: Gate, backend: Backend, every_sec: float = 3_600) -> BackendMonitor:
    return BackendMonitor("store", gate, backend.probe, every_sec=every_sec)


async def test_a_backend_that_is_away_at_the_start_holds_the_gate_until_it_comes() -> None:
    gate, backend = Gate(), Backend()
    backend.away = True
    async with running(monitor(gate, backend).run()):
        await until(lambda: not gate.is_open)
        assert gate.causes == {"store": "AwayError: refused"}
        await until(lambda: backend.probes > 3)
        backend.away = False
        await until(lambda: gate.is_open)


async def test_a_reported_failure_shuts_the_gate_at_once_until_a_later_probe() -> None:
    gate, backend = Gate(), Backend()
    watched = monitor(gate, backend)
    async with running(watched.run()):
        await until(lambda: backend.probes)
        await asyncio.sleep(0.005)
        assert gate.is_open
        watched.report_failure(AwayError("cut off"))
        assert gate.causes == {"store": "AwayError: cut off"}
        await until(lambda: gate.is_open)
    assert backend.probes >= 2


async def test_a_backend_is_failing_from_a_workers_report_to_a_later_probe() -> None:
    gate, backend = Gate(), Backend()
    watched = monitor(gate, backend, every_sec=0.01)
    async with running(watched.run()):
        await until(lambda: backend.probes)
        backend.away = True
        await until(lambda: not gate.is_open)
        assert not watched.failing, "a probe alone may only have been slow"
        watched.report_failure(AwayError("refused"))
        assert watched.failing
        probes = backend.probes
        await until(lambda: backend.probes > probes)
        assert watched.failing
        backend.away = False
        await until(lambda: gate.is_open)
        assert not watched.failing


async def test_a_failure_reported_during_a_probe_outlives_its_success() -> None:
    gate = Gate()
    began: list[asyncio.Event] = []

    async def probe() -> None:
        began.append(asyncio.Event())
        await began[-1].wait()

    watched = BackendMonitor("store", gate, probe, every_sec=3_600)
    async with running(watched.run()):
        await until(lambda: began)
        watched.report_failure(AwayError("refused"))
        began[0].set()
        await until(lambda: len(began) == 2)
        assert not gate.is_open, "the first probe may have succeeded before the failure"
        began[1].set()
        await until(lambda: gate.is_open)


async def test_a_failure_that_nobody_reported_is_found_by_a_later_probe() -> None:
    gate, backend = Gate(), Backend()
    async with running(monitor(gate, backend, every_sec=0.01).run()):
        await until(lambda: backend.probes)
        backend.away = True
        await until(lambda: not gate.is_open)


async def test_a_probe_that_hangs_is_a_failure() -> None:
    gate, backend = Gate(), Backend()
    backend.hangs = True
    async with running(monitor(gate, backend).run()):
        await until(lambda: not gate.is_open)
        assert gate.causes["store"].startswith("TimeoutError")


async def test_an_error_that_no_driver_documents_does_not_end_the_monitor() -> None:
    probes = 0

    async def broken() -> None:
        nonlocal probes
        probes += 1
        if probes == 1:
            raise RuntimeError("cannot wait on un-acquired lock")

    gate = Gate()
    watched = BackendMonitor("store", gate, broken)
    watched.report_failure(AwayError())
    async with running(watched.run()):
        await until(lambda: gate.is_open)


async def test_a_cancellation_that_comes_with_a_report_is_not_lost() -> None:
    gate, backend = Gate(), Backend()
    watched = monitor(gate, backend)
    async with running(watched.run()):
        await until(lambda: backend.probes)
        await asyncio.sleep(0.005)
        watched.report_failure(AwayError("refused"))  # the cancellation follows at once


class FakeSnapshot:
    fresh = True
    cause = "the registry has not been read"


async def test_the_gate_is_shut_while_the_registry_is_unconfirmed() -> None:
    gate, snapshot = Gate(), FakeSnapshot()
    snapshot.fresh = False
    async with running(watch_registry(cast("RegistrySnapshot", snapshot), gate)):
        await until(lambda: not gate.is_open)
        assert gate.causes == {"registry": "the registry has not been read"}
        snapshot.cause = "MongoDB is away"
        await until(lambda: gate.causes == {"registry": "MongoDB is away"})
        snapshot.fresh = True
        await until(lambda: gate.is_open)
        snapshot.fresh = False
        await until(lambda: not gate.is_open)
