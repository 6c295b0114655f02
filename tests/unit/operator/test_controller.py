"""When a Tenant has its next pass."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar, copy_context

import pytest
from prometheus_client import CollectorRegistry

from ocelot_operator.controller import TenantController
from ocelot_operator.kubernetes import KubernetesError
from ocelot_operator.metrics import OperatorMetrics
from ocelot_operator.status import Outcome, Reason

READY = Outcome(Reason.RECONCILED, "")
REFUSED = Outcome(Reason.TENANT_ID_TAKEN, "")

Answer = Outcome | Exception | None


class Passes:
    """A reconciler that answers as a test says."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.made = 0
        self.running = 0
        self.most = 0
        self.release = asyncio.Event()
        self.release.set()
        self._moved = asyncio.Condition()

    async def reconcile(self, namespace: str, name: str) -> Outcome | None:
        del namespace, name
        self.running += 1
        self.most = max(self.most, self.running)
        answer = self.answers.pop(0) if self.answers else READY
        async with self._moved:
            self.made += 1
            self._moved.notify_all()
        await self.release.wait()
        self.running -= 1
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def until(self, number: int) -> None:
        async with asyncio.timeout(60), self._moved:
            await self._moved.wait_for(lambda: self.made >= number)


@pytest.fixture
def passes() -> Passes:
    return Passes()


Make = Callable[[float], TenantController]


@pytest.fixture
async def make(passes: Passes) -> AsyncIterator[Make]:
    made = []

    def controller(interval_sec: float) -> TenantController:
        metrics = OperatorMetrics(CollectorRegistry())
        made.append(TenantController(passes, metrics, interval_sec=interval_sec))  # type: ignore[arg-type]
        return made[-1]

    yield controller
    for each in made:
        await each.close()


async def test_a_tenant_has_a_pass_when_it_is_seen_and_after_each_interval(
    passes: Passes, make: Make
) -> None:
    make(0.01).see("team", "acme")
    await passes.until(4)


async def test_a_change_does_not_wait_for_the_interval(passes: Passes, make: Make) -> None:
    controller = make(3_600)
    controller.see("team", "acme")
    await passes.until(1)
    controller.see("team", "acme")
    await passes.until(2)


async def test_a_tenant_that_is_new_here_has_a_pass_although_it_did_not_change(
    passes: Passes, make: Make
) -> None:
    """As every one is to an operator that has just started; what does not change is left alone."""
    controller = make(3_600)
    controller.see("team", "acme", changed=False)
    await passes.until(1)
    controller.see("team", "acme", changed=False)
    await asyncio.sleep(0.1)
    assert passes.made == 1


async def test_a_change_during_a_pass_has_another_one_behind_it(passes: Passes, make: Make) -> None:
    controller = make(3_600)
    passes.release.clear()
    controller.see("team", "acme")
    await passes.until(1)
    controller.see("team", "acme")
    controller.see("team", "acme")
    passes.release.set()
    await passes.until(2)
    assert passes.most == 1


@pytest.mark.parametrize("failure", [REFUSED, KubernetesError(500, "x"), RuntimeError("a defect")])
async def test_a_pass_that_failed_is_repeated_before_the_interval(
    passes: Passes, make: Make, failure: Answer
) -> None:
    passes.answers = [failure, failure]
    make(3_600).see("team", "acme")
    await passes.until(3)


async def test_a_tenant_that_is_gone_has_no_pass_until_it_is_seen_again(
    passes: Passes, make: Make
) -> None:
    controller = make(0.01)
    passes.answers = [None]
    controller.see("team", "acme")
    await passes.until(1)
    await asyncio.sleep(0.2)
    assert passes.made == 1
    controller.see("team", "acme")
    await passes.until(3)


async def test_passes_at_the_same_time_are_bounded(passes: Passes, make: Make) -> None:
    controller = make(3_600)
    passes.release.clear()
    for number in range(20):
        controller.see("team", f"acme-{number}")
    await passes.until(8)
    await asyncio.sleep(0.1)
    assert passes.made == 8  # no more at the same time
    passes.release.set()
    await passes.until(20)


async def test_what_the_watch_knows_of_a_tenant_does_not_stay_in_memory(
    make: Make, passes: Passes
) -> None:
    """kopf keeps the decoded Tenant in the context in which it calls."""

    class Body:
        pass

    cause: ContextVar[Body] = ContextVar("cause")
    controller = make(3_600)

    def handler() -> weakref.ref[Body]:
        body = Body()
        cause.set(body)
        controller.see("team", "acme")
        return weakref.ref(body)

    body = copy_context().run(handler)
    await passes.until(1)
    gc.collect()
    assert body() is None
