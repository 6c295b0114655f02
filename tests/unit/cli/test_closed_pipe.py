"""A reader that has seen enough ends a command quietly: `ocelot … | head`."""

import os
import subprocess
import sys

import pytest

LINES = "import ocelot_cli.commands.sending as m; m.shipped_mappings = lambda: [M()] * 100_000"
SETUP = f"class M: name = 'm'; description = 'd' * 80\n{LINES}\n"
RUN = "from ocelot_cli.main import main; main()"


def run(code: str, *args: str) -> tuple[int, str]:
    """Status and stderr of a command whose stdout nobody reads any more."""
    read, write = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", code, *args],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OCELOT_DEV_JSON": ""},
    )
    os.close(write)
    os.close(read)
    _, err = process.communicate(timeout=120)
    return process.returncode, err


@pytest.mark.parametrize(
    "args",
    [["--help"], ["-h"], ["tenants", "--help"], ["--version"], ["import", "--list-mappings"]],
    ids=" ".join,
)
def test_a_short_output_is_no_error(args: list[str]):
    assert run(RUN, *args) == (0, "")


def test_a_long_output_is_no_error():
    assert run(SETUP + RUN, "import", "--list-mappings") == (0, "")
