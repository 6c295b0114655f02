from pathlib import Path

import pytest

from ocelot_devstack.backends.group import Backends
from ocelot_devstack.backends.java import find_java, java_major
from ocelot_devstack.settings import DevSettings


def fake_java(home: Path, version: str) -> Path:
    program = home / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2025-01-01' >&2\n")
    program.chmod(0o755)
    return program


@pytest.mark.parametrize(
    ("text", "major"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('openjdk version "25" 2025-09-16 LTS', 25),
        ('java version "1.8.0_401"', 8),
        ("no java here", None),
    ],
)
def test_the_major_version_is_read(text: str, major: int | None) -> None:
    assert java_major(text) == major


async def test_the_first_java_that_is_new_enough_is_taken(tmp_path: Path) -> None:
    candidates = [
        tmp_path / "missing" / "bin" / "java",
        fake_java(tmp_path / "old", "17.0.1"),
        fake_java(tmp_path / "good", "21.0.2"),
        fake_java(tmp_path / "later", "25"),
    ]
    found = await find_java(21, candidates)
    assert found is not None
    assert (found.home, found.major) == (tmp_path / "good", 21)


async def test_none_is_found_where_all_are_too_old(tmp_path: Path) -> None:
    assert await find_java(21, [fake_java(tmp_path / "old", "17.0.1")]) is None


async def test_without_java_opensearch_is_left_out_with_one_line(
    settings: DevSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_java(*_: object) -> None:
        return None

    monkeypatch.setattr("ocelot_devstack.backends.opensearch.find_java", no_java)
    lines: list[str] = []
    backends = Backends(settings, report=lines.append)
    await backends._start_opensearch()

    assert backends.opensearch is None
    assert [type(backend).__name__ for backend in backends.all] == ["MongoDB", "Sqs"]
    (line,) = lines
    assert "Java 21" in line


async def test_without_maven_opensearch_is_left_out_with_one_line(
    settings: DevSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(fake_java(tmp_path / "jdk", "21.0.2").parent.parent))
    monkeypatch.setattr("ocelot_devstack.backends.opensearch.find_maven", lambda: None)
    lines: list[str] = []
    backends = Backends(settings, report=lines.append)
    await backends._start_opensearch()

    assert backends.opensearch is None
    (line,) = lines
    assert "Maven" in line
