"""The backends alone, for services that run elsewhere, such as in a cluster."""

import asyncio
from typing import Final

from ocelot_common.tasks import cancel_and_wait
from ocelot_devstack.backends import Backend, Backends
from ocelot_devstack.console import say
from ocelot_devstack.errors import DevstackError
from ocelot_devstack.interrupts import interrupts
from ocelot_devstack.ports import check_ports
from ocelot_devstack.queues import ensure_queues, open_sqs
from ocelot_devstack.settings import DevSettings
from ocelot_devstack.state_lock import state_lock

#: Of the queues' names: those that the chart has by default.
_PREFIX: Final = "ocelot"


async def run_backends(settings: DevSettings) -> None:
    """Run MongoDB, SQS with the four queues, and OpenSearch until Ctrl-C or SIGTERM.

    The last line before it waits begins with `Ready`.

    Raises:
        DevstackError: a backend could not be started, or ended.
    """
    with interrupts() as received, state_lock(settings.state_dir):
        check_ports(settings, ())
        async with Backends(settings) as backends:
            endpoint = backends.sqs.url
            async with open_sqs(endpoint, settings.aws_env()) as sqs:
                await ensure_queues(sqs, endpoint, prefix=_PREFIX)
            say("Ready. Ctrl-C stops the backends, and deletes the queues.")
            ends = [asyncio.create_task(_end_of(backend)) for backend in backends.all]
            stopped = asyncio.create_task(received.first.wait())
            await asyncio.wait({*ends, stopped}, return_when=asyncio.FIRST_COMPLETED)
            for ended in ends:
                if ended.done():
                    ended.result()
            await cancel_and_wait([*ends, stopped])
            say("Stopping")


async def download(settings: DevSettings) -> None:
    """Download the backends, unless they are there.

    Raises:
        DevstackError: one cannot be had.
    """
    for backend in Backends(settings).all:
        say(f"{backend.title}: {await backend.obtain()}")


async def _end_of(backend: Backend) -> None:
    if backend.process is None:  # somebody else runs it
        await asyncio.Event().wait()
        return
    await backend.process.wait()
    raise DevstackError(backend.process.obituary())
