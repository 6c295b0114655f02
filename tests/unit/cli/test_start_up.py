"""What the command imports before it knows what it must do."""

import subprocess
import sys

import pytest
import typer

from ocelot_cli.lazy import LazyCommands
from ocelot_cli.main import app

#: Clients of backends and of HTTP, and what takes as long to import.
HEAVY = frozenset(
    {
        "aiobotocore",
        "aiohttp",
        "anyio",
        "asyncio",
        "botocore",
        "cryptography",
        "httpx",
        "jmespath",
        "jwt",
        "opensearchpy",
        "pydantic",
        "pymongo",
        "tenacity",
        "yaml",
        "zstandard",
    }
)
_RUN = """
import sys
from ocelot_cli.main import app
try:
    app({!r})
finally:
    print(*sys.modules, file=sys.stderr)
"""


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], []], ids=" ".join)
def test_the_command_imports_no_client_to_describe_itself(arguments: list[str]):
    ended = subprocess.run(
        [sys.executable, "-c", _RUN.format(arguments)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.stdout or not arguments
    loaded = set(ended.stderr.split())
    assert "ocelot_cli.main" in loaded
    assert not loaded & HEAVY


def test_the_help_has_a_line_for_every_command_that_80_columns_hold():
    group = typer.main.get_command(app)
    assert isinstance(group, LazyCommands)
    context = typer.Context(group, info_name="ocelot", terminal_width=80)
    text = group.get_help(context).partition("Commands:\n")[2]

    lines = text.splitlines()
    assert [line.split()[0] for line in lines] == group.list_commands(context)
    assert all(line.endswith(".") and len(line) <= 80 for line in lines)
