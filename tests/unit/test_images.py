"""`make images` builds an image of each process, with any tool."""

import os
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: Members that are no process of an installation.
LIBRARIES = {"common", "devstack"}


def members() -> set[str]:
    workspace = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]["workspace"]
    return {Path(member).name for member in workspace["members"]}


@pytest.fixture
def tool(tmp_path: Path) -> Path:
    """A tool that notes what it is asked, and knows every image's size."""
    program = tmp_path / "tool"
    program.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n'
        'case "$*" in *images*) echo "12 MB";; *=jobs*) exit "${FAIL:-0}";; esac\n'
    )
    program.chmod(0o755)
    return program


def make(tool: Path, *variables: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            "make",
            "--silent",
            "images",
            f"IMAGE_TOOL={tool} --option",
            "BASE_IMAGE=base",
            *variables,
        ],
        cwd=ROOT,
        env={**os.environ, "MAKEFLAGS": "", **env},
        capture_output=True,
        text=True,
        check=False,
    )


def test_there_is_an_image_of_every_process(tool: Path):
    ran = make(tool, "TAG=t", "IMAGE=registry/ocelot")

    assert ran.returncode == 0, ran.stderr
    asked = (tool.parent / "asked").read_text().splitlines()
    builds = [line for line in asked if line.startswith("--option build ")]
    processes = members() - LIBRARIES
    assert len(builds) == len(processes)
    for member in processes:
        (build,) = [line for line in builds if f" MEMBER={member} " in line]
        assert " BASE_IMAGE=base " in build
        assert f" --tag registry/ocelot-{member}:t " in build
        assert f"registry/ocelot-{member}:t" in ran.stdout.partition("image ")[2]
    assert ran.stdout.count("12 MB") == len(processes) + 1


def test_members_can_be_chosen(tool: Path):
    assert make(tool, "MEMBERS=api cli").returncode == 0
    asked = (tool.parent / "asked").read_text()
    assert asked.count("MEMBER=") == 2


def test_a_failed_build_fails_the_target(tool: Path):
    ran = make(tool, FAIL="1")

    assert ran.returncode != 0
    assert "12 MB" not in ran.stdout
