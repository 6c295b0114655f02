"""make dev from start to end."""

import asyncio
import time
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from typing import Final

from ocelot_devstack.console import Report, say
from ocelot_devstack.demo import ProvisionTenant, provision_demo, provision_nothing
from ocelot_devstack.dev_file import remove_dev_file, write_dev_file
from ocelot_devstack.draining import drain_queues
from ocelot_devstack.interrupts import Interrupts, interrupts
from ocelot_devstack.kept_queues import KeptQueues
from ocelot_devstack.process import ManagedProcess
from ocelot_devstack.services import SERVICES, ServiceSpec
from ocelot_devstack.settings import DevSettings
from ocelot_devstack.stack import Stack
from ocelot_devstack.state_lock import state_lock
from ocelot_devstack.summary import ready_text
from ocelot_devstack.supervisor import Supervisor

_HURRIED_SEC: Final = 3.0


async def up(
    settings: DevSettings,
    *,
    services: Sequence[ServiceSpec] = SERVICES,
    provision: ProvisionTenant = provision_nothing,
    report: Report = say,
) -> int:
    """Run everything until Ctrl-C or SIGTERM; the exit status.

    Raises:
        DevstackError: it could not be started; nothing is left running.
    """
    with state_lock(settings.state_dir), interrupts() as received:
        stack = Stack(settings, services=services, report=report)
        run = _DevRun(stack, received, provision, report)
        try:
            return await run.run()
        finally:
            remove_dev_file(settings.state_dir)


class _DevRun:
    def __init__(
        self, stack: Stack, received: Interrupts, provision: ProvisionTenant, report: Report
    ) -> None:
        self._stack = stack
        self._received = received
        self._provision = provision
        self._report = report
        self._began = time.monotonic()
        self._started = AsyncExitStack()

    async def run(self) -> int:
        hurrying = asyncio.create_task(self._hurry())
        try:
            starting = asyncio.create_task(self._start())
            await _first_of(asyncio.wait([starting]), self._received.first.wait())
            if not starting.done():
                self._report("Stopping during the start")
                starting.cancel()
                await asyncio.wait([starting])
                return 0
            await starting
            async with self._started:
                gave_up = await self._watch()
                await self._stop()
        finally:
            hurrying.cancel()
        self._report("Stopped")
        return 1 if gave_up else 0

    async def _start(self) -> None:
        stack = self._stack
        async with AsyncExitStack() as undo:
            await undo.enter_async_context(stack)
            kept = await undo.enter_async_context(KeptQueues(stack, self._report))
            tenants = await provision_demo(stack, self._provision)
            await kept.restore()
            await stack.start_services()
            api_url = next((p.url for p in stack.services if p.spec.public), "")
            write_dev_file(
                stack.settings.state_dir,
                stack.installation,
                api_url=api_url,
                probes={process.name: process.probes_url for process in stack.services},
                tenants=tenants,
            )
            self._started = undo.pop_all()
        elapsed_sec = time.monotonic() - self._began
        self._report(ready_text(api_url=api_url, tenants=tenants, elapsed_sec=elapsed_sec))

    async def _watch(self) -> bool:
        backends = [backend.process for backend in self._stack.backends.all]
        processes = [*(p for p in backends if p is not None), *self._stack.services]
        async with Supervisor(
            processes, restarted=self._restarted, report=self._report
        ) as supervisor:
            await _first_of(self._received.first.wait(), supervisor.gave_up.wait())
            return supervisor.gave_up.is_set()

    async def _restarted(self, process: ManagedProcess) -> None:
        if process is self._stack.backends.sqs.process:
            await self._stack.ensure_queues()
            self._report("SQS restarted and lost its messages. The queues were created again.")

    async def _stop(self) -> None:
        stack, hurry = self._stack, self._received.second
        workers = [spec.name for spec in stack.specs.values() if spec.drains is not None]
        others = [name for name in stack.specs if name not in workers]
        self._report(
            "Stopping the api, then the workers when the queues are empty. Ctrl-C again stops"
            " immediately."
        )
        await self._stop_services(others)
        await drain_queues(stack, timeout_sec=stack.settings.drain_sec, hurry=hurry)
        await self._stop_services(workers)

    async def _stop_services(self, names: Sequence[str]) -> None:
        if not names:
            return
        timeout_sec = _HURRIED_SEC if self._received.second.is_set() else None
        for label in await self._stack.stop_services(*names, timeout_sec=timeout_sec):
            self._report(f"{label} did not stop in time and was killed.")

    async def _hurry(self) -> None:
        await self._received.second.wait()
        self._report("Stopping immediately")
        await asyncio.gather(*(process.kill() for process in self._stack.services))


async def _first_of(*waits: Coroutine[object, object, object]) -> None:
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
