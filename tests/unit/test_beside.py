"""scripts/beside.py, which `make test` and .ci/run are made of."""

import signal
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts/beside.py"


def beside(*lines: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *lines]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_the_last_commands_output_comes_first_and_nothing_mixes(tmp_path: Path):
    began = tmp_path / "began"

    ended = beside(
        f"echo kept 1; touch {began}; echo kept 2 >&2",
        f"while ! [ -e {began} ]; do sleep 0.01; done; echo live",
    )

    assert ended.returncode == 0
    lines = [line for line in ended.stdout.splitlines() if line and not line.startswith("===")]
    assert lines == ["live", "kept 1", "kept 2"]


def test_any_command_that_fails_fails_the_whole_and_is_named():
    for lines in (("exit 3", "true", "true"), ("true", "true", "exit 3")):
        ended = beside(*lines)

        assert ended.returncode == 1
        assert ended.stdout.splitlines()[-1] == "=== FAILED: exit 3"
        assert "=== exit 3: FAILED (3), " in ended.stdout
        assert ended.stdout.count("=== true: ok, ") == 2


def test_a_command_that_a_signal_ends_has_failed():
    ended = beside("kill -9 $$", "true")

    assert ended.returncode == 1
    assert "=== kill -9 $$: FAILED (-9), " in ended.stdout


def test_what_it_started_ends_with_it():
    running = subprocess.Popen(
        [sys.executable, str(SCRIPT), "exec sleep 1000", "echo begun; exec sleep 1000"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert running.stdout is not None
    assert running.stdout.readline().startswith("=== ")
    assert running.stdout.readline() == "begun\n"

    running.send_signal(signal.SIGTERM)

    # What it started holds the pipe open for as long as it lives.
    assert running.communicate(timeout=60)[0] == ""
    assert running.returncode == 128 + signal.SIGTERM
