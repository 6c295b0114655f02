"""Finds a Java that is new enough."""

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ocelot_devstack.commands import run_command
from ocelot_devstack.errors import DevstackError


@dataclass(frozen=True)
class Java:
    """A Java runtime: its home directory, its program and its major version."""

    home: Path
    program: Path
    major: int


async def find_java(min_major: int, candidates: Iterable[Path] | None = None) -> Java | None:
    """The first Java of at least this major version, None if there is none.

    Args:
        min_major: such as 21.
        candidates: programs to ask; by default that of JAVA_HOME, the one on the path, and
            those below `/usr/lib/jvm`.
    """
    for program in _candidates() if candidates is None else candidates:
        if not program.is_file():
            continue
        try:
            answer = await run_command(
                [str(program), "-version"], what=f"{program} -version", cwd=Path()
            )
        except DevstackError:
            continue
        major = java_major(answer)
        if major is not None and major >= min_major:
            return Java(program.resolve().parent.parent, program, major)
    return None


def java_major(version_text: str) -> int | None:
    """Major version out of what `java -version` prints: 8 for 1.8.0, 21 for 21.0.2."""
    found = re.search(r'version "(?:1\.)?(\d+)', version_text)
    return None if found is None else int(found[1])


def find_maven() -> str | None:
    """The `mvn` on the path."""
    return shutil.which("mvn")


def _candidates() -> Iterator[Path]:
    home = os.environ.get("JAVA_HOME")
    if home:
        yield Path(home) / "bin" / "java"
    on_path = shutil.which("java")
    if on_path is not None:
        yield Path(on_path)
    yield from sorted(Path("/usr/lib/jvm").glob("*/bin/java"), reverse=True)
