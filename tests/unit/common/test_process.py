import signal
import subprocess
import sys

import pytest

STOPS = """
import asyncio, os
from ocelot_common.process import run_until_signalled

async def main(stopping):
    print(type(asyncio.get_running_loop()).__module__)
    os.kill(os.getpid(), {number})
    await stopping.wait()
    print("drained")

run_until_signalled(main)
"""
FAILS = """
from ocelot_common.process import run_until_signalled

async def main(stopping):
    raise KeyError("broken")

run_until_signalled(main)
"""
TUNED = """
import gc
from ocelot_common.process import tune_garbage_collector

tune_garbage_collector()
assert gc.isenabled()
assert gc.get_freeze_count() > 1_000
assert gc.get_threshold() == (50_000, 20, 100)
"""


def run(program: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=False, text=True, timeout=60
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_asks_the_process_to_stop_and_lets_it_drain(number: signal.Signals) -> None:
    ended = run(STOPS.format(number=int(number)))
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.split() == ["uvloop", "drained"]


def test_a_process_whose_work_fails_ends_with_status_1() -> None:
    ended = run(FAILS)
    assert ended.returncode == 1
    assert "KeyError: 'broken'" in ended.stderr


def test_the_garbage_collector_leaves_out_what_was_there_at_the_start() -> None:
    ended = run(TUNED)
    assert (ended.returncode, ended.stderr) == (0, "")
