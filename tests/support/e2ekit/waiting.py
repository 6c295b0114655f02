"""Waiting for what comes later."""

import time
from collections.abc import Callable
from typing import TypeVar

import pytest

T = TypeVar("T")


def until(
    probe: Callable[[], T | None], *, what: str, timeout_sec: float = 300, poll_sec: float = 0.2
) -> T:
    """Return the first answer that is neither None nor False; fail after `timeout_sec`."""
    deadline = time.monotonic() + timeout_sec
    while True:
        answer = probe()
        if answer is not None and answer is not False:
            return answer
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: not within {timeout_sec:g} s")
        time.sleep(poll_sec)


def measured(
    probe: Callable[[], T | None], *, what: str, bound_sec: float, began: float | None = None
) -> T:
    """Wait for what a contract bounds; print the seconds, and fail after six times the bound.

    Args:
        probe: as of `until`.
        what: for the line that is printed.
        bound_sec: of the contract.
        began: a time of `time.monotonic()`; now, if None.
    """
    start = time.monotonic() if began is None else began
    left = start + 6 * bound_sec - time.monotonic()
    answer = until(probe, what=what, timeout_sec=left, poll_sec=0.05)
    print(f"{what}: {time.monotonic() - start:.2f} s (bound {bound_sec:g} s)")
    return answer
