"""What holds a worker's gate shut: an unconfirmed registry, a backend that can't be used."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pymongo
from pymongo.asynchronous.database import AsyncDatabase

from ocelot_common.mongo import MAJORITY
from ocelot_common.names import PROBES
from ocelot_common.queue.gate import Gate
from ocelot_common.registry.snapshot import RegistrySnapshot
from ocelot_common.telemetry.logs import get_logger

Document = dict[str, Any]

_REGISTRY = "registry"
_CHECK_SEC = 0.5
_PROBE_TIMEOUT_SEC = 3.0

log = get_logger(__name__)


def hold_for_registry(snapshot: RegistrySnapshot, gate: Gate) -> None:
    """Hold the gate until `watch_registry` releases it: a process that starts is not ready."""
    gate.hold(_REGISTRY, snapshot.cause)


async def watch_registry(snapshot: RegistrySnapshot, gate: Gate) -> None:
    """Hold the gate while the registry is unconfirmed; runs until cancelled."""
    while True:
        if snapshot.fresh:
            if _REGISTRY in gate.causes:
                log.info("receiving_resumed", cause=_REGISTRY)
            gate.release(_REGISTRY)
        else:
            if _REGISTRY not in gate.causes:
                log.warning("receiving_paused", cause=_REGISTRY)
            gate.hold(_REGISTRY, snapshot.cause)
        await asyncio.sleep(_CHECK_SEC)


class BackendAwayError(Exception):
    """A backend failed another batch a moment ago."""


class BackendMonitor:
    """Holds the gate from a backend's failure until a probe of it succeeds.

    Args:
        name: the cause under which the gate is held.
        gate: the worker's.
        probe: returns if the backend can be used, raises any error if not.
        every_sec: pause between probes while the backend is in use; only a failure that nobody
            reported waits for one.
    """

    def __init__(
        self,
        name: str,
        gate: Gate,
        probe: Callable[[], Awaitable[None]],
        *,
        every_sec: float = 5.0,
    ) -> None:
        self._name = name
        self._gate = gate
        self._probe = probe
        self._every_sec = every_sec
        self._failed = asyncio.Event()
        self._failing = False

    @property
    def failing(self) -> bool:
        """Whether the backend failed a worker and has not been probed with success since.

        What is in hand is given back then; each batch would take ten seconds to fail by itself.
        """
        return self._failing

    def report_failure(self, error: Exception) -> None:
        """The backend failed a worker just now: receive nothing until it is probed."""
        self._hold(error)
        self._failing = True
        self._failed.set()

    async def run(self) -> None:
        """Probe until cancelled."""
        while True:
            self._failed.clear()
            try:
                # Not wait_for: in Python 3.11 it loses a cancellation that comes with a result.
                async with asyncio.timeout(_PROBE_TIMEOUT_SEC):
                    await self._probe()
            # Not only what a driver documents: PyMongo raised a RuntimeError of its locks when a
            # wait timed out. Without this loop, the gate would stay shut for ever.
            except Exception as error:  # noqa: BLE001
                self._hold(error)
                await asyncio.sleep(_CHECK_SEC)
                continue
            if self._failed.is_set():
                await asyncio.sleep(_CHECK_SEC)
                continue
            if self._name in self._gate.causes:
                log.info("receiving_resumed", cause=self._name)
            self._failing = False
            self._gate.release(self._name)
            try:
                async with asyncio.timeout(self._every_sec):
                    await self._failed.wait()
            except TimeoutError:
                continue

    def _hold(self, error: Exception) -> None:
        if self._name not in self._gate.causes:
            log.warning("receiving_paused", cause=self._name, error=repr(error)[:500])
        self._gate.hold(self._name, f"{type(error).__name__}: {str(error)[:200]}")


def store_probe(database: AsyncDatabase[Document], process: str) -> Callable[[], Awaitable[None]]:
    """A probe that writes with majority: a ping succeeds on a store that can't be written."""
    probes = database[PROBES].with_options(write_concern=MAJORITY)

    async def probe() -> None:
        with pymongo.timeout(_PROBE_TIMEOUT_SEC):
            await probes.update_one(
                {"_id": process}, {"$set": {"at": datetime.now(UTC)}}, upsert=True
            )

    return probe
