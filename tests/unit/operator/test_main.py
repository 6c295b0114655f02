import asyncio
import gc
import getpass
import weakref
from collections.abc import Iterable
from datetime import timedelta
from itertools import islice, pairwise
from types import SimpleNamespace
from typing import Any, cast

import kopf
import pytest

from ocelot_common.probes import ProcessReadiness
from ocelot_common.tasks import cancel_and_wait
from ocelot_operator import main
from ocelot_operator.controller import TenantController


class NoController:
    """A controller without Tenants."""

    async def close(self) -> None:
        return


class Readiness(ProcessReadiness):
    """Tells when a cause is released."""

    def __init__(self) -> None:
        super().__init__()
        self.released = asyncio.Event()

    def release(self, cause: str) -> None:
        super().release(cause)
        self.released.set()


def test_a_request_of_the_watch_is_repeated_without_end() -> None:
    """kopf ends the process when the pauses end, and without permission that would be for ever."""
    pauses = main.kopf_settings().networking.error_backoffs
    assert isinstance(pauses, Iterable)
    for _ in range(2):
        first = list(islice(pauses, 1_000))
        assert len(first) == 1_000
        assert max(first) <= 10


class BrokenKeys:
    """Keys that fail as nobody expected, at first or always."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.renewals = asyncio.Semaphore(0)

    async def refresh(self) -> timedelta:
        if self.failures:
            self.failures -= 1
            raise RuntimeError("a defect")
        return timedelta()

    async def renew_admin_token(self) -> None:
        self.renewals.release()
        raise RuntimeError("another defect")


async def test_a_defect_met_with_the_keys_does_not_end_their_keeping(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def prepare(database: Any) -> None:
        del database

    monkeypatch.setattr(main, "prepare_database", prepare)
    monkeypatch.setattr(main, "_RETRY_SEC", 0.01)
    keys, readiness, tried = BrokenKeys(2), ProcessReadiness(), asyncio.Event()
    store = SimpleNamespace(database=None)
    keeping = asyncio.create_task(
        main._keep_keys(cast("Any", keys), cast("Any", store), 0.01, readiness, tried)
    )
    try:
        async with asyncio.timeout(60):
            await tried.wait()
            assert "RuntimeError" in readiness()["keys_not_ready"]
            for _ in range(3):
                await keys.renewals.acquire()
        assert readiness() == {}
        assert not keeping.done()
    finally:
        await cancel_and_wait([keeping])


def test_a_list_of_tenants_comes_in_small_parts() -> None:
    """A namespace can hold hundreds of Tenants of more than 1 MiB, which would not fit together."""
    settings = main.kopf_settings()
    assert settings.watching.chunk_size is not None
    assert settings.watching.chunk_size * 1.5 * 4 < 100  # MiB as text
    assert settings.queueing.idle_timeout <= 0.5


async def test_it_watches_as_a_user_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_name() -> str:
        raise KeyError("getpwuid(): uid not found: 10001")

    def no_cluster(**_: Any) -> kopf.ConnectionInfo:
        raise kopf.LoginError("no cluster")

    monkeypatch.setattr(getpass, "getuser", no_name)
    monkeypatch.setattr(main, "log_in", no_cluster)
    monkeypatch.delenv("POD_ID", raising=False)
    readiness = Readiness()
    controller = cast("TenantController", NoController())

    watching = asyncio.create_task(main.watch(controller, readiness))
    started = asyncio.create_task(readiness.released.wait())
    try:
        await asyncio.wait({watching, started}, return_when=asyncio.FIRST_COMPLETED, timeout=60)
        assert started.done(), watching.exception()
    finally:
        await cancel_and_wait([watching, started])


class Body:
    """What kopf makes of an event: a cycle of references."""

    def __init__(self) -> None:
        self.itself = self


async def test_what_the_watch_makes_of_events_is_collected_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A decoded Tenant is few objects for Python's collector, however many bytes it has."""
    monkeypatch.setattr(main, "_COLLECT_EVERY_SEC", 0)
    controller = cast("TenantController", SimpleNamespace(see=lambda *_, **__: None))
    registry = main._handlers(controller, ProcessReadiness())
    [handler] = registry._watching.get_all_handlers()
    see: Any = handler.fn
    made = []
    gc.disable()
    try:
        for _ in range(40):
            made.append(weakref.ref(Body()))
            await see(namespace="team", name="acme", meta={}, status={})
        assert sum(each() is not None for each in made) < 4
    finally:
        gc.enable()


def test_collections_have_a_pause_between_them(monkeypatch: pytest.MonkeyPatch) -> None:
    collected = []
    monkeypatch.setattr(main.gc, "collect", lambda: collected.append(now))
    now = 0.0
    garbage = main._Garbage(lambda: now)
    for each in range(100):
        now = each / 100
        garbage.add()
    assert len(collected) >= 8
    assert all(later - earlier >= 0.1 for earlier, later in pairwise(collected))
