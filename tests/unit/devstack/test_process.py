import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from ocelot_devstack.errors import DevstackError
from ocelot_devstack.process import ManagedProcess

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True)\n"
    "while True: time.sleep(1)"
)


class Children:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.made: list[ManagedProcess] = []

    def __call__(self, code: str, *, ready_when: str = "up") -> ManagedProcess:
        log = self._directory / "log" / "child.log"

        async def ready() -> bool:
            return ready_when in log.read_text()

        child = ManagedProcess(
            "child", [sys.executable, "-c", code], env={}, log_path=log, ready=ready
        )
        self.made.append(child)
        return child


@pytest.fixture
async def child(tmp_path: Path) -> AsyncIterator[Children]:
    children = Children(tmp_path)
    yield children
    for process in children.made:
        await process.kill()


def state_of(pid: int) -> str:
    if not Path(f"/proc/{pid}").exists():
        return "gone"
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


async def until(true: Callable[[], bool]) -> None:
    """Wait, on a machine that others use, too."""
    async with asyncio.timeout(60):
        while not true():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.02)


async def test_output_goes_to_the_log_and_readiness_is_waited_for(child: Children) -> None:
    process = child("import time; time.sleep(.2); print('up', flush=True); time.sleep(60)")
    await process.start()
    await process.wait_ready(60)
    assert process.running
    assert process.log_tail() == "up"
    assert await process.stop()
    assert process.returncode == -signal.SIGTERM
    assert not process.wanted


async def test_one_that_dies_while_starting_is_reported_with_its_last_lines(
    child: Children,
) -> None:
    process = child("print('no such table'); raise SystemExit(3)")
    await process.start()
    with pytest.raises(DevstackError, match=r"(?s)exit status 3.*child\.log.*no such table"):
        await process.wait_ready(60)
    assert process.wanted


async def test_one_that_never_gets_ready_is_reported_when_the_time_is_over(child: Children) -> None:
    process = child("import time; print('still busy', flush=True); time.sleep(60)")
    await process.start()
    await until(lambda: bool(process.log_tail()))
    with pytest.raises(DevstackError, match=r"(?s)not ready.*still busy"):
        await process.wait_ready(0.5)


async def test_one_that_ignores_sigterm_is_killed_in_the_end(child: Children) -> None:
    process = child(STUBBORN)
    await process.start()
    await process.wait_ready(60)
    assert not await process.stop(0.3)
    assert process.returncode == -signal.SIGKILL


async def test_a_paused_one_can_be_resumed_and_stopped(child: Children) -> None:
    process = child("import time; print('up', flush=True); time.sleep(60)")
    await process.start()
    await process.wait_ready(60)
    process.pause()
    await until(lambda: state_of(process.pid) == "T")
    process.resume()
    await until(lambda: state_of(process.pid) == "S")
    process.pause()
    assert await process.stop(60)


async def test_it_can_be_started_again_and_keeps_its_log(child: Children) -> None:
    process = child("import time, os; print('up', os.getpid(), flush=True); time.sleep(60)")
    await process.start()
    await process.wait_ready(60)
    first = process.pid
    await process.kill()
    await process.start()
    for _ in range(600):
        if process.log_tail():
            break
        await asyncio.sleep(0.1)
    assert process.log_tail() == f"up {process.pid}"
    assert process.log_path.read_text() == f"up {first}\nup {process.pid}\n"


async def test_a_kill_takes_what_the_child_started(child: Children) -> None:
    process = child(
        "import subprocess, sys, time\n"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print('up', p.pid, flush=True); time.sleep(60)"
    )
    await process.start()
    await process.wait_ready(60)
    grandchild = int(process.log_tail().split()[1])
    await process.kill()
    for _ in range(600):
        if state_of(grandchild) in {"gone", "Z"}:
            return
        await asyncio.sleep(0.1)
    pytest.fail("the grandchild still runs")
