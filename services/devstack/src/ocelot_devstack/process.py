"""One child process that can be started, probed, paused, stopped and killed.

Every child leads a session of its own, so a Ctrl-C at the terminal reaches the parent alone, and
is killed by the kernel when the thread that started it ends (Linux, PR_SET_PDEATHSIG).
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from ocelot_devstack.errors import DevstackError

Ready = Callable[[], Awaitable[bool]]

_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None) if sys.platform == "linux" else None
_POLL_SEC: Final = 0.1
_TAIL_LINES: Final = 20
_TAIL_BYTES: Final = 64 * 1024


def dies_with_parent() -> Callable[[], None] | None:
    """What a child has to run between fork and exec so that it never outlives its parent."""
    if _LIBC is None:
        return None
    libc, parent = _LIBC, os.getpid()

    def arrange() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the call
            os._exit(1)

    return arrange


def kill_group(leader: asyncio.subprocess.Process) -> None:
    """SIGKILL a child and all that it started in its session."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader.pid, signal.SIGKILL)


class ManagedProcess:
    """A child with a log file and a readiness probe; may be started again after its end.

    Args:
        name: for messages.
        argv: program and arguments.
        env: its whole environment.
        log_path: gets standard output and error; emptied by the first start only.
        ready: one readiness probe; True once the process can be used.
        stop_sec: how long a stop waits after SIGTERM before it kills.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        log_path: Path,
        ready: Ready,
        stop_sec: float = 10.0,
    ) -> None:
        self.name = name
        self.argv = tuple(argv)
        self.env = dict(env)
        self.log_path = log_path
        self.stop_sec = stop_sec
        self._ready = ready
        self._process: asyncio.subprocess.Process | None = None
        self._wanted = False
        self._log_start = 0

    @property
    def pid(self) -> int:
        """Process id of the present or last run.

        Raises:
            DevstackError: it was never started.
        """
        return self._started().pid

    @property
    def running(self) -> bool:
        """True from start to end, a pause included."""
        return self._process is not None and self._process.returncode is None

    @property
    def wanted(self) -> bool:
        """True from start until a stop or kill asked for here: an end meanwhile is unexpected."""
        return self._wanted

    @property
    def returncode(self) -> int | None:
        """Exit status of the last run, negative for a signal, None while it runs."""
        return None if self._process is None else self._process.returncode

    async def start(self) -> None:
        """Start it; nothing happens if it runs already."""
        if self.running:
            return
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("wb" if self._process is None else "ab") as log:
            self._log_start = log.tell()
            self._process = await asyncio.create_subprocess_exec(
                *self.argv,
                env=self.env,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=dies_with_parent(),
            )
        self._wanted = True

    async def wait_ready(self, timeout_sec: float = 60.0) -> None:
        """Wait until the probe says yes.

        Raises:
            DevstackError: the process ended or the time is over; with the log's last lines.
        """
        deadline = time.monotonic() + timeout_sec
        while True:
            if not self.running:
                raise DevstackError(self.obituary())
            if await self._ready():
                return
            if time.monotonic() > deadline:
                raise DevstackError(
                    f"{self.name} was not ready after {timeout_sec:.0f} s. {self._last_lines()}"
                )
            await asyncio.sleep(_POLL_SEC)

    async def wait(self) -> int:
        """Wait for its end; the exit status, negative for a signal."""
        return await self._started().wait()

    async def stop(self, timeout_sec: float | None = None) -> bool:
        """SIGTERM, then SIGKILL when the time is over; False if it had to be killed.

        Args:
            timeout_sec: instead of the process's own stop_sec.
        """
        self._wanted = False
        if not self.running:
            return True
        self._signal(signal.SIGTERM)
        self.resume()  # a paused process would never see the signal
        try:
            async with asyncio.timeout(self.stop_sec if timeout_sec is None else timeout_sec):
                await self.wait()
        except TimeoutError:
            await self.kill()
            return False
        return True

    async def kill(self) -> None:
        """SIGKILL the process and whatever it started, and wait for its end."""
        self._wanted = False
        if self._process is None:
            return
        kill_group(self._process)
        await self._process.wait()

    def pause(self) -> None:
        """SIGSTOP: it keeps its connections and answers nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT after a pause."""
        self._signal(signal.SIGCONT)

    def log_tail(self, lines: int = _TAIL_LINES) -> str:
        """The last lines that the present or last run wrote."""
        try:
            with self.log_path.open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                log.seek(max(self._log_start, size - _TAIL_BYTES))
                text = log.read().decode(errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def obituary(self) -> str:
        """How it ended, with the last lines of its log."""
        code = self.returncode
        how = f"exit status {code}"
        if code is not None and code < 0:
            how = signal.Signals(-code).name
        return f"{self.name} ended unexpectedly ({how}). {self._last_lines()}"

    def _last_lines(self) -> str:
        indented = "\n".join(f"    {line}" for line in self.log_tail().splitlines())
        return f"Last lines of {self.log_path}:\n{indented or '    (nothing)'}"

    def _signal(self, number: signal.Signals) -> None:
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._started().pid, number)

    def _started(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise DevstackError(f"{self.name} was not started.")
        return self._process
