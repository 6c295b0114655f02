"""An environment without anything of the developer's, and lines as a file would give them."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ocelot_cli.transfer.lines import Line

MakeLine = Callable[..., Line]
_PREFIXES = ("OCELOT_", "AWS_", "SQS_", "MONGODB_", "OPENSEARCH_")


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith(_PREFIXES)]:
        monkeypatch.delenv(name)
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    yield
    # The command completes the environment of its process.
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def line() -> MakeLine:
    def make(raw: bytes, *, number: int = 1, file: str = "a.ndjson") -> Line:
        return Line(file, number, raw, too_long=False)

    return make
