import asyncio
import getpass
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
