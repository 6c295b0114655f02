"""What a process's connections look like from outside, and programs that open many of them."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple

from ocelot_devstack.process import ManagedProcess

_PROGRAM: Final = Path(__file__).with_name("idle_sockets.py")
#: Below the descriptors and the ports that one process and one source address have.
_PER_PROCESS: Final = 5_000
#: ESTABLISHED and CLOSE_WAIT, as /proc/net/tcp writes them.
_CONNECTED: Final = frozenset({"01", "08"})


def descriptors(pid: int) -> int:
    """Open descriptors of a process."""
    return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - one system call for thousands


def accepted_connections(pid: int, port: int) -> int:
    """Connections of a port that a process has accepted and not closed.

    A connection that waits in the listener's queue belongs to no descriptor yet.
    """
    own = set()
    for name in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208 - as above
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            own.add(os.readlink(f"/proc/{pid}/fd/{name}"))  # noqa: PTH115 - as above
    local = f":{port:04X}"
    found = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1].endswith(local) and fields[3] in _CONNECTED:
            found.add(f"socket:[{fields[9]}]")
    return len(found & own)


class Idle(NamedTuple):
    """How an attack with idle connections stands."""

    open: int
    waiting: int
    closed: int


class IdleAttack:
    """Processes that hold idle connections to one port."""

    def __init__(self, processes: list[ManagedProcess]) -> None:
        self._processes = processes

    def now(self) -> Idle:
        """The sums over all processes."""
        lines = [json.loads(process.log_tail(1) or "{}") for process in self._processes]
        return Idle(
            *(sum(line.get(name, 0) for line in lines) for name in ("open", "waiting", "closed"))
        )

    def running(self) -> bool:
        """Whether no process has ended."""
        return all(process.running for process in self._processes)


@asynccontextmanager
async def idle_connections(
    port: int, number: int, *, folder: Path, per_process: int = _PER_PROCESS
) -> AsyncIterator[IdleAttack]:
    """Hold so many idle connections to a port of the loopback address; none is given up.

    Args:
        port: of the server.
        number: of connections.
        folder: for the processes' output.
        per_process: connections of one client process.
    """
    async with AsyncExitStack() as cleanup:
        processes = []
        for index, first in enumerate(range(0, number, per_process)):
            share = min(per_process, number - first)
            log = folder / f"idle-{index}.log"

            async def reporting(log: Path = log) -> bool:
                return await asyncio.to_thread(lambda: log.stat().st_size > 0)

            process = ManagedProcess(
                f"idle connections {index + 1}",
                # A source address for each has ports of its own.
                (
                    sys.executable,
                    str(_PROGRAM),
                    "127.0.0.1",
                    str(port),
                    str(share),
                    f"127.0.0.{index + 2}",
                ),
                env={"PATH": os.environ.get("PATH", os.defpath)},
                log_path=log,
                ready=reporting,
            )
            await process.start()
            cleanup.push_async_callback(process.kill)
            processes.append(process)
        for process in processes:
            await process.wait_ready(180)
        yield IdleAttack(processes)
