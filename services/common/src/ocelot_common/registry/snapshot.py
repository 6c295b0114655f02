"""The registry in memory: no request waits for MongoDB to know its tenant (design §8)."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from ocelot_common.registry.model import Home, QueueKeyRow, Space, Tenant, VerificationKey
from ocelot_common.registry.store import AnyRow, RegistryStore
from ocelot_common.tasks import cancel_and_wait
from ocelot_common.telemetry.logs import get_logger

POLL_SEC: Final = 1.0
#: Without a confirmation for so long, the snapshot may not be acted on.
STALE_SEC: Final = 30.0

log = get_logger(__name__)


class RegistrySnapshot:
    """All tenants, spaces and keys, kept up to date by a poll of the registry's version.

    No change stream: MongoDB would read every inserted event for each process that has one open
    (ADR 0014).
    """

    def __init__(
        self,
        store: RegistryStore,
        *,
        poll_sec: float = POLL_SEC,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._poll_sec = poll_sec
        self._clock = clock
        self._tenants: dict[str, Tenant] = {}
        self._live: dict[str, Tenant] = {}
        self._spaces: dict[str, Space] = {}
        self._keys: dict[str, VerificationKey] = {}
        self._queue_keys: dict[str, QueueKeyRow] = {}
        self._version = 0
        self._confirmed_at: float | None = None
        self._fault = ""
        self._first_read = asyncio.Event()
        self._reading = asyncio.Lock()
        self._polling: asyncio.Task[None] | None = None

    @property
    def version(self) -> int:
        """Everything written up to this version is in the snapshot."""
        return self._version

    @property
    def unconfirmed_sec(self) -> float:
        """Seconds since the snapshot was last known to be what MongoDB holds."""
        if self._confirmed_at is None:
            return float("inf")
        return self._clock() - self._confirmed_at

    @property
    def fresh(self) -> bool:
        """Whether the snapshot may be acted on."""
        return self.unconfirmed_sec < STALE_SEC

    @property
    def cause(self) -> str:
        """Why the snapshot may not be acted on, for people; read it where `fresh` is false."""
        if self._confirmed_at is None:
            return f"the registry has not been read: {self._fault or 'this process just started'}"
        return f"the registry has not been confirmed for 30 s: {self._fault}"

    def tenant(self, uid: str) -> Tenant | None:
        """An incarnation of a tenant, Deleted ones too."""
        return self._tenants.get(uid)

    def live_tenant(self, tenant_id: str) -> Tenant | None:
        """The present incarnation of an id."""
        return self._live.get(tenant_id)

    def space(self, name: str) -> Space | None:
        """A space by its name."""
        return self._spaces.get(name)

    def home(self, uid: str) -> Home | None:
        """A tenant with its space."""
        tenant = self._tenants.get(uid)
        space = self._spaces.get(tenant.space) if tenant else None
        return Home(tenant, space) if tenant and space else None

    async def find_home(self, uid: str) -> Home | None:
        """As `home`; asks the registry before it says that there is none.

        Raises:
            pymongo.errors.PyMongoError: the registry can't be read now.
        """
        home = self.home(uid)
        if home is None:
            await self.confirm()
            home = self.home(uid)
        return home

    def key(self, kid: str) -> VerificationKey | None:
        """A public key by its id."""
        return self._keys.get(kid)

    def queue_key(self, kid: str) -> QueueKeyRow | None:
        """What is known of a key of the queues."""
        return self._queue_keys.get(kid)

    def published_keys(self) -> list[VerificationKey]:
        """All public keys."""
        return list(self._keys.values())

    def spaces(self) -> list[Space]:
        """All spaces."""
        return list(self._spaces.values())

    def tenants(self) -> list[Tenant]:
        """All incarnations of all tenants."""
        return list(self._tenants.values())

    async def start(self) -> None:
        """Begin to follow the registry. Returns at once; `fresh` tells when it has been read."""
        self._polling = asyncio.create_task(self._poll(), name="registry-poll")

    async def close(self) -> None:
        """Stop following."""
        if self._polling is not None:
            await cancel_and_wait([self._polling])

    async def wait_fresh(self) -> None:
        """Return when the registry has been read once."""
        await self._first_read.wait()

    async def confirm(self) -> None:
        """Read, with majority from the primary, what was written since the last read.

        One read of one number where nothing was.

        Raises:
            NotPreparedError: MongoDB has not been prepared, so nothing may be read from it yet.
            pymongo.errors.PyMongoError: the registry can't be read now.
        """
        asked_at = self._clock()
        async with self._reading:
            if self._confirmed_at is not None and self._confirmed_at >= asked_at:
                return  # a read that began after this call has answered it
            began = self._clock()
            if self._confirmed_at is None:
                await self._store.require_prepared()
            version = await self._store.version()
            if version != self._version or self._confirmed_at is None:
                await self._read(version)
            self._confirmed_at, self._fault = began, ""
            self._first_read.set()

    async def _read(self, version: int) -> None:
        """Read what is newer than the snapshot; all of it up to `version` is there."""
        since = self._version
        keys = await self._store.since(VerificationKey, since)
        queue_keys = await self._store.since(QueueKeyRow, since)
        # Tenants before spaces: a space that a tenant names is then surely among those read.
        tenants = await self._store.since(Tenant, since)
        spaces = await self._store.since(Space, since)
        for key in keys:
            if _newer(key, self._keys.get(key.kid)):
                self._keys[key.kid] = key
        for row in queue_keys:
            if _newer(row, self._queue_keys.get(row.kid)):
                self._queue_keys[row.kid] = row
        for space in spaces:
            if _newer(space, self._spaces.get(space.name)):
                self._spaces[space.name] = space
        for tenant in tenants:
            if _newer(tenant, self._tenants.get(tenant.uid)):
                self._apply(tenant)
        self._version = max(self._version, version)

    def _apply(self, tenant: Tenant) -> None:
        self._tenants[tenant.uid] = tenant
        if tenant.live:
            self._live[tenant.id] = tenant
        elif (current := self._live.get(tenant.id)) and current.uid == tenant.uid:
            del self._live[tenant.id]

    async def _poll(self) -> None:
        while True:
            try:
                await self.confirm()
            except Exception as error:  # noqa: BLE001 - without this loop, the snapshot stays stale
                self._fault = str(error)[:200]
                log.warning(
                    "registry_unconfirmed",
                    error=type(error).__name__,
                    unconfirmed_sec=round(min(self.unconfirmed_sec, 1e9), 1),
                )
            await asyncio.sleep(self._poll_sec)


def _newer(row: AnyRow, known: AnyRow | None) -> bool:
    return known is None or row.version >= known.version
