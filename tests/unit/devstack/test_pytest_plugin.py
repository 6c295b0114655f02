"""The summary names tests that did not run for want of a program, and CI fails them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import pytest

@pytest.mark.nginx
def test_proxy(nginx_program):
    assert nginx_program.endswith("nginx")

@pytest.mark.java
def test_client(java_program):
    assert java_program

@pytest.mark.helm
def test_chart(helm_program):
    assert helm_program

@pytest.mark.nginx
def test_that_only_says_so():
    pass
"""


def run(folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_programs.py").write_text(TESTS)
    given = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    for name in ("CI", "OCELOT_REQUIRE_BACKENDS", "JAVA_HOME"):
        given.pop(name, None)
    options = ["-q", "-rs", "--strict-markers", "-p", "no:cacheprovider", "-c", os.devnull]
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "ocelot_devstack.pytest_plugin"),
            *options,
            *("--rootdir", str(folder), str(folder)),
        ],
        cwd=folder,
        env={**given, **env},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def without_programs(tmp_path: Path) -> dict[str, str]:
    """An environment in which no program is found."""
    hide = tmp_path / "sitecustomize.py"
    hide.write_text(
        "import shutil, pathlib\nshutil.which = lambda *a, **k: None\n"
        "pathlib.Path.glob = lambda *a, **k: iter(())\n"
    )
    return {"PYTHONPATH": str(tmp_path)}


def test_missing_programs_are_named(tmp_path: Path, without_programs: dict[str, str]):
    folder = tmp_path / "tests"
    folder.mkdir()
    ran = run(folder, **without_programs)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ": no nginx on the path" in ran.stdout
    assert ": no Java 17 or later" in ran.stdout
    assert "tests on nginx: 2 skipped" in ran.stdout
    assert "tests on Java: 1 skipped" in ran.stdout
    assert ": Helm and Go are not on the path" in ran.stdout


def test_missing_programs_fail_where_they_are_required(
    tmp_path: Path, without_programs: dict[str, str]
):
    folder = tmp_path / "tests"
    folder.mkdir()
    ran = run(folder, **without_programs, OCELOT_REQUIRE_BACKENDS="1")
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "nginx is not available" in ran.stdout
    assert "Java is not available" in ran.stdout
    assert "4 errors" in ran.stdout
