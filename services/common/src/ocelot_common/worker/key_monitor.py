"""Holds a worker's gate shut while it lacks a queue key, and records which keys are in use."""

import asyncio
from datetime import datetime
from typing import Any, Final

from pymongo import UpdateOne
from pymongo.asynchronous.database import AsyncDatabase

from ocelot_common.names import QUEUE_KEY_USE
from ocelot_common.queue.gate import Gate
from ocelot_common.queue.keys import NoSigningKeyError, QueueKeys
from ocelot_common.registry.model import QueueKeyState
from ocelot_common.registry.snapshot import RegistrySnapshot
from ocelot_common.telemetry.logs import get_logger
from ocelot_common.timestamps import to_datetime

Document = dict[str, Any]

_NO_KEY: Final = "queue_keys"
_MISSING: Final = "queue_key_missing"
_CHECK_SEC: Final = 0.5
_RECORD_EVERY_SEC: Final = 30.0

log = get_logger(__name__)


class KeyMonitor:
    """Watches the keys of one worker.

    Args:
        keys: of the process.
        snapshot: of the registry.
        gate: of the worker.
        database: for the collection `queue_key_use`: per key, the first and the last time at which
            a message that it signed says that it was sent. `ocelot queue-keys retire` reads it.
    """

    def __init__(
        self,
        keys: QueueKeys,
        snapshot: RegistrySnapshot,
        gate: Gate,
        database: AsyncDatabase[Document],
    ) -> None:
        self._keys = keys
        self._snapshot = snapshot
        self._gate = gate
        self._use = database[QUEUE_KEY_USE]
        self._missing: set[str] = set()

    def is_awaited(self, kid: str) -> bool:
        """Whether a key is active in the registry, so that this process must wait for it.

        The gate is shut then, until the file has the key or the key is retired or lost. The caller
        confirms the snapshot before it believes that there is no such key.
        """
        row = self._snapshot.queue_key(kid)
        if row is None or row.state is not QueueKeyState.ACTIVE:
            return False
        if self._keys.find(kid) is None:
            if kid not in self._missing:
                log.warning("queue_key_missing", kid=kid)
            self._missing.add(kid)
            self._show()
        return True

    async def run(self) -> None:
        """Watch until cancelled."""
        record_in = _RECORD_EVERY_SEC
        while True:
            self._check()
            await asyncio.sleep(_CHECK_SEC)
            record_in -= _CHECK_SEC
            if record_in <= 0:
                record_in = _RECORD_EVERY_SEC
                await self.record_use()

    async def record_use(self) -> None:
        """Write which keys signed what this process has verified since the last call."""
        used = self._keys.take_used()
        if not used:
            return
        writes = [
            UpdateOne({"_id": kid}, _use_of(first, last), upsert=True)
            for kid, (first, last) in used.items()
        ]
        try:
            await self._use.bulk_write(writes, ordered=False)
        except Exception as error:  # noqa: BLE001 - the loop must go on
            log.warning("queue_key_use_not_recorded", error=repr(error)[:300])

    def _check(self) -> None:
        self._missing = {kid for kid in self._missing if self._waits_for(kid)}
        self._show()
        if not self._snapshot.fresh:
            return  # which holds the gate itself
        try:
            self._keys.signing_key()
        except NoSigningKeyError as error:
            self._gate.hold(_NO_KEY, str(error))
        else:
            self._gate.release(_NO_KEY)

    def _waits_for(self, kid: str) -> bool:
        row = self._snapshot.queue_key(kid)
        active = row is not None and row.state is QueueKeyState.ACTIVE
        return active and self._keys.find(kid) is None

    def _show(self) -> None:
        if self._missing:
            named = ", ".join(sorted(self._missing))
            self._gate.hold(_MISSING, f"OCELOT_QUEUE_KEYS_FILE does not have {named}")
        elif _MISSING in self._gate.causes:
            log.info("queue_key_found")
            self._gate.release(_MISSING)


def _use_of(first: int, last: int) -> Document:
    moments: tuple[datetime, datetime] = (to_datetime(first), to_datetime(last))
    return {"$min": {"first_sent_at": moments[0]}, "$max": {"last_sent_at": moments[1]}}
