"""What the three backends have in common."""

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Final

from ocelot_devstack.console import Report
from ocelot_devstack.process import ManagedProcess, Ready
from ocelot_devstack.settings import DevSettings

_INHERITED: Final = ("PATH", "HOME", "LANG", "TMPDIR", "TZ")


class Backend(ABC):
    """One backend: a running one that a variable names, or one that is started here.

    Attributes:
        title: for people.
        version: as the backend reports it, once started.
        url: where it answers, once started.
        process: the one started here; None for a backend that somebody else runs.
    """

    title: ClassVar[str]

    def __init__(self, settings: DevSettings, report: Report) -> None:
        self.settings = settings
        self.report = report
        self.version = ""
        self.url = ""
        self.process: ManagedProcess | None = None

    async def borrow(self) -> None:
        """Check the running one, if a variable names one.

        Raises:
            DevstackError: it does not answer or does not fit.
        """
        running_at = self.running_at()
        if running_at is not None:
            self.url = running_at
            await self.check_running(running_at)
            self.report(f"{self.title} {self.version}: uses the server at {running_at}")

    async def start(self) -> None:
        """Obtain it, start it and wait until it is ready, unless it is borrowed.

        Raises:
            DevstackError: it cannot be had or does not become ready.
        """
        if self.running_at() is not None:
            return
        began = time.monotonic()
        self.process = await self.launch()
        await self.process.start()
        await self.process.wait_ready(120)
        await self.started()
        self.report(
            f"{self.title} {self.version}: ready in {time.monotonic() - began:.1f} s at {self.url}"
        )

    async def stop(self, timeout_sec: float | None = None) -> None:
        """Stop what was started here."""
        if self.process is not None:
            await self.process.stop(timeout_sec)

    @abstractmethod
    def running_at(self) -> str | None:
        """Where somebody else runs it; None to start one."""

    @abstractmethod
    async def check_running(self, url: str) -> None:
        """Refuse a running one that does not answer or does not fit; set the version."""

    @abstractmethod
    async def obtain(self) -> Path:
        """Download it, unless it is there; return where it is.

        Raises:
            DevstackError: it cannot be had.
        """

    @abstractmethod
    async def launch(self) -> ManagedProcess:
        """Obtain it, set the url and return the process, not started yet."""

    @abstractmethod
    async def started(self) -> None:
        """Called once it is ready; sets the version."""

    def child(
        self,
        argv: Sequence[str],
        *,
        ready: Ready,
        env: Mapping[str, str] | None = None,
        stop_sec: float,
    ) -> ManagedProcess:
        """A process of this backend, with none of the caller's environment that could steer it."""
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        return ManagedProcess(
            self.title,
            argv,
            env={**inherited, **(env or {})},
            log_path=self.settings.make_log_dir() / f"{self.title.lower()}.log",
            ready=ready,
            stop_sec=stop_sec,
        )
