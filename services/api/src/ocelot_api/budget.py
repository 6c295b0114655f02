"""Pools that a process's tenants share: bytes of bodies and answers, searches, exports.

A pool refuses and never waits, so that memory stays bounded. One tenant alone cannot exhaust it:

- A tenant holds at most half of a pool, rounded up, even while no other tenant is there.
- The last quarter of a pool goes only to tenants that hold nothing else.
"""

import time
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from prometheus_client import Gauge

from ocelot_api.problems import Problem, unavailable
from ocelot_common.telemetry.logs import get_logger

#: What an event holds beside its bytes, in objects; measured. It counts in the budget.
EVENT_BYTES: Final = 320
_LOG_EVERY_SEC: Final = 10.0

log = get_logger(__name__)


class Refusal(NamedTuple):
    """How a pool refuses.

    Attributes:
        setting: the environment variable that limits the pool.
        what: what the pool holds, in the plural: "bytes of answers".
        code: of the problem where the process holds too much.
        retry_after_sec: when a client should try again.
        members: further members of the problem document.
    """

    setting: str
    what: str
    code: str = "overloaded"
    retry_after_sec: int = 1
    members: dict[str, Any] | None = None


class FairPool:
    """Units, such as bytes or slots, that the tenants of one process share.

    Args:
        limit: units that all tenants together may hold.
        refusal: what a client is told beyond it.
        gauge: shows the units held now.
    """

    def __init__(self, limit: int, refusal: Refusal, gauge: Gauge) -> None:
        self._limit = limit
        self._share = (limit + 1) // 2
        #: Above it, a tenant gets something only if it holds nothing else.
        self._open = limit - limit // 4
        self._refusal = refusal
        self._used = 0
        self._by_tenant: dict[str, int] = {}
        self._logged_at = -_LOG_EVERY_SEC
        gauge.set_function(lambda: float(self._used))

    @property
    def used(self) -> int:
        """Units held now."""
        return self._used

    @property
    def tenants(self) -> int:
        """Tenants that hold something now."""
        return len(self._by_tenant)

    def reservation(self, uid: str) -> "Reservation":
        """Return an empty reservation for a tenant. It ends with its `with` block."""
        return Reservation(self, uid)

    def slot(self, uid: str) -> "Reservation":
        """Return a reservation of one unit.

        Raises:
            Problem: as `take`.
        """
        slot = Reservation(self, uid)
        slot.grow(1)
        return slot

    def take(self, uid: str, units: int, own: int) -> None:
        """Hold more units for a tenant.

        Args:
            uid: the tenant's.
            units: how many more.
            own: units that the same request holds already.

        Raises:
            Problem: 503, `tenant_share` or the pool's own code. Nothing was taken.
        """
        # As `check`, which would cost a call more for each write.
        held = self._by_tenant.get(uid, 0)
        used = self._used + units
        if held + units > self._share or (
            used > self._open and (held != own or used > self._limit)
        ):
            raise self._refuse(uid, held, units)
        self._by_tenant[uid] = held + units
        self._used = used

    def check(self, uid: str, units: int, own: int) -> None:
        """Refuse a request that could not take these units at present.

        Raises:
            Problem: as `take`.
        """
        held = self._by_tenant.get(uid, 0)
        used = self._used + units
        if held + units > self._share or (
            used > self._open and (held != own or used > self._limit)
        ):
            raise self._refuse(uid, held, units)

    def give_back(self, uid: str, units: int) -> None:
        """Hold fewer units for a tenant."""
        self._used -= units
        held = self._by_tenant[uid] - units
        if held:
            self._by_tenant[uid] = held
        else:
            del self._by_tenant[uid]

    def _refuse(self, uid: str, held: int, units: int) -> Problem:
        refusal = self._refusal
        beyond_share = held + units > self._share
        # Logged at intervals: a client that was refused may repeat its request at once.
        now = time.monotonic()
        if now - self._logged_at >= _LOG_EVERY_SEC:
            self._logged_at = now
            log.warning(
                "budget_exhausted",
                setting=refusal.setting,
                tenant_uid=uid,
                tenant_share=beyond_share,
                held=held,
                used=self._used,
                wanted=units,
                limit=self._limit,
            )
        if beyond_share:
            code = "tenant_share"
            detail = (
                f"The tenant uses {held:,} {refusal.what} of this process, and the request needs"
                f" {units:,} more. One tenant may use {self._share:,}."
            )
        else:
            code = refusal.code
            detail = f"The process uses nearly all of its {self._limit:,} {refusal.what}."
        return unavailable(
            code,
            f"{detail} Retry after {refusal.retry_after_sec} s, or raise {refusal.setting}.",
            retry_after_sec=refusal.retry_after_sec,
            members=refusal.members,
        )


class Reservation:
    """Units that one request holds."""

    __slots__ = ("_pool", "_size", "_uid")

    def __init__(self, pool: FairPool, uid: str) -> None:
        self._pool = pool
        self._uid = uid
        self._size = 0

    @property
    def size(self) -> int:
        """Units held now."""
        return self._size

    def check(self, units: int) -> None:
        """Refuse the request at once if it could not hold `units` more at present.

        They are not taken: a client may announce a body that it never sends.

        Raises:
            Problem: as `FairPool.take`.
        """
        self._pool.check(self._uid, units, self._size)

    def grow(self, units: int) -> None:
        """Hold more units.

        Raises:
            Problem: as `FairPool.take`.
        """
        self._pool.take(self._uid, units, self._size)
        self._size += units

    def shrink(self, units: int) -> None:
        """Hold fewer units; at most all of them are given back."""
        units = min(units, self._size)
        if units:
            self._size -= units
            self._pool.give_back(self._uid, units)

    def shrink_to(self, units: int) -> None:
        """Hold at most so many units."""
        self.shrink(max(0, self._size - units))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._size:
            self._pool.give_back(self._uid, self._size)
            self._size = 0
