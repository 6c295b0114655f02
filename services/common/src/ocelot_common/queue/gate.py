"""A gate that several causes can hold shut: while any does, nothing is received."""

import asyncio

from prometheus_client import Gauge


class Gate:
    """Open unless some cause holds it shut.

    Args:
        gauge: by the label `cause`, 1 while it holds the gate shut.
    """

    def __init__(self, gauge: Gauge | None = None) -> None:
        self._gauge = gauge
        self._causes: dict[str, str] = {}
        self._open = asyncio.Event()
        self._open.set()

    @property
    def causes(self) -> dict[str, str]:
        """The reason of each cause that holds the gate shut."""
        return dict(self._causes)

    @property
    def is_open(self) -> bool:
        """Whether nothing holds it shut."""
        return not self._causes

    def hold(self, cause: str, reason: str) -> None:
        """Shut the gate for a cause."""
        self._causes[cause] = reason
        self._open.clear()
        self._show(cause, held=True)

    def release(self, cause: str) -> None:
        """End a cause; the gate opens with the last one."""
        self._causes.pop(cause, None)
        if not self._causes:
            self._open.set()
        self._show(cause, held=False)

    def _show(self, cause: str, *, held: bool) -> None:
        if self._gauge is not None:
            self._gauge.labels(cause).set(held)

    async def wait_open(self) -> None:
        """Return when nothing holds the gate shut."""
        await self._open.wait()
