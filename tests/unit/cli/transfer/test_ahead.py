"""Reading ahead never goes far ahead, and never holds up the end."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from threading import Event

import pytest

from ocelot_cli.transfer.ahead import ReadAhead


async def test_items_come_in_order_and_then_none():
    async with ReadAhead(iter(range(1_000))) as ahead:
        items = [await ahead.next() for _ in range(1_000)]
        assert await ahead.next() is None

    assert items == list(range(1_000))


async def test_one_item_is_read_ahead_and_no_more():
    begun: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            begun.append(number)
            yield number

    async with ReadAhead(items()) as ahead:
        for number in range(5):
            assert await ahead.next() == number
        while len(begun) < 6:  # noqa: ASYNC110 - a thread reads
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.05)
        assert begun == list(range(6))

    await asyncio.sleep(0.05)
    assert begun == list(range(6))


async def test_an_error_comes_in_its_place():
    def items() -> Iterator[int]:
        yield 1
        raise OSError("torn")

    async with ReadAhead(items()) as ahead:
        assert await ahead.next() == 1
        with pytest.raises(OSError, match="torn"):
            await ahead.next()


async def test_the_end_waits_for_a_step_under_way_but_not_for_input_that_never_comes():
    never = Event()

    def items() -> Iterator[int]:
        yield 1
        never.wait()

    async with asyncio.timeout(60), ReadAhead(items()) as ahead:
        assert await ahead.next() == 1

    never.set()


def test_ctrl_c_ends_a_run_that_waits_for_standard_input():
    command = ["ocelot_cli", "send", "--api-url", "http://127.0.0.1:9", "--token", "t"]
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A shell starts what it puts in the background with SIGINT ignored, and that is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - one thread
    )
    with process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(b"not json\n")
        process.stdin.flush()
        line = process.stderr.readline()
        assert line.startswith(b"stdin:1: ")
        assert b"not valid JSON" in line

        process.send_signal(signal.SIGINT)

        # Standard input is still open, and silent.
        assert process.wait(20) == 130
        shown = process.stderr.read()
        assert b"Interrupted" in shown
        assert b"Fatal" not in shown
