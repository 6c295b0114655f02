"""Which Tenants there are, and when each has its next pass: a task per Tenant.

The watch only wakes a task. A pass reads the resource itself, so nothing is lost if an event is
missed, and two passes over one Tenant never run at the same time.
"""

import asyncio
import random
from contextlib import suppress
from contextvars import Context
from typing import Final

from ocelot_common.tasks import cancel_and_wait
from ocelot_common.telemetry.logs import get_logger
from ocelot_operator.kubernetes import KubernetesError
from ocelot_operator.metrics import OperatorMetrics
from ocelot_operator.reconcile import Reconciler
from ocelot_operator.status import Reason

#: The first pause after a pass that failed; it doubles up to the interval.
_FIRST_PAUSE_SEC: Final = 1.0
#: Passes at the same time.
_SLOTS: Final = 8

log = get_logger(__name__)

Key = tuple[str, str]


class TenantController:
    """Makes passes over every Tenant: when it changed, after each interval, and after a failure.

    Args:
        reconciler: makes a pass.
        metrics: counts them.
        interval_sec: between two passes over one Tenant, with up to a tenth less or more.
    """

    def __init__(
        self, reconciler: Reconciler, metrics: OperatorMetrics, *, interval_sec: float
    ) -> None:
        self._reconciler = reconciler
        self._metrics = metrics
        self._interval_sec = interval_sec
        self._slots = asyncio.Semaphore(_SLOTS)
        self._changed: dict[Key, asyncio.Event] = {}
        self._tasks: dict[Key, asyncio.Task[None]] = {}

    def see(self, namespace: str, name: str, *, changed: bool = True) -> None:
        """Make passes over a Tenant from now on, and one soon if it is new here or has changed."""
        key = (namespace, name)
        if key not in self._tasks:
            self._changed[key] = asyncio.Event()
            # In a context of its own: that of kopf's handler has the decoded Tenant, which would
            # stay in memory as long as this task.
            self._tasks[key] = asyncio.create_task(
                self._keep(key), name="/".join(key), context=Context()
            )
        elif changed:
            self._changed[key].set()

    async def close(self) -> None:
        """End all passes where they are."""
        await cancel_and_wait(self._tasks.values())

    async def _keep(self, key: Key) -> None:
        changed = self._changed[key]
        failures = 0
        while True:
            changed.clear()
            async with self._slots:
                ready = await self._pass(key)
            if ready is None and not changed.is_set():
                del self._tasks[key], self._changed[key]
                return
            failures = 0 if ready else failures + 1
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause_sec(failures)):
                    await changed.wait()

    async def _pass(self, key: Key) -> bool | None:
        """Make one pass; returns whether the Tenant is Ready, None if it is gone."""
        namespace, name = key
        try:
            outcome = await self._reconciler.reconcile(namespace, name)
        except KubernetesError as error:
            self._metrics.passes.labels(reason="Unwritten").inc()
            log.warning("tenant_unwritten", namespace=namespace, name=name, error=str(error))
            return False
        except (
            Exception
        ):  # the outermost loop: a defect met with one Tenant must not end its passes
            self._metrics.passes.labels(reason=Reason.INTERNAL_ERROR.value).inc()
            log.exception("tenant_pass_failed", namespace=namespace, name=name)
            return False
        if outcome is None:
            return None
        self._metrics.passes.labels(reason=outcome.reason.value).inc()
        return outcome.ready

    def _pause_sec(self, failures: int) -> float:
        pause = self._interval_sec
        if failures:
            pause = min(pause, _FIRST_PAUSE_SEC * 2.0 ** min(failures - 1, 30))
        return pause * random.uniform(0.9, 1.1)  # noqa: S311 - spreads passes over time
