"""The command installs from a clone of the repository alone, and our distributions come from there.

No name of ours is registered on PyPI: somebody else could register one. So each test also has an
index in which all of them are, in a version that any resolver prefers.
"""

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

from docskit.console import console_blocks
from ocelot_devstack.pytest_plugin import required
from ocelot_devstack.uv_tool import find_uv

ROOT = Path(__file__).parents[3]
PROJECTS = {
    path.parent.name: tomllib.loads(path.read_text())["project"]
    for path in ROOT.glob("services/*/pyproject.toml")
}
VERSION = PROJECTS["cli"]["version"]
#: Of distributions that somebody else uploaded.
FOREIGN_VERSION = "99.0"
pytestmark = pytest.mark.timeout(900)


def documented_lines() -> tuple[str, str]:
    """The lines of docs/cli.md: with uv, and with pip."""
    blocks = console_blocks(ROOT / "docs/cli.md")
    with_uv, with_pip = next(
        block.commands for block in blocks if block.commands[0].startswith("uv tool install")
    )
    return with_uv, with_pip


def run(command: str, folder: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=env,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def put_wheel(folder: Path, name: str, version: str) -> None:
    """Make a wheel without content, as anyone could upload it."""
    stem = f"{name.replace('-', '_')}-{version}"
    info = f"{stem}.dist-info"
    files = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        "Provides-Extra: async\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A fresh clone of what is committed."""
    folder = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", ROOT.as_uri(), folder], check=True)
    return folder


@pytest.fixture
def foreign_wheels(tmp_path: Path) -> Path:
    """All names of ours, as somebody else could upload them to PyPI."""
    folder = tmp_path / "foreign"
    folder.mkdir()
    for project in PROJECTS.values():
        put_wheel(folder, project["name"], FOREIGN_VERSION)
    return folder


@pytest.fixture
def env(tmp_path: Path, foreign_wheels: Path) -> dict[str, str]:
    """An environment that installs into the test's folder; skips the test without an index."""
    uv = find_uv()
    env = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    asked = subprocess.run(
        [uv, "pip", "compile", "--quiet", "--upgrade", "-"],
        input="uv-build",
        env=env,
        check=False,
        capture_output=True,
        text=True,
    )
    if asked.returncode != 0:
        reason = f"the package index is not available: {asked.stderr.strip()}"
        if required():
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    path = f"{Path(uv).parent}:{env['PATH']}"
    return env | {
        "PATH": path,
        "UV_TOOL_DIR": str(tmp_path / "tools"),
        "UV_TOOL_BIN_DIR": str(tmp_path / "bin"),
        "UV_FIND_LINKS": str(foreign_wheels),
        "PIP_FIND_LINKS": str(foreign_wheels),
    }


@pytest.fixture
def env_of_pip(tmp_path: Path, foreign_wheels: Path, env: dict[str, str]) -> dict[str, str]:
    """An environment with a pip of its own, to which the index has nothing but what is made here.

    The dependencies of ours are wheels without content: pip takes minutes for the real ones.
    """
    folder = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = str(folder / "bin/python")
    subprocess.run(
        [find_uv(), "pip", "install", "--quiet", "--python", python, "uv-build"],
        env=env,
        check=True,
    )
    for project in (PROJECTS["common"], PROJECTS["cli"]):
        for dependency in project["dependencies"]:
            name = re.match(r"[\w-]+", dependency)
            assert name
            if name[0] != PROJECTS["common"]["name"]:
                put_wheel(foreign_wheels, name[0], "9999.0")
    return env | {
        "PATH": f"{folder / 'bin'}:{env['PATH']}",
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "false",  # pip takes this as --no-build-isolation
    }


def origins_of_ours(folder: Path) -> dict[str, tuple[str, Any]]:
    """Version and origin (PEP 610) of each distribution of ours that is installed in a folder."""
    found = {}
    for info in folder.glob("lib/python*/site-packages/ocelot_audit*.dist-info"):
        name, _, version = info.name.removesuffix(".dist-info").partition("-")
        origin = info / "direct_url.json"
        found[name] = (version, json.loads(origin.read_text()) if origin.exists() else None)
    return found


def assert_from_clone(found: dict[str, tuple[str, Any]], clone: Path) -> None:
    assert set(found) == {"ocelot_audit_cli", "ocelot_audit_common"}
    for name, (version, origin) in found.items():
        assert version == VERSION
        assert origin["url"] == clone.as_uri()
        assert origin["subdirectory"] == f"services/{name.removeprefix('ocelot_audit_')}"


def test_uv_installs_the_command_and_takes_our_distributions_from_the_clone(
    tmp_path: Path, clone: Path, env: dict[str, str]
):
    with_uv, _ = documented_lines()

    installed = run(with_uv, clone, env)
    assert installed.returncode == 0, installed.stdout

    shown = run(f"{tmp_path}/bin/ocelot --version", tmp_path, env)
    assert (shown.returncode, shown.stdout) == (0, f"ocelot {VERSION}\n")
    assert_from_clone(origins_of_ours(tmp_path / "tools" / PROJECTS["cli"]["name"]), clone)


def test_pip_takes_our_distributions_from_the_clone_where_both_are_named(
    tmp_path: Path, clone: Path, env_of_pip: dict[str, str]
):
    _, with_pip = documented_lines()

    installed = run(with_pip, clone, env_of_pip)

    assert installed.returncode == 0, installed.stdout
    assert_from_clone(origins_of_ours(tmp_path / "venv"), clone)


def test_pip_takes_a_foreign_distribution_where_the_command_alone_is_named(
    tmp_path: Path, clone: Path, env_of_pip: dict[str, str]
):
    """As docs/cli.md warns. So the index of the other tests holds what must not be taken."""
    _, with_pip = documented_lines()
    alone = re.sub(r' "[^"]+subdirectory=services/common"', "", with_pip)
    assert alone != with_pip

    installed = run(alone, clone, env_of_pip)

    assert installed.returncode == 0, installed.stdout
    assert origins_of_ours(tmp_path / "venv")["ocelot_audit_common"] == (FOREIGN_VERSION, None)


def test_uv_takes_a_foreign_distribution_without_the_sources_of_the_workspace(
    tmp_path: Path, clone: Path, env: dict[str, str]
):
    """So uv sees the index of the other tests, too."""
    with_uv, _ = documented_lines()

    installed = run(f"{with_uv} --no-sources", clone, env)

    found = origins_of_ours(tmp_path / "tools" / PROJECTS["cli"]["name"])
    assert installed.returncode == 0, installed.stdout
    assert found["ocelot_audit_common"] == (FOREIGN_VERSION, None)
