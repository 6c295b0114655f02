"""`make bench` with a clone alone: it has events to store, and keeps each row that it measured."""

import itertools
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import foreign_logs
import pytest
import run
import search_rows
from harness import Results, Row

ROOT = Path(__file__).parents[2]


def row(name: str, value: float = 1.0) -> Row:
    return Row(name, value, "events/s", 2.0, 0.5, None)


def names_in(path: Path) -> list[str]:
    return [each["name"] for each in json.loads(path.read_text())["rows"]]


def test_without_the_real_logs_the_examples_are_read(tmp_path: Path):
    lines = dict(foreign_logs.foreign_lines(tmp_path))

    assert foreign_logs.source(tmp_path) == "examples"
    assert {mapping: len(each) for mapping, each in lines.items()} == {
        mapping: len((ROOT / f"examples/{mapping}.ndjson").read_text().splitlines())
        for mapping in ("windows-security", "cloudtrail", "kubernetes")
    }


def test_the_examples_fill_a_tenant_of_any_size_and_hold_what_is_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(search_rows, "foreign_lines", lambda: foreign_logs.foreign_lines(tmp_path))

    events = [json.loads(text) for text in itertools.islice(search_rows.texts(), 2_000)]

    assert not any("occurred_at" in event for event in events)
    # The question "search, real events".
    windows = [event for event in events if event["action"].startswith("windows.")]
    found = [event for event in windows if re.search(r"\bLogon\b", event["metadata"]["Message"])]
    assert len(found) > 100


def test_each_row_is_in_the_file_as_soon_as_it_is_measured(tmp_path: Path):
    path = tmp_path / "results.json"
    Results(path, {"rounds": 1}).add(row("of another run"))
    results = Results(path, {"rounds": 3})

    results.add(row("first"))

    assert names_in(path) == ["of another run", "first"]
    results.add(row("first", 5.0))
    results.add(row("second"))
    assert names_in(path) == ["of another run", "first", "second"]
    content = json.loads(path.read_text())
    assert content["rows"][1]["value"] == 5.0
    assert content["machine"]["rounds"] == 3
    assert list(tmp_path.iterdir()) == [path]


async def test_a_run_that_fails_keeps_the_rows_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async def rows(*_: Any) -> AsyncIterator[Row]:
        yield row("measured")
        raise FileNotFoundError

    class Nothing:
        installation = None

        def __init__(self, *_: Any, **__: Any) -> None: ...

        async def __aenter__(self) -> Self:
            return self

        async def __aexit__(self, *_: object) -> None: ...

    monkeypatch.setattr(run, "Stack", Nothing)
    monkeypatch.setattr(run, "open_tenant_maker", Nothing)
    monkeypatch.setattr(run, "rows_of", rows)
    results = Results(tmp_path / "results.json", {})

    with pytest.raises(FileNotFoundError):
        await run.measure(run.parse_arguments([]), ["api"], results)

    assert names_in(tmp_path / "results.json") == ["measured"]


def test_the_program_starts():
    ended = subprocess.run(
        [sys.executable, ROOT / "tests/bench/run.py", "--help"],
        check=False,
        capture_output=True,
        text=True,
    )

    assert ended.returncode == 0, ended.stderr
    assert "--results" in ended.stdout
